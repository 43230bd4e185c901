/**
 * One IKE SA: its state, and the CHILD_SAs it owns. How its messages travel is in `transport.ts`, its clocks are in
 * `timers.ts`, and what the messages mean is in `exchanges/`.
 *
 * Invariant: every way out goes through `end`, which gives back SPIs, SAs and keys.
 */

import type { Endpoint } from "../../core/address.ts";
import type { FailureRecord } from "../../core/failure.ts";
import type { Secret } from "../../core/secret.ts";
import { earlier, type Instant } from "../../core/time.ts";
import type { PacketFlow } from "../../core/traffic-selector.ts";
import { formatSuite } from "../../registry/index.ts";
import type { DecodedHeader } from "../../wire/index.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import type { PeerSettings } from "../common/settings.ts";
import type { IkeSaView, PairState, PathMtuView } from "../common/views.ts";
import { type Nat, type Role, unencapsulated } from "../common/views.ts";
import { FollowUps } from "./additional-keys.ts";
import { type ChildSa, giveUpChildren, outboundOrder, peerWasTold } from "./child-sa.ts";
import type { InitiatedExchange } from "./exchange.ts";
import { deleteIkeSa } from "./exchanges/informational.ts";
import { ikeRekeyName } from "./exchanges/rekey-ike-sa.ts";
import { moveSas, setPath } from "./follow.ts";
import type { Host } from "./host.ts";
import type { Secured } from "./key-material.ts";
import { type Mobility, type Path, sameEndpoint } from "./mobike.ts";
import type { Pairs } from "./pairs.ts";
import { pathMtuOf } from "./path-mtu.ts";
import type { PathMtuSearch } from "./path-mtu-search.ts";
import { type FirstOfLine, isSure } from "./siblings.ts";
import type { IkeSaState, StateName } from "./states.ts";
import { onTimers, timersDeadline } from "./timers.ts";
import { deletePatienceMs, Transport } from "./transport.ts";

export interface IkeSaOrigin {
  readonly role: Role;
  readonly now: Instant;
  readonly spiLocal: bigint;
  readonly spiRemote: bigint;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly peer: PeerSettings | undefined;
}

export class IkeSa implements IkeSaView {
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
  /** Both sides support MOBIKE (RFC 4555). */
  mobike: Mobility | undefined;
  /** Where ESP goes while it does not go where IKE goes: the other end is not proven yet, or ESP moved first. */
  espPath: Path | undefined;
  /** How often IKE has changed its path. */
  moves = 0;
  /** By our inbound SPI. */
  readonly children = new Map<number, ChildSa>();
  /** Keeps each selector pair up; set once the IKE SA is authenticated, and handed to its successor. */
  pairs: Pairs | undefined;
  /** The packet for which this IKE SA was made. */
  trigger: PacketFlow | undefined;
  localId: string | undefined;
  remoteId: string | undefined;
  /** From the first message to the authenticated state. */
  handshakeMs = 0;
  rekeyAt: Instant | undefined;
  expiresAt: Instant | undefined;
  /** Set while no CHILD_SA exists: when we give the IKE SA up. */
  childlessAt: Instant | undefined;
  /** When it must be authenticated anew, which makes another IKE SA beside this one. */
  reauthAt: Instant | undefined;
  /** The one whose place this one is to take, made by us to authenticate anew. */
  replaces: IkeSa | undefined;
  /** When another one took its place: nothing new is made here since. */
  replacedAt: Instant | undefined;
  /** What took its place, or came after that, was in use: the peer may have closed this one without our hearing of it. */
  outlived = false;
  /** The peer, or we, began anew: when this one is let go, if the other carries. */
  supersededAt: Instant | undefined;
  /** The peer's successor of this IKE SA, made while ours was under way, and the lower nonce of its exchange (§2.8.2). */
  rival: { readonly sa: IkeSa; readonly lowestNonce: Uint8Array } | undefined;
  /** The CHILD_SA of our last answer, until the next request shows that the peer has that answer. */
  unconfirmed: ChildSa | undefined;
  /** The peer is known to have this IKE SA: from the start as initiator, and from its first use as responder. */
  proven: boolean;
  /** CHILD_SAs of this one that another IKE SA receives on until the peer knows. */
  readonly bequeathed: ChildSa[] = [];
  /** Set once it is authenticated. */
  first: FirstOfLine | undefined;
  /** Another one with the same peer, made at the same time, for which this one makes way. */
  survivor: IkeSa | undefined;
  /** Of this one, those before it and those after it: how many are not closed. */
  family = { alive: 1 };
  /** The IKE SA that inherited from this one. */
  successor: IkeSa | undefined;
  /** Negotiations of the peer that wait for additional key exchanges (RFC 9370 §2.2.4). */
  readonly followUps: FollowUps;
  /** Both sides said in IKE_SA_INIT that they use postquantum preshared keys (RFC 8784 §3). */
  usesPpk = false;
  /** The peer's SPIs that it deleted before we knew them: the answer that made them was lost and will be repeated. */
  readonly deletedEarly = new Set<number>();
  lastHeardAt: Instant;
  /** The last unproven word that the peer has lost this IKE SA. */
  hintedAt: Instant | undefined;
  /** The turn of its next liveness check among those of all peers, once one is due. */
  askAt: Instant | undefined;
  /** What proves that it has (RFC 6290). */
  peerToken: Secret | undefined;
  keepaliveAt: Instant | undefined;
  /** What the path carries, while that is to be found out; a successor goes on with it. */
  pathMtu: PathMtuSearch | undefined;
  /** How long the peer took for its last answer to a request that was sent once. */
  roundTripMs: number | undefined;

