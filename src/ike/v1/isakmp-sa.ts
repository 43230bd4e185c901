/**
 * One ISAKMP SA: its state, and for as long as it is the newest with its peer the IPsec SAs. How its messages travel is
 * in `transport.ts`, its clocks are in `timers.ts`, and what the messages mean is in `exchanges/`.
 *
 * IPsec SAs belong to the peer, not to the ISAKMP SA that made them (RFC 2409 §4): a newer one takes them over, and when
 * the last one goes without them they stay behind (DETACHED).
 *
 * Invariant: every way out goes through `end`, which gives back SPIs, SAs and keys.
 */
import type { Endpoint } from "../../core/address.ts";
import type { FailureRecord } from "../../core/failure.ts";
import { earlier, type Instant } from "../../core/time.ts";
import type { PacketFlow } from "../../core/traffic-selector.ts";
import { formatSuite, IsakmpExchangeType } from "../../registry/index.ts";
import type { IsakmpPayload } from "../../wire/v1/index.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import type { PeerSettings } from "../common/settings.ts";
import {
  type IkeSaView,
  type Nat,
  type PairState,
  type PathMtuView,
  type Role,
  unencapsulated,
} from "../common/views.ts";
import type { InitiatedExchange, Refusal } from "./exchange.ts";
import { sendDelete } from "./exchanges/informational.ts";
import type { Host } from "./host.ts";
import {
  giveUpChildren,
  giveUpDoubted,
  hasOutbound,
  type IpsecSa,
  moveSas,
  outboundOrder,
} from "./ipsec-sa.ts";
import type { Secured } from "./key-material.ts";
import { Liveness } from "./liveness.ts";
import type { Pairs } from "./pairs.ts";
import type { Datagram, InitiatedPhase1, Phase1 } from "./phase1.ts";
import type { IsakmpSaState, StateName } from "./states.ts";
import { bequeath, detach, heirOf, keepsChildren, onNotReplaced } from "./succession.ts";
import { untie } from "./ties.ts";
import { onTimers, timersDeadline } from "./timers.ts";
import { Transport } from "./transport.ts";

export interface IsakmpSaOrigin {
  readonly role: Role;
  readonly mode: PeerSettings["mode"];
  readonly now: Instant;
  readonly spiLocal: bigint;
  readonly spiRemote: bigint;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly peer: PeerSettings | undefined;
}

/** How the peer does NAT traversal: as RFC 3947 has it, or with the numbers of its drafts. */
export type NatDialect = "rfc" | "draft";

export class IsakmpSa implements IkeSaView {
  readonly version = 1;
  readonly host: Host;
  readonly role: Role;
  readonly mode: PeerSettings["mode"];
  readonly createdAt: Instant;
  readonly spiLocal: bigint;
  spiRemote: bigint;
  local: Endpoint;
  remote: Endpoint;
  /** The peer, once it is known; as responder in main mode that is after message 5. */
  peer: PeerSettings | undefined;
  /** Responder before that: the peers that this may become. */
  candidates: readonly PeerSettings[] = [];
  /** Keys, and what was agreed on. Undefined before they are known, and in DETACHED. */
  secured: Secured | undefined;
  nat: Nat = unencapsulated;
  /** Undefined: the peer does not do NAT traversal, or we do not. */
  natDialect: NatDialect | undefined;
  /** Both sides take fragments ([MS-IKEE]). */
  fragmentation = false;
  readonly liveness = new Liveness();
  /** The IPsec SAs with the peer, by our inbound SPI; empty unless this is the one that has them. */
  readonly children = new Map<number, IpsecSa>();
  /** Keeps each selector pair up; set once the ISAKMP SA is authenticated, and handed to its successor. */
  pairs: Pairs | undefined;
  /** The peer's SPIs that it deleted before we knew them: the answer that made them was lost and will be repeated. */
  readonly deletedEarly = new Set<number>();
  /** The packet for which this ISAKMP SA was made. */
  trigger: PacketFlow | undefined;
  localId: string | undefined;
  remoteId: string | undefined;
  /** From the first message to the authenticated state. */
  handshakeMs = 0;
  rekeyAt: Instant | undefined;
  expiresAt: Instant | undefined;
  readonly reauthAt = undefined;
  /** Set while no IPsec SA exists: when we give the ISAKMP SA up. */
  childlessAt: Instant | undefined;
  keepaliveAt: Instant | undefined;
  /** It is about to end: nothing begins on it any more. */
  closing = false;
  /** An attempt of the peer was waited for, in place of one of ours. */
  waitedFor = false;
  /** Set when another one takes the place of this one: until when exchanges of ours that are under way may go on. */
  giveUpOursAt: Instant | undefined;
  /** The one whose place this one is to take, made by us. */
  replaces: IsakmpSa | undefined;
  /** The one that took the IPsec SAs from this one. */
  successor: IsakmpSa | undefined;
  /** Since when the peer is known to have this ISAKMP SA: message 6 as main mode's initiator, else its first use. */
  provenAt: Instant | undefined;
  lastHeardAt: Instant;

