/**
 * IKE_INTERMEDIATE (RFC 9242) for the additional key exchanges of a first IKE SA (RFC 9370 §2.2.2), one exchange each,
 * between IKE_SA_INIT and IKE_AUTH, protected by the keys so far:
 *
 *   HDR, SK {KEi(n)} -->
 *                       <-- HDR, SK {KEr(n)}
 *
 *   SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr)
 *
 * Nobody is authenticated yet; AUTH covers these messages by IntAuth.
 */

import type { Instant } from "../../../core/time.ts";
import { type KeyExchange, prf, startKeyExchange } from "../../../crypto/index.ts";
import {
  type AdditionalMethod,
  ExchangeType,
  groupKeyword,
  isErrorNotify,
  NotifyType,
} from "../../../registry/index.ts";
import {
  encodePayloads,
  findPayload,
  type KePayload,
  type NotifyPayload,
  type PlainPayload,
  signedMessage,
} from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import {
  type Answer,
  type Exchange,
  type InitiatedExchange,
  priorities,
  type Received,
  type Sent,
} from "../exchange.ts";
import type { IkeSa } from "../ike-sa.ts";
import { answerKey, completeKey, type Secured, secureFurther } from "../key-material.ts";
import { notify } from "../notify.ts";
import type { PayloadRules } from "../payload-rules.ts";
import type { SignedMessages } from "../states.ts";
import { authenticate } from "./ike-auth.ts";
import { exportIkeKeys } from "./ike-sa-init.ts";

const type = ExchangeType.code.IKE_INTERMEDIATE;
const name = "IKE_INTERMEDIATE";

/** Both sides can do IKE_INTERMEDIATE (RFC 9242 §3.1). */
export const intermediateSupported = notify(NotifyType.code.INTERMEDIATE_EXCHANGE_SUPPORTED);

/** The additional key exchanges of one IKE SA, and what AUTH will say about them. */
export class IntermediateKeys {
  readonly #methods: readonly AdditionalMethod[];
  #done = 0;
  #byInitiator: Uint8Array = new Uint8Array(0);
  #byResponder: Uint8Array = new Uint8Array(0);

  constructor(methods: readonly AdditionalMethod[]) {
    this.#methods = methods;
  }

  /** The method of the exchange that comes next; undefined after the last. */
  get method(): number | undefined {
    return this.#methods[this.#done]?.method;
  }

  /**
   *   IntAuth_iN = prf(SK_piN, IntAuth_iN-1 | IntAuth_iNA | IntAuth_iNP), and the same with r for the responder
   *
   * `secured`: the keys before the exchange. False when the message is not one that this covers.
   */
  cover(secured: Secured, signer: IkeSa["role"], datagram: Uint8Array, content: Uint8Array): boolean {
    const message = signedMessage(datagram, content);
    if (!message) return false;
    const { suite, keys } = secured;
    if (signer === "initiator")
      this.#byInitiator = prf(suite.prf, keys.SK_pi.reveal(), this.#byInitiator, message);
    else this.#byResponder = prf(suite.prf, keys.SK_pr.reveal(), this.#byResponder, message);
    return true;
  }

  /** An exchange is through: the keys that follow from it protect everything from here on. */
  advance(sa: IkeSa, next: Secured): void {
    this.#done++;
    sa.secured?.wipe();
    sa.secured = next;
    exportIkeKeys(sa);
  }

