/**
 * One IKE SA: its state, its two message windows of one (RFC 7296 §2.3), retransmission (§2.1), timers, and the
 * CHILD_SAs it owns. What the messages mean is in `exchanges/`; this file knows only how they travel.
 *
 * Invariants: at most one request of ours is outstanding; a request of the peer is processed once and its answer
 * repeated as often as asked; every way out goes through `end`, which gives back SPIs, SAs and keys.
 */
import { compareBytes, type Endpoint } from "../../core/address.ts";
import { WireError } from "../../core/errors.ts";
import type { FailureRecord } from "../../core/failure.ts";
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
import { type ChildSa, childDeadline, onChildTimeout, uninstall } from "./child-sa.ts";
import type { EndReason } from "./events.ts";
import type { InitiatedExchange } from "./exchange.ts";
import { deleteIkeSa, liveness } from "./exchanges/informational.ts";
import { failureOf } from "./failures.ts";
import type { Host } from "./host.ts";
import type { Secured } from "./key-material.ts";
import { maxMessageBytes } from "./message-size.ts";
import { type Nat, unencapsulated } from "./nat.ts";
import { notify } from "./notify.ts";
import { violation } from "./payload-rules.ts";
import { isFirstFragment, type Opened, Reassembly } from "./reassembly.ts";
import type { PeerSettings } from "./settings.ts";
import type { IkeSaState, Role, StateName } from "./states.ts";

export interface IkeSaOrigin {
  readonly role: Role;
  readonly now: Instant;
  readonly spiLocal: bigint;
  readonly spiRemote: bigint;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly peer: PeerSettings | undefined;
}

interface Outstanding {
  readonly exchange: InitiatedExchange;
  readonly messageId: number;
  /** One, or the fragments of it. */
  datagrams: readonly Uint8Array[];
  nextAt: Instant;
  delayMs: number;
  giveUpAt: Instant;
}

export class IkeSa {
  readonly host: Host;
  readonly role: Role;
  readonly createdAt: Instant;
  readonly spiLocal: bigint;
  spiRemote: bigint;
  local: Endpoint;
  remote: Endpoint;
  /** The peer, once it is known; as responder that is after IKE_AUTH. */
  peer: PeerSettings | undefined;
  /** Responder before IKE_AUTH: the peers that this may become. */
  candidates: readonly PeerSettings[] = [];
  /** What IKE_SA_INIT or a rekey agreed on; undefined before that. */
  secured: Secured | undefined;
  nat: Nat = unencapsulated;
  /** Both sides said in IKE_SA_INIT that they support fragments (RFC 7383 §2.3); a successor keeps it. */
  fragmentation = false;
  /** By our inbound SPI. */
  readonly children = new Map<number, ChildSa>();
  localId: string | undefined;
  remoteId: string | undefined;
  /** From the first message to the authenticated state. */
  handshakeMs = 0;
  rekeyAt: Instant | undefined;
  expiresAt: Instant | undefined;
  /** Set while no CHILD_SA exists: when we give the IKE SA up. */
  childlessAt: Instant | undefined;
  /** The peer began anew: when we close this one, if the other still stands. */
  supersededAt: Instant | undefined;
  /** The peer's successor of this IKE SA, made while ours was under way, and the lower nonce of its exchange (§2.8.2). */
  rival: { readonly sa: IkeSa; readonly lowestNonce: Uint8Array } | undefined;
  lastHeardAt: Instant;
  keepaliveAt: Instant | undefined;

  #state: IkeSaState;
  #nextOut = 0;
  #nextIn = 0;
  /** `request`: its datagram, or that of its first fragment. */
  #lastAnswer: { readonly request: Uint8Array; readonly datagrams: readonly Uint8Array[] } | undefined;
  readonly #requestsIn: Reassembly;
  readonly #responsesIn: Reassembly;
  #outstanding: Outstanding | undefined;
  #queue: InitiatedExchange[] = [];