  #state: IsakmpSaState;
  readonly #transport: Transport;

  constructor(host: Host, origin: IsakmpSaOrigin, state: IsakmpSaState) {
    this.host = host;
    this.role = origin.role;
    this.mode = origin.mode;
    this.createdAt = origin.now;
    this.lastHeardAt = origin.now;
    this.spiLocal = origin.spiLocal;
    this.spiRemote = origin.spiRemote;
    this.local = origin.local;
    this.remote = origin.remote;
    this.peer = origin.peer;
    this.#state = state;
    this.#transport = new Transport(this);
  }

  get state(): IsakmpSaState {
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

  /** True while it is authenticated and the one to begin new exchanges on. */
  get established(): boolean {
    return this.#state.name === "ESTABLISHED";
  }

  get establishedAt(): Instant {
    return "since" in this.#state ? this.#state.since : this.createdAt;
  }

  /** IsakmpExchangeType of its phase 1. */
  get phase1Type(): number {
    const { IDENTITY_PROTECTION, AGGRESSIVE } = IsakmpExchangeType.code;
    return this.mode === "main" ? IDENTITY_PROTECTION : AGGRESSIVE;
  }

  /** True while exchanges of phase 2 are possible: also with one that was replaced, for the peer may not know yet. */
  get usable(): boolean {
    return this.is("ESTABLISHED", "REPLACED");
  }

  get halfOpen(): boolean {
    return this.#state.name === "HALF_OPEN";
  }

  get connecting(): boolean {
    return this.is("INIT_SENT", "KEY_SENT", "AUTH_SENT");
  }

  get proven(): boolean {
    return this.provenAt !== undefined;
  }

  get closed(): boolean {
    return this.#state.name === "CLOSED";
  }

  get suiteText(): string | undefined {
    return this.secured && formatSuite(this.secured.suite);
  }

  get preference(): number {
    return this.established ? 0 : 1;
  }

  /** The one that has the peer's IPsec SAs: this one, or what took them from it since. */
  get holder(): IsakmpSa {
    let sa: IsakmpSa = this;
    while (sa.successor) sa = sa.successor;
    return sa;
  }

  outbound(): readonly IpsecSa[] {
    return outboundOrder(this);
  }

  pairStates(): readonly PairState[] | undefined {
    return this.pairs?.states(this);
  }

  /** IKEv1 has no message that a peer would answer at any size: the path is not probed. */
  get path(): PathMtuView {
    const configured = this.peer?.pathMtu ?? "auto";
    return configured === "auto"
      ? { bytes: this.host.limits.pathMtuCeiling, state: "unsupported" }
      : { bytes: configured, state: "configured" };
  }

  /** The only door between states: it reports every passage. */
  transition(to: IsakmpSaState, why: string): void {
    const from = this.#state.name;
    const stranger = this.halfOpen;
    this.#state = to;
    this.host.touch(this);
    // What strangers begin and never finish is counted, not reported.
    if (stranger && (to.name === "CLOSED" || this.halfOpen)) return;
    this.host.emit({ kind: "state", sa: this, from, to: to.name, why });
  }

  // ── Messages and time ────────────────────────────────────────────────────────────────────────────────────────

  /** One datagram whose header carries our SPIs. Never throws on anything a peer can send. */
  handleDatagram(now: Instant, message: Datagram): void {
    this.host.touch(this);
    this.#transport.handleDatagram(now, message);
  }

  /** Begins phase 1, as initiator. */
  begin(now: Instant, phase1: InitiatedPhase1): void {
    this.host.touch(this);
    this.#transport.begin(now, phase1);
  }

  /** Goes on with phase 1, as responder: `answer` is the one to `request`, and is repeated when that is. */
  respond(now: Instant, phase1: Phase1, request: Uint8Array, answer: readonly IsakmpPayload[]): void {
    this.host.touch(this);
    this.#transport.respond(now, phase1, request, answer);
  }

  /** Queues an exchange of phase 2 of ours; it starts as soon as it is its turn. */
  initiate(now: Instant, exchange: InitiatedExchange): void {
    this.host.touch(this);
    this.#transport.initiate(now, exchange);
  }

  /**
   * Sends an informational message (RFC 2409 §5.7), which nobody answers. The datagrams of it; none where there are no
   * keys.
   */
  inform(now: Instant, payloads: readonly IsakmpPayload[]): readonly Uint8Array[] {
    return this.#transport.inform(now, payloads);
  }

  /** Sends what was sent before. */
  resend(datagrams: readonly Uint8Array[]): void {
    this.#transport.resend(datagrams);
  }

  /** An authentic error notification. True when an exchange of ours took it as its end. */
  refuse(now: Instant, refusal: Omit<Refusal, "onlyCandidate">): boolean {
    return this.#transport.refuse(now, refusal);
  }

  /** True when an exchange of ours with this name waits or is under way. */
  hasExchange(name: string): boolean {
    return this.#transport.hasExchange(name);
  }

  /** Exchanges of ours that wait. */
  get backlog(): number {
    return this.#transport.backlog;
  }

  /** Drops exchanges of ours: those that wait, and with `begun` those that are under way, too. */
  abandonOurs(now: Instant, begun: boolean): void {
    this.#transport.abandonOurs(now, begun);
  }

  /** True when no exchange of ours waits or is under way. */
  get idle(): boolean {
    return this.#transport.idle;
  }

  /** Exchanges under way, of either side, that may make a pair of IPsec SAs. */
  get negotiations(): number {
    return this.#transport.negotiations;
  }

  /**
   * Behind a NAT the peer is wherever its latest message came from that nobody can have kept since (RFC 3947 §4).
   * Whoever is behind one itself does not follow.
   */
  followPeer(now: Instant, local: Endpoint, remote: Endpoint): void {
    if (!this.nat.remote || this.nat.local || !this.usable) return;
    if (isSame(this.remote, remote)) return;
    // The NAT knows one peer there, however many ISAKMP SAs that has: with some of them it only listens.
    const alike = this.host.othersOf(this).filter((other) => isSame(other.remote, this.remote));
    for (const sa of [this, ...alike]) sa.#moveTo(now, local, remote);
  }

  #moveTo(now: Instant, local: Endpoint, remote: Endpoint): void {
    this.local = local;
    this.remote = remote;
    this.host.touch(this);
    this.host.emit({ kind: "moved", sa: this, why: "the peer's NAT gave it another address" });
    moveSas(this, now);
  }

