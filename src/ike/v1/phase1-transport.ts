/**
 * How the messages of phase 1 travel, and what comes of phase 2 before phase 1 is through.
 *
 * Invariants: the initiator repeats, and its peer answers; whoever has proven nothing gets an answer only when it asks,
 * the same one only so often, and never one that is much larger than what it sent.
 */
import { compareBytes } from "../../core/address.ts";
import { attemptDecode } from "../../core/errors.ts";
import type { Instant } from "../../core/time.ts";
import { IsakmpExchangeType } from "../../registry/index.ts";
import { decodeIsakmp, encodeIsakmp, type IsakmpPayload } from "../../wire/v1/index.ts";
import type { Patience } from "../common/patience.ts";
import { errorIn } from "./exchanges/informational.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import { openPhase2, phase2Iv, sealPhase1 } from "./key-material.ts";
import type { Datagram, InitiatedPhase1, Phase1 } from "./phase1.ts";
import { headerOf, maxRepeated, patience, type Sender, waitAt, whatIsDue } from "./sending.ts";

export class Phase1Transport {
  readonly #sa: IsakmpSa;
  readonly #sender: Sender;
  #phase1: Phase1 | undefined;
  /** The same, as initiator. */
  #initiated: InitiatedPhase1 | undefined;
  #in: Uint8Array | undefined;
  #out: readonly Uint8Array[] = [];
  #sentAt: Instant = Number.NEGATIVE_INFINITY;
  #repeated = 0;
  #wait: Patience | undefined;

  constructor(sa: IsakmpSa, sender: Sender) {
    this.#sa = sa;
    this.#sender = sender;
  }

  /** As initiator. */
  begin(now: Instant, phase1: InitiatedPhase1): void {
    this.#phase1 = this.#initiated = phase1;
    this.#send(now, phase1.begin(this.#sa, now), false, true);
  }

  /** As responder: `answer` is the one to `request`, and is repeated when that is. */
  respond(now: Instant, phase1: Phase1, request: Uint8Array, answer: readonly IsakmpPayload[]): void {
    this.#phase1 = phase1;
    this.#in = Uint8Array.from(request);
    this.#send(now, answer, false, false, amplification * request.length);
  }