  constructor(host: Host, origin: IkeSaOrigin, state: IkeSaState) {
    this.host = host;
    this.role = origin.role;
    this.createdAt = origin.now;
    this.lastHeardAt = origin.now;
    this.spiLocal = origin.spiLocal;
    this.spiRemote = origin.spiRemote;
    this.local = origin.local;
    this.remote = origin.remote;
    this.peer = origin.peer;
    this.#requestsIn = new Reassembly(host.limits);
    this.#responsesIn = new Reassembly(host.limits);
    this.#state = state;
  }

  get state(): IkeSaState {
    return this.#state;
  }

  get spiInitiator(): bigint {
    return this.role === "initiator" ? this.spiLocal : this.spiRemote;
  }

  get spiResponder(): bigint {
    return this.role === "initiator" ? this.spiRemote : this.spiLocal;
  }

  is(...names: readonly StateName[]): boolean {
    return names.includes(this.#state.name);
  }

  /** True between authentication and the decision to end. */
  get established(): boolean {
    return this.#state.name === "ESTABLISHED";
  }

  /** The only door between states: it reports every passage. */
  transition(to: IkeSaState, why: string): void {
    const from = this.#state.name;
    this.#state = to;
    this.host.touch(this);
    // What strangers begin and never finish is counted, not reported.
    if (from === "HALF_OPEN" && to.name === "CLOSED") return;
    this.host.emit({ kind: "state", sa: this, from, to: to.name, why });
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
    if (header.initiator === (this.role === "initiator")) {
      this.host.count("unexpected");
      return;
    }
    const message = tryDecode(datagram);
    if (!message) {
      this.host.count("malformed");
      return;
    }
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
      this.host.count("message_id");
      return;
    }
    if (out.exchange.type === ExchangeType.code.IKE_SA_INIT) {
      const payloads = message.payloads as readonly PlainPayload[];
      const outcome = out.exchange.onResponse(this, now, { header, payloads, local, remote, datagram });
      if (outcome === "done" && this.#outstanding === out) this.#outstanding = undefined;
      this.#pump(now);
      return;
    }
    const payloads = this.#open(this.#responsesIn, now, datagram, message)?.payloads;
    if (!payloads) return;
    this.#heard(now);
    this.#outstanding = undefined;
    const critical = payloads === "malformed" ? undefined : findUnknownCritical(payloads);
    const problem =
      payloads === "malformed"
        ? "a response that does not decode"
        : critical
          ? `critical payload ${critical.type} in a response`
          : violation(out.exchange.response, payloads);
    if (problem !== undefined || payloads === "malformed") {
      // §2.21.3: an authenticated response that makes no sense leaves the two sides with different ideas.
      out.exchange.onAbandon?.(this);
      this.fail(
        now,
        failureOf(this, "PEER_PROTOCOL_ERROR", { difference: `${out.exchange.name}: ${problem}` }),
      );
      return;
    }
    out.exchange.onResponse(this, now, { header, payloads, local, remote, datagram });
    this.#pump(now);
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
      this.host.count("message_id");
      return;
    }
    const exchange = this.host.exchange(header.exchangeType);
    if (!exchange?.from.includes(this.#state.name)) {
      this.host.count("unexpected");
      return;
    }
    const opened = this.#open(this.#requestsIn, now, datagram, message);
    if (!opened) return;
    const { payloads } = opened;
    this.#heard(now);
    this.#nextIn++;
    const reply = (answer: readonly PlainPayload[]) => {
      const request = Uint8Array.from(opened.datagram);
      const ends = { local, remote };
      const datagrams = this.#encode(ends, header.exchangeType, header.messageId, true, answer);
      this.#lastAnswer = { request, datagrams };
      this.#send(local, remote, datagrams);
    };

    const critical = payloads === "malformed" ? undefined : findUnknownCritical(payloads);
    if (critical) {
      // §2.5: the request is rejected as a whole. Only IKE_AUTH takes its IKE SA with it (§2.21.2).
      const fatal = this.is("HALF_OPEN");
      reply([notify(NotifyType.code.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical.type))]);
      const difference = `${exchange.name}: critical payload ${critical.type} is unknown here`;
      if (fatal) this.fail(now, failureOf(this, "PEER_PROTOCOL_ERROR", { difference }));
      this.#pump(now);
      return;
    }
    const problem =
      payloads === "malformed" ? "a request that does not decode" : violation(exchange.request, payloads);
    if (problem !== undefined || payloads === "malformed") {
      // §2.21.3: INVALID_SYNTAX ends the IKE SA on both sides, without a Delete.
      reply([notify(NotifyType.code.INVALID_SYNTAX)]);
      const difference = `${exchange.name}: ${problem}`;
      this.fail(now, failureOf(this, "PEER_PROTOCOL_ERROR", { difference }));
      return;
    }

    const answer = exchange.onRequest(this, now, { header, payloads, local, remote, datagram });
    reply(answer.payloads);
    if (this.established) this.#followPeer(now, local, remote);
    answer.afterwards?.();
    this.#pump(now);
  }

