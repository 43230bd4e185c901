/**
 * How the messages of one IKE SA travel: two windows of one (RFC 7296 §2.3), retransmission and repeated answers
 * (§2.1), fragments (RFC 7383), the order of our own exchanges. What the messages mean is in `exchanges/`.
 *
 * Invariants: at most one request of ours is outstanding; a request of the peer is processed once and its answer
 * repeated as often as asked.
 */

import { compareBytes, type Endpoint } from "../../core/address.ts";
import { attemptDecode } from "../../core/errors.ts";
import { earlier, type Instant } from "../../core/time.ts";
import { ExchangeType, NotifyType } from "../../registry/index.ts";
import {
  type DecodedHeader,
  type DecodedMessage,
  decodeMessage,
  encodeMessage,
  findPayload,
  findUnknownCritical,
  type IkeHeader,
  type PlainPayload,
  sealFragmented,
} from "../../wire/index.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import { maxMessageBytes } from "../common/message-size.ts";
import { excuseLateness, type Patience } from "../common/patience.ts";
import { onUnprotected } from "./crash-detection.ts";
import type { InitiatedExchange } from "./exchange.ts";
import { onAnswerFrom } from "./exchanges/update-addresses.ts";
import type { IkeSa } from "./ike-sa.ts";
import { otherPaths } from "./mobike.ts";
import { notify } from "./notify.ts";
import { violation } from "./payload-rules.ts";
import { isAuthentic, isFirstFragment, type Opened, Reassembly } from "./reassembly.ts";
import { prove } from "./siblings.ts";

interface Outstanding extends Patience {
  readonly exchange: InitiatedExchange;
  readonly messageId: number;
  /** One, or the fragments of it. */
  datagrams: readonly Uint8Array[];
  /** How often it was sent, the first time included. */
  sent: number;
  /** When it was sent last. */
  sentAt: Instant;
  /** A probe of the path MTU that nothing has been repeated of. */
  probing: boolean;
  /** What a probe is repeated as in turn with `datagrams`. */
  inTurn?: readonly Uint8Array[];
  /** When it was sent first. */
  readonly sentFirstAt: Instant;
}

export class Transport {
  readonly #sa: IkeSa;
  #nextOut = 0;
  #nextIn = 0;
  /** `request`: its datagram, or that of its first fragment. */
  #lastAnswer: { readonly request: Uint8Array; readonly datagrams: readonly Uint8Array[] } | undefined;
  readonly #requestsIn: Reassembly;
  readonly #responsesIn: Reassembly;
  #outstanding: Outstanding | undefined;
  #queue: InitiatedExchange[] = [];
  /** The last probe that was not answered in time. */
  #repeatedProbe: Outstanding | undefined;

  constructor(sa: IkeSa) {
    this.#sa = sa;
    this.#requestsIn = new Reassembly(sa.host.limits);
    this.#responsesIn = new Reassembly(sa.host.limits);
  }

  // ── Messages in ──────────────────────────────────────────────────────────────────────────────────────────────