  get deadline(): Instant | undefined {
    return earlier(this.#transport.deadline, timersDeadline(this));
  }

  handleTimeout(now: Instant): void {
    this.#transport.handleTimeout(now);
    onTimers(this, now);
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends this ISAKMP SA politely: the peer is told that it is gone, and which IPsec SAs go with it. */
  requestDelete(now: Instant, why: EndReason): void {
    if (this.is("CLOSED", "DELETING")) return;
    if (!this.usable) {
      this.end(now, why);
      return;
    }
    this.closing = true;
    this.#takeAlong(why, (other) => other.requestDelete(now, why));
    this.#transport.abandonAll(now);
    this.#bequeath(now, why);
    // RFC 2408 §5.15: those on which we receive.
    const spis = [...this.children.keys()];
    giveUpChildren(this, now, why);
    sendDelete(this, now, spis);
    this.transition({ name: "DELETING", until: now + this.host.limits.retransmitMs, why, spis }, why);
  }

  /** Nobody went on with phase 1 in time. */
  expire(now: Instant): void {
    this.#transport.expire();
    this.end(now, "unreachable");
  }

  /** A negotiation came to nothing: reports it and ends without a word. */
  fail(now: Instant, record: FailureRecord, why: EndReason = "failed"): void {
    this.host.emit({ kind: "failure", sa: this, record });
    this.end(now, why);
  }

  /** The peer no longer answers. */
  endDead(now: Instant): void {
    this.host.emit({ kind: "failure", sa: this, record: failureOf(this, "DPD_TIMEOUT") });
    this.end(now, "dead-peer");
  }

  /**
   * Ends without a word. Its IPsec SAs go to another ISAKMP SA with the peer if there is one; else they stay behind, when
   * nothing speaks against the peer still having them.
   */
  end(now: Instant, why: EndReason): void {
    const from = this.#state.name;
    const stranger = this.halfOpen;
    if (from === "CLOSED") return;
    this.closing = true;
    this.#takeAlong(why, (other) => other.end(now, why));
    this.#transport.abandonAll(now);
    this.#bequeath(now, why);
    untie(this);
    giveUpDoubted(this, why);
    const attempt = this.connecting ? this.replaces : undefined;
    this.replaces = undefined;
    if (keepsChildren.has(why) && this.usable && hasOutbound(this)) {
      this.#forgetKeys();
      this.closing = false;
      detach(this, now, why);
      return;
    }
    giveUpChildren(this, now, why);
    this.transition({ name: "CLOSED" }, why);
    this.#forgetKeys();
    if (!stranger) this.host.emit({ kind: "ended", sa: this, why, from });
    this.host.forget(this);
    if (attempt) onNotReplaced(attempt, now, why);
  }

  /** Where another ISAKMP SA with the peer is left, that has the IPsec SAs from now on. */
  #bequeath(now: Instant, why: EndReason): void {
    const heir = this.#heir(why);
    if (heir) bequeath(this, heir, now);
  }

  /** Ends those whose place this one has taken, unless one of them is the heir: what is made there would be nobody's. */
  #takeAlong(why: EndReason, end: (other: IsakmpSa) => void): void {
    if (this.holder !== this || !this.usable || this.#heir(why)) return;
    for (const other of this.host.othersOf(this).filter(({ holder }) => holder === this)) end(other);
  }

  #heir(why: EndReason): IsakmpSa | undefined {
    return this.holder === this && this.usable && keepsChildren.has(why) ? heirOf(this) : undefined;
  }

  #forgetKeys(): void {
    this.secured?.wipe();
    this.secured = undefined;
  }
}

const isSame = (a: Endpoint, b: Endpoint): boolean => a.port === b.port && a.address.equals(b.address);
