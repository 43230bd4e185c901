/**
 * Why an attempt of ours at phase 1 came to nothing. What a peer says before anything is proven changes nothing; but when
 * the attempt has failed, it is the best explanation that there is.
 */

import type { FailureRecord } from "../../core/failure.ts";
import type { FailureCode } from "../../core/failure-reasons.ts";
import { IsakmpNotifyType } from "../../registry/index.ts";
import { type Details, failureOf } from "../common/failures.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

const unproven = "(nothing proves that the peer said it)";

export class Doubts {
  #notifyType: number | undefined;
  #unreadable = false;
  #problem: string | undefined;

  /** A notification, or (undefined) something encrypted that our key does not open. */
  onHint(notifyType: number | undefined): void {
    if (notifyType === undefined) this.#unreadable = true;
    else this.#notifyType ??= notifyType;
  }

  /** A message that makes no sense where it came. */
  onProblem(problem: string): void {
    this.#problem ??= problem;
  }

  /** The record of an attempt that nobody answered to the end. */
  record(sa: IsakmpSa): { readonly record: FailureRecord; readonly silent: boolean } {
    const peer = sa.peer!;
    const ours = peer.ikeProposals.map((p) => p.text);
    const offered = { ike: ours };
    const make = (code: FailureCode, details: Details) => ({
      record: failureOf(sa, code, { ours, offered, ...details }),
      silent: false,
    });
    const type = this.#notifyType;
    const word = type === undefined ? undefined : IsakmpNotifyType.nameOf(type);
    const theirs = word === undefined ? [] : [word];
    const { code } = IsakmpNotifyType;
    if (sa.is("AUTH_SENT") || this.#unreadable) {
      const said =
        word === undefined
          ? this.#unreadable
            ? ": the peer answers with what our key does not open"
            : ""
          : `: the peer answers ${word} ${unproven}`;
      const difference = `message 5, the first encrypted one, was not answered as it should be${said}; mostly the pre-shared keys differ, or UDP 4500 is blocked`;
      return make("AUTHENTICATION_FAILED", { theirs, difference });
    }
    if (
      type === code.NO_PROPOSAL_CHOSEN ||
      type === code.ATTRIBUTES_NOT_SUPPORTED ||
      type === code.BAD_PROPOSAL_SYNTAX
    )
      return make("NO_PROPOSAL_CHOSEN_IKE", { theirs, difference: `the peer answers ${word} ${unproven}` });
    if (type === code.UNSUPPORTED_EXCHANGE_TYPE || type === code.INVALID_EXCHANGE_TYPE)
      return make("IKE_MODE_MISMATCH", {
        ours: [`mode ${peer.mode}`],
        theirs,
        difference: `mode: ours ${peer.mode}, and the peer answers ${word} ${unproven}`,
      });
    if (type === code.INVALID_KEY_INFORMATION)
      return make("INVALID_KE", { theirs, difference: `the peer answers ${word} ${unproven}` });
    if (type === code.AUTHENTICATION_FAILED || type === code.INVALID_HASH_INFORMATION) {
      // Message 1 shows who we are in aggressive mode, and nothing that was made with the key.
      const known = `: it has no connection with our identity ${sa.localId} in ${peer.mode} mode`;
      const why = sa.is("INIT_SENT") && peer.mode === "aggressive" ? known : "";
      return make("AUTHENTICATION_FAILED", {
        theirs,
        difference: `the peer answers ${word} ${unproven}${why}`,
      });
    }
    if (type === code.INVALID_ID_INFORMATION)
      return make("PEER_IDENTITY_MISMATCH", { theirs, difference: `the peer answers ${word} ${unproven}` });
    if (word !== undefined)
      return make("OTHER_NOTIFY", { theirs, difference: `the peer answers ${word} ${unproven}` });
    if (this.#problem !== undefined) return make("PEER_PROTOCOL_ERROR", { difference: this.#problem });
    const silence = failureOf(sa, "PEER_UNREACHABLE", {
      ours,
      offered,
      ...(sa.is("KEY_SENT") && { difference: "the peer answered message 1 and not message 3" }),
    });
    return { record: silence, silent: true };
  }
}

/** The peer refuses in a message that only it can have sent. */
export function refusedRecord(sa: IsakmpSa, notifyType: number): FailureRecord {
  const { code } = IsakmpNotifyType;
  const theirs = [IsakmpNotifyType.nameOf(notifyType)];
  const ours = [`our identity ${sa.localId}`];
  const difference = `the peer answers ${theirs}`;
  const known: FailureCode =
    notifyType === code.INVALID_ID_INFORMATION
      ? "PEER_IDENTITY_MISMATCH"
      : notifyType === code.AUTHENTICATION_FAILED || notifyType === code.INVALID_HASH_INFORMATION
        ? "AUTHENTICATION_FAILED"
        : "OTHER_NOTIFY";
  return failureOf(sa, known, { ours, theirs, difference });
}