  /** A message of phase 1. */
  handleMessage(now: Instant, message: Datagram): void {
    const { datagram } = message;
    if (this.#in && compareBytes(this.#in, datagram) === 0) {
      this.#repeat(message);
      return;
    }
    const phase1 = this.#phase1;
    if (!phase1) {
      this.#sa.host.count("message_id");
      return;
    }
    const reply = phase1.onMessage(this.#sa, now, message);
    if (this.#sa.halfOpen && reply.kind !== "drop") this.#sa.host.onSeen(this.#sa);
    if (reply.kind === "drop") {
      this.#sa.host.count(reply.why);
      return;
    }
    if (reply.kind === "ended") return;
    this.#in = Uint8Array.from(datagram);
    this.#wait = undefined;
    const over = reply.kind === "done" || reply.last === true;
    if (reply.kind === "send") this.#send(now, reply.payloads, reply.encrypted, !over);
    else this.#out = [];
    if (over) {
      phase1.discard();
      this.#phase1 = this.#initiated = undefined;
    }
    reply.afterwards?.();
  }

  /** Not encrypted. Anybody can have sent it: it changes nothing (RFC 2409 §5.7 has them only before there are keys). */
  handleUnprotected({ header, datagram }: Datagram): void {
    this.#sa.host.count("not_authentic");
    if (!this.#initiated || header.exchangeType !== IsakmpExchangeType.code.INFORMATIONAL) return;
    const message = attemptDecode(() => decodeIsakmp(datagram, header));
    const error = message && errorIn(message.payloads);
    if (error) this.#initiated.onHint(error.type);
  }

  /** A message of phase 2, while phase 1 is not through on our side. */
  handleEarly(now: Instant, message: Datagram): void {
    const { header, datagram } = message;
    const sa = this.#sa;
    sa.host.count("unexpected");
    if (!sa.secured) return;
    // The peer is done with phase 1, and we are not: its last message was lost, and ours makes it repeat that.
    if (sa.halfOpen) this.#repeat(message);
    if (header.exchangeType !== IsakmpExchangeType.code.INFORMATIONAL) return;
    // The peer has the keys, too, and says with them why it does not go on.
    const iv = phase2Iv(sa.secured, header.messageId);
    const opened = openPhase2(sa.secured, header, datagram, { number: 1 }, iv);
    const error = opened && errorIn(opened.payloads);
    if (opened && !error) return;
    if (!this.#initiated) this.#phase1?.onComplaint?.(sa, now, error?.type);
    else if (error) this.#initiated.onRefusal(sa, now, error.type);
    else this.#initiated.onHint(undefined);
  }

  /**
   * Message 3 of aggressive mode has no answer. Until something of the peer proves that it has it, a copy goes before
   * what follows, but not oftener than any other message is repeated.
   */
  repeatUnproven(now: Instant): void {
    const { proven, role, mode, host } = this.#sa;
    if (proven || role !== "initiator" || mode !== "aggressive") return;
    if (now < this.#sentAt + host.limits.retransmitMs || this.#repeated >= maxRepeated) return;
    this.#sentAt = now;
    this.#repeated++;
    this.#sender.send(this.#sa, this.#out);
  }

  /** When `handleTimeout` is next needed; undefined while no message of ours waits. */
  get deadline(): Instant | undefined {
    return waitAt(this.#wait);
  }

  handleTimeout(now: Instant): void {
    if (!this.#wait) return;
    const due = whatIsDue(this.#sa.host.limits, this.#wait, now);
    if (due === "repeat") this.#sender.send(this.#sa, this.#out);
    if (due !== "over") return;
    this.#wait = undefined;
    this.#initiated?.onTimeout(this.#sa, now);
  }

  /** As responder: it has taken too long. */
  expire(): void {
    this.#phase1?.onExpired?.(this.#sa);
  }

  /** Drops what is under way. */
  discard(): void {
    this.#phase1?.discard();
    this.#phase1 = this.#initiated = undefined;
    this.#wait = undefined;
  }

  /**
   * The peer may not have our answer. Only the side that does not repeat by itself answers a repetition: otherwise each
   * copy on one side would make another one on the other.
   */
  #repeat({ local, remote, datagram }: Datagram): void {
    if (this.#wait || this.#repeated >= maxRepeated || this.#out.length === 0) {
      this.#sa.host.count("message_id");
      return;
    }
    // Before anything is proven a small datagram of one who is not there must not become a large one to him.
    if (this.#sa.halfOpen && octetsOf(this.#out) > amplification * datagram.length) return;
    this.#repeated++;
    this.#sender.send(this.#sa.halfOpen ? { local, remote } : this.#sa, this.#out);
  }

  /** `mostOctets`: what is larger is not sent. */
  #send(
    now: Instant,
    payloads: readonly IsakmpPayload[],
    encrypted: boolean,
    repeats: boolean,
    mostOctets = Number.POSITIVE_INFINITY,
  ): void {
    const sa = this.#sa;
    const header = headerOf(sa, sa.phase1Type, 0);
    const datagram = encrypted ? sealPhase1(sa.secured!, header, payloads) : encodeIsakmp(header, payloads);
    this.#out = this.#sender.cut(header, datagram);
    this.#repeated = 0;
    this.#sentAt = now;
    const { limits } = sa.host;
    // RFC 2408 §5.1: whoever began repeats, and its peer answers. Nobody can make us repeat by ourselves.
    if (repeats && sa.role === "initiator") this.#wait = patience(limits, now, limits.setupMs);
    // In aggressive mode, with the longest identities that there are, and a question without anything that it need not have.
    if (octetsOf(this.#out) > mostOctets) {
      this.#out = [];
      sa.host.count("amplification");
    }
    this.#sender.send(sa, this.#out);
  }
}

/** The factor by which an answer to one who has proven nothing may be larger than what it answers. */
export const amplification = 3;
const octetsOf = (datagrams: readonly Uint8Array[]): number =>
  datagrams.reduce((sum, { length }) => sum + length, 0);
