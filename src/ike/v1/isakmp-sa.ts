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
import { earlier, type Instant } from "../../core/time.ts";
import type { PacketFlow } from "../../core/traffic-selector.ts";
import { formatSuite } from "../../registry/index.ts";
import type { DecodedIsakmpHeader, IsakmpPayload } from "../../wire/v1/index.ts";
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
import type { InitiatedExchange } from "./exchange.ts";
import type { Host } from "./host.ts";
import {
  childDeadline,
  giveUpChildren,
  type IpsecSa,
  informDelete,
  onChildTimeout,
  outboundOrder,
} from "./ipsec-sa.ts";
import type { Secured } from "./key-material.ts";
import type { Pairs } from "./pairs.ts";
import type { IsakmpSaState, StateName } from "./states.ts";
import type { MakeTransport, Transport } from "./transport.ts";

export interface IsakmpSaOrigin {
  readonly role: Role;
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
  /** The one whose place this one is to take, made by us. */
  replaces: IsakmpSa | undefined;
  /** The one that took the IPsec SAs from this one. */
  successor: IsakmpSa | undefined;
  /** The peer is known to have this ISAKMP SA: from message 6 as main mode's initiator, else from its first use. */
  proven = false;
  lastHeardAt: Instant;

  #state: IsakmpSaState;
  readonly #transport: Transport;

  constructor(host: Host, origin: IsakmpSaOrigin, state: IsakmpSaState, makeTransport: MakeTransport) {
    this.host = host;
    this.role = origin.role;
    this.createdAt = origin.now;
    this.lastHeardAt = origin.now;
    this.spiLocal = origin.spiLocal;
    this.spiRemote = origin.spiRemote;
    this.local = origin.local;
    this.remote = origin.remote;
    this.peer = origin.peer;
    this.#state = state;
    this.#transport = makeTransport(this);
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
    if (stranger && to.name === "CLOSED") return;
    this.host.emit({ kind: "state", sa: this, from, to: to.name, why });
  }

  // ── Messages and time ────────────────────────────────────────────────────────────────────────────────────────

  /** One datagram whose header carries our SPIs. Never throws on anything a peer can send. */
  handleDatagram(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    header: DecodedIsakmpHeader,
    datagram: Uint8Array,
  ): void {
    this.#transport.handleDatagram(now, { local, remote, header, datagram });
  }

  /** Queues an exchange of phase 2 of ours; it starts as soon as it is its turn. */
  initiate(now: Instant, exchange: InitiatedExchange): void {
    this.host.touch(this);
    this.#transport.initiate(now, exchange);
  }

  /** Sends an informational message (RFC 2409 §5.7), which nobody answers. Nothing where no exchange is possible. */
  inform(now: Instant, payloads: readonly IsakmpPayload[]): void {
    this.#transport.inform(now, payloads);
  }

  /** True when an exchange of ours with this name waits or is under way. */
  hasExchange(name: string): boolean {
    return this.#transport.hasExchange(name);
  }

  /** Exchanges of ours that wait. */
  get backlog(): number {
    return this.#transport.backlog;
  }

  /** True when no exchange of ours waits or is under way. */
  get idle(): boolean {
    return this.#transport.idle;
  }

  /** Exchanges under way, of either side, that may make a pair of IPsec SAs. */
  get negotiations(): number {
    return this.#transport.negotiations;
  }

  get deadline(): Instant | undefined {
    let at = earlier(this.#transport.deadline, this.pairs?.at);
    for (const child of this.children.values()) at = earlier(at, childDeadline(child));
    return at;
  }

  handleTimeout(now: Instant): void {
    this.#transport.handleTimeout(now);
    for (const child of [...this.children.values()]) onChildTimeout(this, now, child);
    this.pairs?.handleTimeout(this, now);
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends this ISAKMP SA politely: the peer is told that its IPsec SAs are gone. */
  requestDelete(now: Instant, why: EndReason): void {
    if (this.is("CLOSED")) return;
    const from = this.#state.name;
    this.#transport.abandonAll(now);
    informDelete(this, now, [...this.children.keys()]);
    giveUpChildren(this, now, why);
    this.transition({ name: "CLOSED", until: now + this.host.limits.lingerMs }, why);
    this.secured?.wipe();
    this.secured = undefined;
    this.host.emit({ kind: "ended", sa: this, why, from });
    this.host.forget(this);
  }

  /** The peer no longer answers. */
  endDead(now: Instant): void {
    this.host.emit({ kind: "failure", sa: this, record: failureOf(this, "DPD_TIMEOUT") });
    this.requestDelete(now, "dead-peer");
  }
}