  /** One datagram whose header carries our SPIs. Never throws on anything a peer can send. */
  handleDatagram(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    header: DecodedHeader,
    datagram: Uint8Array,
  ): void {
    // RFC 7296 §3.1: the I flag is set by the original initiator; the opposite means a reflected message.
    if (header.initiator === (this.#sa.role === "initiator")) {
      this.#sa.host.count("unexpected");
      return;
    }
    const message = attemptDecode(() => decodeMessage(datagram, header));
    if (!message) {
      this.#sa.host.count("malformed");
      return;
    }
    if (onUnprotected(this.#sa, now, message.payloads)) return;
    if (header.response) this.#handleResponse(now, local, remote, message, datagram);
    else this.#handleRequest(now, local, remote, message, datagram);
  }

  #handleResponse(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    message: DecodedMessage,
    datagram: Uint8Array,
  ): void {
    const { header } = message;
    const out = this.#outstanding;
    if (!out || header.messageId !== out.messageId || header.exchangeType !== out.exchange.type) {
      this.#onStrayResponse(now, header.messageId);
      return;
    }
    if (out.exchange.type === ExchangeType.code.IKE_SA_INIT) {
      const payloads = message.payloads as readonly PlainPayload[];
      const outcome = out.exchange.onResponse(this.#sa, now, { header, payloads, local, remote, datagram });
      if (outcome === "done" && this.#outstanding === out) this.#outstanding = undefined;
      this.#pump(now);
      return;
    }
    const opened = this.#open(this.#responsesIn, now, datagram, message);
    if (!opened) return;
    const { payloads, content } = opened;
    this.#sa.lastHeardAt = now;
    // Of a request that was repeated it is unknown which copy was answered.
    if (out.sent === 1 || this.#sa.roundTripMs === undefined) this.#sa.roundTripMs = now - out.sentAt;
    this.#outstanding = undefined;
    const critical = payloads === "malformed" ? undefined : findUnknownCritical(payloads);
    const problem =
      payloads === "malformed"
        ? "a response that does not decode"
        : critical
          ? `critical payload ${critical.type} in a response, unknown here`
          : violation(out.exchange.response, payloads);
    const code = critical ? "UNSUPPORTED_CRITICAL_PAYLOAD" : "PEER_PROTOCOL_ERROR";
    if (problem !== undefined || payloads === "malformed") {
      // §2.21.3: an authenticated response that makes no sense leaves the two sides with different ideas.
      out.exchange.onAbandon?.(this.#sa);
      this.#sa.fail(now, failureOf(this.#sa, code, { difference: `${out.exchange.name}: ${problem}` }));
      return;
    }
    const whole = { header, payloads, local, remote, datagram: opened.datagram, content };
    out.exchange.onResponse(this.#sa, now, whole);
    prove(this.#sa);
    this.#sa.host.onUse(this.#sa, now);
    this.#sa.deletedEarly.clear();
    onAnswerFrom(this.#sa, now, { local, remote });
    this.#pump(now);
  }

  /**
   * The peer answers every copy that it gets. Two answers to a probe that was sent twice: the first copy was not lost,
   * the path is slower than we thought. Nothing proves the second one, and all it does is that we wait longer.
   */
  #onStrayResponse(now: Instant, messageId: number): void {
    this.#sa.host.count("message_id");
    const probe = this.#repeatedProbe;
    if (probe?.messageId !== messageId) return;
    this.#repeatedProbe = undefined;
    this.#sa.roundTripMs = now - probe.sentFirstAt;
  }

  #handleRequest(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    message: DecodedMessage,
    datagram: Uint8Array,
  ): void {
    const { header } = message;
    if (this.#repeatAnswer(local, remote, message, datagram)) return;
    if (header.messageId !== this.#nextIn) {
      this.#sa.host.count("message_id");
      return;
    }
    const exchange = this.#sa.host.exchange(header.exchangeType);
    if (!exchange?.from.includes(this.#sa.state.name)) {
      this.#sa.host.count("unexpected");
      return;
    }
    const opened = this.#open(this.#requestsIn, now, datagram, message);
    if (!opened) return;
    const { payloads, content } = opened;
    this.#sa.lastHeardAt = now;
    this.#nextIn++;
    const reply = (answer: readonly PlainPayload[]) => {
      const request = new Uint8Array(opened.datagram);
      const ends = { local, remote };
      const datagrams = this.#encode(ends, header.exchangeType, header.messageId, true, answer);
      this.#lastAnswer = { request, datagrams };
      this.#send(local, remote, datagrams);
      return { datagram: datagrams[0]!, payloads: answer };
    };

    const critical = payloads === "malformed" ? undefined : findUnknownCritical(payloads);
    if (critical) {
      // §2.5: the request is rejected as a whole. Only IKE_AUTH takes its IKE SA with it (§2.21.2).
      const fatal = this.#sa.halfOpen;
      reply([notify(NotifyType.code.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical.type))]);
      const difference = `${exchange.name}: critical payload ${critical.type} is unknown here`;
      const record = failureOf(this.#sa, "UNSUPPORTED_CRITICAL_PAYLOAD", { difference });
      if (fatal) this.#sa.fail(now, record);
      else this.#sa.host.emit({ kind: "failure", sa: this.#sa, record });
      this.#pump(now);
      return;
    }
    const problem =
      payloads === "malformed" ? "a request that does not decode" : violation(exchange.request, payloads);
    if (problem !== undefined || payloads === "malformed") {
      // §2.21.3: INVALID_SYNTAX ends the IKE SA on both sides, without a Delete.
      reply([notify(NotifyType.code.INVALID_SYNTAX)]);
      const difference = `${exchange.name}: ${problem}`;
      this.#sa.fail(now, failureOf(this.#sa, "PEER_PROTOCOL_ERROR", { difference }));
      return;
    }

    const whole = { header, payloads, local, remote, datagram: opened.datagram, content };
    const confirmed = this.#sa.unconfirmed !== undefined;
    this.#sa.unconfirmed = undefined;
    const wasEstablished = this.#sa.established;
    const answer = exchange.onRequest(this.#sa, now, whole);
    const sent = reply(answer.payloads);
    if (this.#sa.established) this.#sa.followPeer(now, local, remote);
    // Of two successors made at once, either shows where the peer of the old one is.
    if (this.#sa.state.name === "CONTENDING") this.#sa.state.old.followPeer(now, local, remote);
    answer.afterwards?.(sent);
    // What asks for the IKE SA proves nothing about our answer to it.
    if (wasEstablished) prove(this.#sa);
    if (confirmed) this.#sa.host.emit({ kind: "outboundChanged", sa: this.#sa });
    if (wasEstablished) this.#sa.host.onUse(this.#sa, now);
    this.#pump(now);
  }

  /**
   * §2.1: a request seen before gets the very answer it got, and changes nothing. Of one in fragments, only the first
   * asks for that, and the others are ignored (RFC 7383 §2.6.1). One that is authentic and has other octets, such as the
   * other form of a probe (`#endProbe`), is one, too. True when the datagram was such a repetition.
   */
  #repeatAnswer(local: Endpoint, remote: Endpoint, message: DecodedMessage, datagram: Uint8Array): boolean {
    const last = this.#lastAnswer;
    if (!last) return false;
    if (compareBytes(last.request, datagram) !== 0) {
      const answered = message.header.messageId === this.#nextIn - 1;
      if (!answered || !this.#sa.secured || message.header.exchangeType !== last.request[exchangeTypeAt])
        return false;
      const { opener } = this.#sa.secured;
      if (findPayload(message.payloads, "SKF")) {
        if (!this.#sa.fragmentation) return false;
        // The peer may have cut the same request anew, after losses on the way.
        if (!isFirstFragment(datagram, message, opener)) {
          this.#sa.host.count("fragment_repeated");
          return true;
        }
      } else if (!isAuthentic(datagram, message, opener)) return false;
    }
    this.#send(local, remote, last.datagrams);
    return true;
  }

  /** An authentic message; undefined when the datagram was dropped, or others are still missing. */
  #open(from: Reassembly, now: Instant, datagram: Uint8Array, message: DecodedMessage): Opened | undefined {
    const opening = this.#sa.secured
      ? from.open(now, datagram, message, this.#sa.secured.opener, this.#sa.fragmentation)
      : ({ drop: "not_authentic" } as const);
    if (opening === "incomplete") return undefined;
    if (!("drop" in opening)) return opening;
    this.#sa.host.count(opening.drop);
    return undefined;
  }

  /** The responder's first answer, which the front door built: kept, as `request` is, for a repeated request. */
  rememberAnswer(request: Uint8Array, datagram: Uint8Array): void {
    this.#lastAnswer = { request, datagrams: [datagram] };
    this.#nextIn = 1;
  }

  // ── Messages out ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Queues an exchange of ours; it starts as soon as the window is free. */
  initiate(now: Instant, exchange: InitiatedExchange): void {
    this.#queue.push(exchange);
    this.#queue.sort((a, b) => a.priority - b.priority);
    this.#pump(now);
  }

  /** True when an exchange with this name waits or is under way. */
  hasExchange(name: string): boolean {
    return this.#outstanding?.exchange.name === name || this.#queue.some((e) => e.name === name);
  }

  /** The name of the exchange whose request is out. */
  get underWay(): string | undefined {
    return this.#outstanding?.exchange.name;
  }

  get backlog(): number {
    return this.#queue.length;
  }

  get idle(): boolean {
    return this.#outstanding === undefined && this.#queue.length === 0;
  }

  /** The request that waits for its response was built on something that no longer holds: send it anew. */
  rebuild(now: Instant): void {
    const out = this.#outstanding;
    const payloads = out?.exchange.buildRequest(this.#sa, now);
    if (!out || !payloads) return;
    out.datagrams = this.#encode(this.#sa, out.exchange.type, out.messageId, false, payloads);
    out.delayMs = this.#sa.host.limits.retransmitMs;
    out.nextAt = now + out.delayMs;
    this.#send(this.#sa.local, this.#sa.remote, out.datagrams);
  }

  /** Nobody answered the last request: the next one takes its message ID. */
  retract(): void {
    this.#nextOut--;
  }

  /** Sends what waits for its response at once, on the path of now, with fresh patience. */
  resend(now: Instant): void {
    const out = this.#outstanding;
    if (!out) return;
    out.delayMs = this.#sa.host.limits.retransmitMs;
    out.nextAt = now + out.delayMs;
    out.giveUpAt = now + this.#patienceMs(out.exchange);
    this.#endProbe(out, now, true);
    out.sent = 1;
    out.sentAt = now;
    this.#send(this.#sa.local, this.#sa.remote, out.datagrams);
  }

  /** The bytes of the outstanding IKE_SA_INIT request: RealMessage1 of §2.15. */
  get requestBytes(): Uint8Array {
    return this.#outstanding?.datagrams[0] ?? new Uint8Array(0);
  }

  /** Stops waiting for the outstanding response at `at`, if not before. */
  waitUntil(at: Instant): void {
    if (this.#outstanding) this.#outstanding.giveUpAt = Math.min(this.#outstanding.giveUpAt, at);
  }

  #pump(now: Instant): void {
    while (!this.#outstanding && !this.#sa.is("CLOSED")) {
      const exchange = this.#queue.shift();
      if (!exchange) return;
      const payloads = exchange.buildRequest(this.#sa, now);
      if (!payloads) {
        exchange.onAbandon?.(this.#sa);
        continue;
      }
      const messageId = this.#nextOut++;
      const { probe } = exchange;
      const maxBytes = probe ? Number.POSITIVE_INFINITY : this.#maxBytes(this.#sa);
      const datagrams = this.#encode(this.#sa, exchange.type, messageId, false, payloads, maxBytes);
      const delayMs = probe?.waitMs ?? this.#sa.host.limits.retransmitMs;
      const giveUpAt = now + this.#patienceMs(exchange);
      this.#outstanding = {
        exchange,
        messageId,
        datagrams,
        delayMs,
        nextAt: now + delayMs,
        giveUpAt,
        sent: 1,
        sentAt: now,
        sentFirstAt: now,
        probing: probe !== undefined,
      };
      exchange.onSent?.(this.#sa, { datagram: datagrams[0]!, payloads });
      this.#send(this.#sa.local, this.#sa.remote, datagrams, probe !== undefined);
    }
  }

  #patienceMs(exchange: InitiatedExchange): number {
    const { setupMs, establishedMs = this.#sa.peer?.answerTimeoutMs } = this.#sa.host.limits;
    const { state } = this.#sa;
    if (state.name === "DELETING") return deletePatienceMs(this.#sa, state.why);
    return setupTypes.includes(exchange.type) ? setupMs : (establishedMs ?? setupMs);
  }

  #encode(
    path: { readonly local: Endpoint; readonly remote: Endpoint },
    exchangeType: number,
    messageId: number,
    response: boolean,
    payloads: readonly PlainPayload[],
    maxBytes = this.#maxBytes(path),
  ): readonly Uint8Array[] {
    const header: IkeHeader = {
      spiInitiator: this.#sa.spiInitiator,
      spiResponder: this.#sa.spiResponder,
      exchangeType,
      initiator: this.#sa.role === "initiator",
      response,
      messageId,
    };
    if (exchangeType === ExchangeType.code.IKE_SA_INIT) return [encodeMessage({ header, payloads })];
    return sealFragmented(header, payloads, this.#sa.secured!.sealer, maxBytes);
  }

  #maxBytes(path: { readonly local: Endpoint; readonly remote: Endpoint }): number {
    return this.#sa.fragmentation ? maxMessageBytes(this.#sa.host, path) : Number.POSITIVE_INFINITY;
  }

  #send(
    local: Endpoint,
    remote: Endpoint,
    datagrams: readonly Uint8Array[],
    unfragmented: boolean = false,
  ): void {
    for (const datagram of datagrams)
      this.#sa.host.emit({ kind: "send", local, remote, datagram, ...(unfragmented && { unfragmented }) });
  }

  // ── Time and the end ─────────────────────────────────────────────────────────────────────────────────────────

  /** When `handleTimeout` is next needed. */
  get deadline(): Instant | undefined {
    const out = this.#outstanding;
    const at = out && Math.min(out.nextAt, out.giveUpAt);
    return earlier(earlier(at, this.#requestsIn.deadline), this.#responsesIn.deadline);
  }

  handleTimeout(now: Instant): void {
    this.#retransmit(now);
    this.#requestsIn.handleTimeout(now);
    this.#responsesIn.handleTimeout(now);
  }

  /** True when a request of the peer was answered, and may be repeated. */
  get hasAnswered(): boolean {
    return this.#lastAnswer !== undefined;
  }

  /** Drops what waits; what is under way goes on. */
  abandonQueue(): void {
    for (const exchange of this.#queue.splice(0)) exchange.onAbandon?.(this.#sa);
  }

  /** Drops what waits and what is under way. */
  abandonAll(): void {
    this.abandonQueue();
    this.#outstanding?.exchange.onAbandon?.(this.#sa);
    this.#outstanding = undefined;
  }

  /** Forgets the fragments collected so far. */
  discardFragments(): void {
    this.#requestsIn.discard();
    this.#responsesIn.discard();
  }

  #retransmit(now: Instant): void {
    const out = this.#outstanding;
    if (!out) return;
    const late = excuseLateness(out, now);
    if (out.giveUpAt <= now) {
      this.#outstanding = undefined;
      out.exchange.onTimeout(this.#sa, now);
      this.#pump(now);
    } else if (out.nextAt <= now) {
      const { retransmitBackoff, retransmitMaxMs } = this.#sa.host.limits;
      out.delayMs = Math.min(out.delayMs * retransmitBackoff, retransmitMaxMs);
      if (out.inTurn) [out.datagrams, out.inTurn] = [out.inTurn, out.datagrams];
      this.#endProbe(out, now, late);
      out.nextAt = now + out.delayMs;
      out.sent++;
      out.sentAt = now;
      this.#send(this.#sa.local, this.#sa.remote, out.datagrams);
      if (out.sent >= suspectAfter) this.#tryOtherPaths(out);
    }
  }

  /**
   * A probe was not answered in time. What is too big for its path may be too big in fragments, too, because many drop
   * those: it is repeated without its padding, and in turn with that as it was, but free to be fragmented.
   *
   * DEVIATION: RFC 7296 §2.1 has repetitions identical. A peer that never got the padded request sees one request; one
   * that did get it sees another with the same ID, and answers it as a repetition, or waits for the identical one. IKE
   * fragments would be regular, and strongSwan takes none in INFORMATIONAL.
   */
  #endProbe(out: Outstanding, now: Instant, inconclusive: boolean): void {
    const { probe, type } = out.exchange;
    if (!out.probing || !probe) return;
    out.probing = false;
    this.#repeatedProbe = out;
    out.delayMs = this.#sa.host.limits.retransmitMs;
    probe.onRepeated(inconclusive);
    out.inTurn = out.datagrams;
    out.datagrams = this.#encode(this.#sa, type, out.messageId, false, probe.buildPlain(this.#sa, now));
  }

  /** RFC 4555 §3.10: the same request on every other path; the first that brings an answer is taken. */
  #tryOtherPaths(out: Outstanding): void {
    if (out.sent === suspectAfter && this.#sa.mobike?.initiator && this.#sa.established)
      this.#sa.host.emit({ kind: "pathSuspect", sa: this.#sa });
    if (out.exchange.onePath) return;
    for (const { local, remote } of otherPaths(this.#sa)) {
      out.exchange.onSpread?.();
      this.#send(local, remote, out.datagrams);
    }
  }
}

const { IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH } = ExchangeType.code;
/** §3.1: the octet of the header. */
const exchangeTypeAt = 18;
const setupTypes: readonly number[] = [IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH];
/** So many unanswered copies of a request, after 1.4 seconds, mean that its path may be broken. */
const suspectAfter = 3;

/** How long a Delete of `sa` is repeated, ms: of two IKE SAs the peer goes on sending on either until it is told. */
export function deletePatienceMs({ host, peer }: IkeSa, why: EndReason): number {
  const { deleteMs, establishedMs = peer?.answerTimeoutMs } = host.limits;
  return why === "duplicate" || why === "superseded" ? (establishedMs ?? deleteMs) : deleteMs;
}