  /** IntAuth = IntAuth_iN | IntAuth_rN | IKE_AUTH_MID */
  get intAuth(): Uint8Array {
    const out = new Uint8Array(this.#byInitiator.length + this.#byResponder.length + 4);
    out.set(this.#byInitiator);
    out.set(this.#byResponder, this.#byInitiator.length);
    // IKE_SA_INIT has message ID 0, and IKE_AUTH follows the last of these.
    new DataView(out.buffer).setUint32(out.length - 4, this.#done + 1);
    return out;
  }
}

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Goes on after IKE_SA_INIT: the additional key exchanges that were agreed on, if any, and then IKE_AUTH. */
export function continueSetup(sa: IkeSa, now: Instant, signed: SignedMessages): void {
  const { additional } = sa.secured!.suite;
  if (additional) {
    sa.transition({ name: "INTERMEDIATE_SENT" }, "IKE_SA_INIT answered");
    sa.initiate(now, new IkeIntermediate(signed, new IntermediateKeys(additional)));
    return;
  }
  sa.transition({ name: "AUTH_SENT" }, "IKE_SA_INIT answered");
  sa.initiate(now, authenticate(signed));
}

class IkeIntermediate implements InitiatedExchange {
  readonly name = name;
  readonly type = type;
  readonly priority = priorities.auth;
  /** A refusal has no KE. */
  readonly response: PayloadRules = { required: [], optional: ["KE"] };
  readonly #signed: SignedMessages;
  readonly #keys: IntermediateKeys;
  #exchange: KeyExchange | undefined;

  constructor(signed: SignedMessages, keys: IntermediateKeys) {
    this.#signed = signed;
    this.#keys = keys;
  }

  buildRequest(sa: IkeSa): PlainPayload[] {
    this.#exchange = startKeyExchange(this.#keys.method!, (group) => sa.host.keyPairs.take(group));
    const { method, publicValue } = this.#exchange;
    return [{ kind: "KE", dhGroup: method, data: publicValue }];
  }

  onSent(sa: IkeSa, { datagram, payloads }: Sent): void {
    this.#keys.cover(sa.secured!, "initiator", datagram, encodePayloads(payloads).bytes);
  }

  onResponse(sa: IkeSa, now: Instant, message: Received): "done" {
    const ke = findPayload(message.payloads, "KE");
    const error = message.payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
    if (error && !ke) {
      const theirs = [NotifyType.nameOf(error.type)];
      this.#fail(sa, now, "OTHER_NOTIFY", { theirs, difference: `${name}: ${theirs}` });
      return "done";
    }
    const { method } = this.#exchange!;
    const problem = this.#accept(sa, message, ke);
    if (problem !== undefined) {
      this.#fail(sa, now, "PEER_PROTOCOL_ERROR", { difference: `${name}: ${problem}` });
      return "done";
    }
    if (this.#keys.method !== undefined) {
      sa.initiate(now, new IkeIntermediate(this.#signed, this.#keys));
      return "done";
    }
    sa.transition({ name: "AUTH_SENT" }, `${groupKeyword(method)} agreed`);
    sa.initiate(now, authenticate({ ...this.#signed, intAuth: this.#keys.intAuth }));
    return "done";
  }

  #accept(sa: IkeSa, { datagram, content }: Received, ke: KePayload | undefined): string | undefined {
    const { host } = sa;
    const exchange = this.#exchange!;
    const old = sa.secured!;
    if (ke?.dhGroup !== exchange.method)
      return `${ke ? `KE is for ${groupKeyword(ke.dhGroup)}` : "no KE payload"}, agreed was ${groupKeyword(exchange.method)}`;
    const shared = completeKey(exchange, ke.data);
    exchange.wipe();
    if (!shared) {
      host.count("key_exchange");
      return "the key exchange data is not an answer";
    }
    if (!this.#keys.cover(old, "responder", datagram, content!)) {
      shared.wipe();
      return "payloads outside the Encrypted payload";
    }
    this.#keys.advance(sa, secureFurther(host.random, old, sa, shared));
    return undefined;
  }

  #fail(
    sa: IkeSa,
    now: Instant,
    code: "OTHER_NOTIFY" | "PEER_PROTOCOL_ERROR",
    details: Parameters<typeof failureOf>[2],
  ): void {
    this.onAbandon();
    sa.fail(now, failureOf(sa, code, details));
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    this.onAbandon();
    const difference = `IKE_SA_INIT was answered, ${name} was not`;
    const remedy =
      "look at the peer's log; if it never saw IKE_INTERMEDIATE, a firewall drops UDP 4500 or fragments of large datagrams";
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "PEER_UNREACHABLE", { difference, remedy }) });
    sa.end(now, "unreachable");
  }

  onAbandon(): void {
    this.#exchange?.wipe();
  }
}

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export const ikeIntermediate: Exchange = {
  name,
  type,
  rfc: "RFC 9242, RFC 9370 §2.2.2",
  from: ["INTERMEDIATE"],
  request: { required: ["KE"], optional: [] },
  onRequest,
};

function onRequest(sa: IkeSa, now: Instant, { payloads, datagram, content }: Received): Answer {
  const { state, host } = sa;
  if (state.name !== "INTERMEDIATE") throw new Error(`IKE_INTERMEDIATE in ${state.name}`);
  const { exchanges, until, signed } = state;
  const refuse = (problem: string): Answer => ({
    payloads: [notify(NotifyType.code.INVALID_SYNTAX)],
    afterwards: () =>
      sa.fail(now, failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `${name}: ${problem}` })),
  });
  const ke = findPayload(payloads, "KE")!;
  const old = sa.secured!;
  if (ke.dhGroup !== exchanges.method)
    return refuse(`KE is for ${groupKeyword(ke.dhGroup)}, agreed was ${groupKeyword(exchanges.method!)}`);
  if (!exchanges.cover(old, "initiator", datagram, content!))
    return refuse("payloads outside the Encrypted payload");
  const answer = answerKey(host.keyPairs, ke.dhGroup, ke.data);
  if (!answer) {
    host.count("key_exchange");
    return refuse("the key exchange data does not start the exchange");
  }
  return {
    payloads: [{ kind: "KE", dhGroup: ke.dhGroup, data: answer.publicValue }],
    afterwards: (sent) => {
      exchanges.cover(old, "responder", sent.datagram, encodePayloads(sent.payloads).bytes);
      exchanges.advance(sa, secureFurther(host.random, old, sa, answer.shared));
      if (exchanges.method !== undefined) return;
      const complete = { ...signed, intAuth: exchanges.intAuth };
      sa.transition({ name: "HALF_OPEN", until, signed: complete }, `${groupKeyword(ke.dhGroup)} agreed`);
    },
  };
}