  /**
   * §2.1: a request seen before gets the very answer it got, and changes nothing. Of one in fragments, only the first
   * asks for that, and the others are ignored (RFC 7383 §2.6.1). True when the datagram was such a repetition.
   */
  #repeatAnswer(local: Endpoint, remote: Endpoint, message: DecodedMessage, datagram: Uint8Array): boolean {
    const last = this.#lastAnswer;
    if (!last) return false;
    if (compareBytes(last.request, datagram) !== 0) {
      const answered = message.header.messageId === this.#nextIn - 1;
      if (!answered || !this.fragmentation || !findPayload(message.payloads, "SKF")) return false;
      // The peer may have cut the same request anew, after losses on the way.
      if (!this.secured || !isFirstFragment(datagram, message, this.secured.opener)) {
        this.host.count("fragment_repeated");
        return true;
      }
    }
    this.#send(local, remote, last.datagrams);
    return true;
  }

  /** An authentic message; undefined when the datagram was dropped, or others are still missing. */
  #open(from: Reassembly, now: Instant, datagram: Uint8Array, message: DecodedMessage): Opened | undefined {
    const opening = this.secured
      ? from.open(now, datagram, message, this.secured.opener, this.fragmentation)
      : ({ drop: "not_authentic" } as const);
    if (opening === "incomplete") return undefined;
    if (!("drop" in opening)) return opening;
    this.host.count(opening.drop);
    return undefined;
  }

  /** §2.23: behind a NAT the peer is wherever its latest authenticated request came from. */
  #followPeer(now: Instant, local: Endpoint, remote: Endpoint): void {
    const moved = this.remote.port !== remote.port || !this.remote.address.equals(remote.address);
    if (!moved || !this.nat.remote) return;
    this.local = local;
    this.remote = remote;
    this.host.onPeerMoved(this, now);
  }

  #heard(now: Instant): void {
    this.lastHeardAt = now;
  }

  /** The responder's first answer, which the front door built: kept for a repeated request. */
  rememberAnswer(request: Uint8Array, datagram: Uint8Array): void {
    this.#lastAnswer = { request: Uint8Array.from(request), datagrams: [datagram] };
    this.#nextIn = 1;
  }

  // ── Messages out ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Queues an exchange of ours; it starts as soon as the window is free. */
  initiate(now: Instant, exchange: InitiatedExchange): void {
    this.host.touch(this);
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

  /** Exchanges that wait for the window. */
  get backlog(): number {
    return this.#queue.length;
  }

  get idle(): boolean {
    return this.#outstanding === undefined && this.#queue.length === 0;
  }

  /** The request that waits for its response was built on something that no longer holds: send it anew. */
  rebuild(now: Instant): void {
    const out = this.#outstanding;
    const payloads = out?.exchange.buildRequest(this, now);
    if (!out || !payloads) return;
    out.datagrams = this.#encode(this, out.exchange.type, out.messageId, false, payloads);
    out.delayMs = this.host.limits.retransmitMs;
    out.nextAt = now + out.delayMs;
    this.#send(this.local, this.remote, out.datagrams);
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
    while (!this.#outstanding && !this.is("CLOSED")) {
      const exchange = this.#queue.shift();
      if (!exchange) return;
      const payloads = exchange.buildRequest(this, now);
      if (!payloads) {
        exchange.onAbandon?.(this);
        continue;
      }
      const messageId = this.#nextOut++;
      const datagrams = this.#encode(this, exchange.type, messageId, false, payloads);
      const delayMs = this.host.limits.retransmitMs;
      const giveUpAt = now + this.#patienceMs(exchange);
      this.#outstanding = { exchange, messageId, datagrams, delayMs, nextAt: now + delayMs, giveUpAt };
      this.#send(this.local, this.remote, datagrams);
    }
  }

  #patienceMs(exchange: InitiatedExchange): number {
    const { setupMs, deleteMs, establishedMs } = this.host.limits;
    if (this.is("DELETING")) return deleteMs;
    return exchange.type === ExchangeType.code.IKE_SA_INIT || exchange.type === ExchangeType.code.IKE_AUTH
      ? setupMs
      : establishedMs;
  }

  #encode(
    path: { readonly local: Endpoint; readonly remote: Endpoint },
    exchangeType: number,
    messageId: number,
    response: boolean,
    payloads: readonly PlainPayload[],
  ): readonly Uint8Array[] {
    const header: IkeHeader = {
      spiInitiator: this.spiInitiator,
      spiResponder: this.spiResponder,
      exchangeType,
      initiator: this.role === "initiator",
      response,
      messageId,
    };
    if (exchangeType === ExchangeType.code.IKE_SA_INIT) return [encodeMessage({ header, payloads })];
    const maxBytes = this.fragmentation ? maxMessageBytes(this.host, path) : Number.POSITIVE_INFINITY;
    return sealFragmented(header, payloads, this.secured!.sealer, maxBytes);
  }

  #send(local: Endpoint, remote: Endpoint, datagrams: readonly Uint8Array[]): void {
    for (const datagram of datagrams) this.host.emit({ kind: "send", local, remote, datagram });
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────

  get deadline(): Instant | undefined {
    const state = this.#state;
    let at: Instant | undefined = "until" in state ? state.until : undefined;
    const out = this.#outstanding;
    if (out) at = earlier(at, Math.min(out.nextAt, out.giveUpAt));
    at = earlier(earlier(at, this.#requestsIn.deadline), this.#responsesIn.deadline);
    if (state.name !== "ESTABLISHED") return at;
    for (const child of this.children.values()) at = earlier(at, childDeadline(child));
    at = earlier(at, this.#livenessAt);
    for (const own of [this.rekeyAt, this.expiresAt, this.childlessAt, this.supersededAt, this.keepaliveAt])
      at = earlier(at, own);
    return at;
  }

  get #livenessAt(): Instant | undefined {
    const interval = this.peer?.livenessIntervalMs;
    if (interval === undefined || !this.idle) return undefined;
    // The responder is more patient: when both sides check, one question serves both.
    return this.lastHeardAt + (this.role === "initiator" ? interval : Math.ceil(interval * 1.25));
  }

  handleTimeout(now: Instant): void {
    this.#retransmit(now);
    this.#requestsIn.handleTimeout(now);
    this.#responsesIn.handleTimeout(now);
    const state = this.#state;
    if ("until" in state && state.until <= now) {
      this.#expireState(now, state.name);
      return;
    }
    if (state.name !== "ESTABLISHED") return;
    if (due(this.expiresAt, now)) {
      this.requestDelete(now, "expired");
      return;
    }
    if (due(this.childlessAt, now)) {
      this.requestDelete(now, "childless");
      return;
    }
    if (due(this.supersededAt, now)) {
      this.supersededAt = undefined;
      if (this.host.hasOther(this)) {
        this.requestDelete(now, "superseded");
        return;
      }
    }
    for (const child of [...this.children.values()]) onChildTimeout(this, child, now);
    if (due(this.rekeyAt, now)) {
      this.rekeyAt = undefined;
      this.host.onRekeyDue(this, now);
    }
    if (due(this.keepaliveAt, now)) {
      this.keepaliveAt = now + this.peer!.natTraversal!.keepaliveMs;
      this.host.emit({ kind: "sendKeepalive", local: this.local, remote: this.remote });
    }
    if (due(this.#livenessAt, now)) this.initiate(now, liveness());
  }

  #expireState(now: Instant, name: StateName): void {
    if (name === "REKEYED" || name === "CONTENDING") this.requestDelete(now, "rekeyed");
    else if (name === "HALF_OPEN") this.end(now, "unreachable");
    else this.host.forget(this);
  }

  #retransmit(now: Instant): void {
    const out = this.#outstanding;
    if (!out) return;
    if (out.giveUpAt <= now) {
      this.#outstanding = undefined;
      out.exchange.onTimeout(this, now);
      this.#pump(now);
    } else if (out.nextAt <= now) {
      const { retransmitBackoff, retransmitMaxMs } = this.host.limits;
      out.delayMs = Math.min(out.delayMs * retransmitBackoff, retransmitMaxMs);
      out.nextAt = now + out.delayMs;
      this.#send(this.local, this.remote, out.datagrams);
    }
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends this IKE SA politely: its CHILD_SAs stop at once, the peer is told, and told again if it does not answer. */
  requestDelete(now: Instant, why: EndReason): void {
    const state = this.#state.name;
    if (state === "CLOSED" || state === "DELETING") return;
    if (state === "INIT_SENT" || state === "HALF_OPEN") {
      this.end(now, why);
      return;
    }
    this.#abandonQueue();
    this.transition({ name: "DELETING", why }, why);
    for (const child of [...this.children.values()]) uninstall(this, now, child, why);
    // In AUTH_SENT the Delete has to wait for the answer: until then we cannot know whether the peer has the IKE SA.
    this.waitUntil(now + this.host.limits.deleteMs);
    if (state !== "AUTH_SENT") this.initiate(now, deleteIkeSa());
  }

  /** A negotiation came to nothing: reports it and ends without a word to the peer, who knows. */
  fail(now: Instant, record: FailureRecord): void {
    this.host.emit({ kind: "failure", sa: this, record });
    this.end(now, "failed");
  }

  /** Nobody answered a request on an authenticated IKE SA. */
  endDead(now: Instant): void {
    if (this.#state.name === "DELETING") {
      this.end(now, this.#state.why);
      return;
    }
    this.host.emit({ kind: "failure", sa: this, record: failureOf(this, "DPD_TIMEOUT") });
    this.end(now, "dead-peer");
  }

  /** Ends without a word. The last answer is kept for a while in case the peer repeats its request (§2.1). */
  end(now: Instant, why: EndReason): void {
    const from = this.#state.name;
    if (from === "CLOSED") return;
    this.#abandonQueue();
    this.#outstanding?.exchange.onAbandon?.(this);
    this.#outstanding = undefined;
    for (const child of [...this.children.values()]) uninstall(this, now, child, why);
    const keepAnswer =
      this.#lastAnswer !== undefined && (why === "failed" || why === "deleted-by-peer" || why === "rekeyed");
    this.transition({ name: "CLOSED", until: now + this.host.limits.lingerMs }, why);
    this.secured?.wipe();
    this.secured = undefined;
    this.#requestsIn.discard();
    this.#responsesIn.discard();
    if (from !== "HALF_OPEN") this.host.emit({ kind: "ended", sa: this, why, from });
    if (!keepAnswer) this.host.forget(this);
  }

  #abandonQueue(): void {
    for (const exchange of this.#queue.splice(0)) exchange.onAbandon?.(this);
  }
}

function due(at: Instant | undefined, now: Instant): boolean {
  return at !== undefined && at <= now;
}

function tryDecode(datagram: Uint8Array): DecodedMessage | undefined {
  try {
    return decodeMessage(datagram);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}