  #state: IkeSaState;
  readonly #transport: Transport;

  constructor(host: Host, origin: IkeSaOrigin, state: IkeSaState) {
    this.host = host;
    this.role = origin.role;
    this.createdAt = origin.now;
    this.lastHeardAt = origin.now;
    this.proven = origin.role === "initiator";
    this.spiLocal = origin.spiLocal;
    this.spiRemote = origin.spiRemote;
    this.local = origin.local;
    this.remote = origin.remote;
    this.peer = origin.peer;
    this.#state = state;
    this.followUps = new FollowUps(host);
    this.#transport = new Transport(this);
  }

  get version(): 2 {
    return 2;
  }

  get state(): IkeSaState {
    return this.#state;
  }

  get replaced(): boolean {
    return this.replacedAt !== undefined;
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

  get establishedAt(): Instant {
    return this.#state.name === "ESTABLISHED" ? this.#state.since : this.createdAt;
  }

  /** True while an attempt of ours to set it up waits for the peer. */
  get connecting(): boolean {
    return this.is("INIT_SENT", "INTERMEDIATE_SENT", "AUTH_SENT");
  }

  get closed(): boolean {
    return this.#state.name === "CLOSED";
  }

  get suiteText(): string | undefined {
    return this.secured && formatSuite(this.secured.suite);
  }

  /**
   * Of several IKE SAs with one peer: first the one that the peer is known to have, then what the peer may not have yet,
   * and before that, though nobody used it either, what it is to take the place of. Last what the peer may have no more.
   */
  get preference(): number {
    if (isSure(this)) return 0;
    return this.outlived ? 3 : this.replaced ? 1 : 2;
  }

  outbound(): ChildSa[] {
    return outboundOrder(this);
  }

  pairStates(): PairState[] | undefined {
    return this.pairs?.states(this);
  }

  get path(): PathMtuView {
    return pathMtuOf(this);
  }

  /** True while we are the responder of an IKE SA whose initiator has proven nothing. */
  get halfOpen(): boolean {
    return this.is("HALF_OPEN", "INTERMEDIATE");
  }

  /** The only door between states: it reports every passage. */
  transition(to: IkeSaState, why: string): void {
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
  handleDatagram(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    header: DecodedHeader,
    datagram: Uint8Array,
  ): void {
    this.#transport.handleDatagram(now, local, remote, header, datagram);
  }

  /**
   * §2.23: behind a NAT the peer is wherever its latest authenticated request came from. Whoever is behind one itself
   * does not follow, and with MOBIKE the peer says when it moves (RFC 4555 §3.8).
   */
  followPeer(now: Instant, local: Endpoint, remote: Endpoint): void {
    if (this.mobike || !this.nat.remote || this.nat.local || sameEndpoint(this.remote, remote)) return;
    setPath(this, now, { local, remote }, "the peer's NAT gave it another address");
    moveSas(this, now);
  }

  /** As `followPeer`, on the evidence of an ESP packet; with MOBIKE only ESP follows. */
  followEsp(now: Instant, remote: Endpoint): void {
    if (!this.established || !this.nat.remote || this.nat.local) return;
    this.host.touch(this);
    if (this.mobike) {
      const { left } = this.mobike;
      if (left && left.until > now && sameEndpoint(left.path.remote, remote)) return;
      this.espPath = { local: this.local, remote };
    } else {
      setPath(this, now, { local: this.local, remote }, "the peer's NAT gave it another address");
    }
    moveSas(this, now);
  }

  /** The responder's first answer, which the front door built: kept, as `request` is, for a repeated request. */
  rememberAnswer(request: Uint8Array, datagram: Uint8Array): void {
    this.#transport.rememberAnswer(request, datagram);
  }

  /** Queues an exchange of ours; it starts as soon as the window is free. */
  initiate(now: Instant, exchange: InitiatedExchange): void {
    this.host.touch(this);
    this.#transport.initiate(now, exchange);
  }

  /** True when an exchange with this name waits or is under way. */
  hasExchange(name: string): boolean {
    return this.#transport.hasExchange(name);
  }

  /** The name of the exchange whose request is out. */
  get underWay(): string | undefined {
    return this.#transport.underWay;
  }

  /** Exchanges of ours that wait for the window. */
  get backlog(): number {
    return this.#transport.backlog;
  }

  /** True when no exchange of ours waits or is under way. */
  get idle(): boolean {
    return this.#transport.idle;
  }

  get negotiations(): number {
    return (this.idle ? 0 : 1) + this.followUps.size;
  }

  /** The request that waits for its response was built on something that no longer holds: send it anew. */
  rebuild(now: Instant): void {
    this.#transport.rebuild(now);
  }

  /** Nobody answered the last request: the next one takes its message ID. */
  retract(): void {
    this.#transport.retract();
  }

  /** The path has changed: what waits for its response goes out on the new one at once, with fresh patience. */
  resend(now: Instant): void {
    this.#transport.resend(now);
  }

  /** The bytes of the outstanding IKE_SA_INIT request: RealMessage1 of §2.15. */
  get requestBytes(): Uint8Array {
    return this.#transport.requestBytes;
  }

  /** Stops waiting for the outstanding response at `at`, if not before. */
  waitUntil(at: Instant): void {
    this.#transport.waitUntil(at);
  }

  get deadline(): Instant | undefined {
    return earlier(this.#transport.deadline, timersDeadline(this));
  }

  handleTimeout(now: Instant): void {
    this.#transport.handleTimeout(now);
    onTimers(this, now);
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends this IKE SA politely: its CHILD_SAs stop carrying at once, the peer is told, and told again if it does not answer. */
  requestDelete(now: Instant, why: EndReason): void {
    const state = this.#state.name;
    if (state === "CLOSED" || state === "DELETING") return;
    if (this.halfOpen || state === "INIT_SENT" || state === "INTERMEDIATE_SENT") {
      this.end(now, why);
      return;
    }
    this.#transport.abandonQueue();
    this.transition({ name: "DELETING", why }, why);
    // Until the peer has the Delete, it may send there.
    const untilToldMs = deletePatienceMs(this, why);
    giveUpChildren(this, now, why, untilToldMs);
    // In AUTH_SENT the Delete has to wait for the answer: until then we cannot know whether the peer has the IKE SA.
    // A rekey has to wait for its own: else the peer would be left alone with the successor.
    if (this.underWay !== ikeRekeyName) this.waitUntil(now + untilToldMs);
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
    const stranger = this.halfOpen;
    if (from === "CLOSED") return;
    this.family.alive--;
    this.#transport.abandonAll();
    giveUpChildren(this, now, why, 0);
    peerWasTold(this, now);
    const keepAnswer =
      this.#transport.hasAnswered && (why === "failed" || why === "deleted-by-peer" || why === "rekeyed");
    this.transition({ name: "CLOSED", until: now + this.host.limits.lingerMs }, why);
    this.secured?.wipe();
    this.secured = undefined;
    this.followUps.discard();
    this.peerToken?.wipe();
    this.peerToken = undefined;
    this.#transport.discardFragments();
    if (!stranger) this.host.emit({ kind: "ended", sa: this, why, from });
    if (!keepAnswer) this.host.forget(this);
  }
}
