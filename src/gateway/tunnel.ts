/**
 * One tunnel's desired state and what is being done about it. There is one intent per tunnel, so there is never more
 * than one attempt of ours; nothing ever needs a restart. The gateway feeds it what happened to its IKE SAs.
 */

import type { ConnectionConfig, CustomerGatewayConfig } from "../config/model.ts";
import type { IpAddress } from "../core/address.ts";
import type { Random } from "../core/random.ts";
import type { Instant } from "../core/time.ts";
import type { PacketFlow } from "../core/traffic-selector.ts";
import type { EndReason } from "../ike/common/events.ts";
import type { PeerSettings } from "../ike/common/settings.ts";
import { Backoff } from "./backoff.ts";

/** What the operator wants: the configuration's `start`, until a command says otherwise. */
export type Intent = "keep-up" | "on-traffic" | "passive" | "off";

export type TunnelState =
  /** The operator said down. */
  | { readonly name: "DOWN" }
  /** Traffic, the peer or a command has to come first. */
  | { readonly name: "IDLE" }
  /** Between attempts. */
  | { readonly name: "BACKOFF"; readonly until: Instant }
  | { readonly name: "RESOLVING"; readonly until: Instant }
  | { readonly name: "CONNECTING" }
  | { readonly name: "UP"; readonly since: Instant };

/** What a tunnel asks of its gateway. */
export interface TunnelHost {
  readonly random: Random;
  onTunnelState(tunnel: Tunnel, now: Instant, from: TunnelState["name"], why: string): void;
  /** `deadline` may have changed. */
  onDeadline(tunnel: Tunnel): void;
  resolve(name: string): void;
  /** Starts a CHILD_SA on an IKE SA that stands, or else a new IKE SA. False when there is nothing to start from. */
  connect(tunnel: Tunnel, now: Instant, remote: IpAddress): boolean;
  onUnresolved(tunnel: Tunnel, now: Instant): void;
  /** No outer address of ours is of the family of `remote`. */
  onNoLocalAddress(tunnel: Tunnel, now: Instant, remote: IpAddress): void;
}

/** A tunnel that stood this long has shown that it works: its next attempt starts without delay. */
const provenMs = 10_000;
const resolveMs = 15_000;

export class Tunnel {
  readonly id: string;
  readonly connection: ConnectionConfig;
  readonly customerGateway: CustomerGatewayConfig;
  peer: PeerSettings;
  intent: Intent;
  /** The packet that the attempt under way is for. */
  trigger: PacketFlow | undefined;
  readonly #host: TunnelHost;
  readonly #backoff: Backoff;
  #state: TunnelState = { name: "IDLE" };
  #attempts = 0;

  constructor(host: TunnelHost, connection: ConnectionConfig, tunnel: number, peer: PeerSettings) {
    this.#host = host;
    this.id = peer.id;
    this.connection = connection;
    this.customerGateway = connection.tunnels[tunnel]!;
    this.peer = peer;
    this.intent = configuredIntent(connection);
    this.#backoff = new Backoff(host.random);
  }

  get state(): TunnelState {
    return this.#state;
  }

  /** False for a peer that can be anywhere: only it can start. */
  get canInitiate(): boolean {
    return this.customerGateway.address.kind !== "any";
  }

  #transition(to: TunnelState, now: Instant, why: string): void {
    const from = this.#state.name;
    this.#state = to;
    this.#host.onDeadline(this);
    if (from !== to.name) this.#host.onTunnelState(this, now, from, why);
  }

  // ── What is wanted ───────────────────────────────────────────────────────────────────────────────────────────

  start(now: Instant): void {
    if (this.intent === "keep-up" && this.is("IDLE")) this.#attempt(now, "start: immediately");
  }

  /** `culvert up`: kept up from now on, whatever the configuration's `start` says. */
  commandUp(now: Instant): void {
    this.intent = this.canInitiate ? "keep-up" : "passive";
    this.#backoff.reset();
    if (this.is("UP", "CONNECTING", "RESOLVING")) return;
    if (this.intent === "keep-up") this.#attempt(now, "command up");
    else this.#transition({ name: "IDLE" }, now, "command up");
  }

  /** `culvert down`; the gateway closes the IKE SAs. */
  commandDown(now: Instant): void {
    this.intent = "off";
    this.#transition({ name: "DOWN" }, now, "command down");
  }

  /** `culvert reset`: as after a start of the daemon, and at once if the tunnel was in use; its IKE SAs are closed. */
  commandReset(now: Instant, inUse: boolean): void {
    this.intent = configuredIntent(this.connection);
    this.#backoff.reset();
    this.#transition({ name: "IDLE" }, now, "command reset");
    if (this.intent === "keep-up" || (inUse && this.intent === "on-traffic"))
      this.#attempt(now, "command reset");
  }

  /** A packet wants to go through. */
  onTraffic(now: Instant, flow: PacketFlow): void {
    if (!this.is("IDLE") || (this.intent !== "on-traffic" && this.intent !== "keep-up")) return;
    this.trigger = flow;
    this.#attempt(now, "traffic");
  }

  // ── What happened ────────────────────────────────────────────────────────────────────────────────────────────

  onResolved(now: Instant, addresses: readonly IpAddress[]): void {
    if (!this.is("RESOLVING")) return;
    const remote = addresses[this.#attempts % Math.max(1, addresses.length)];
    if (remote) {
      this.#connect(now, remote);
      return;
    }
    this.#host.onUnresolved(this, now);
    this.#retry(now, "name not resolved");
  }

  onUp(now: Instant): void {
    if (this.is("UP", "DOWN")) return;
    this.trigger = undefined;
    this.#transition({ name: "UP", since: now }, now, "CHILD_SA installed");
  }

  /** Nothing of this tunnel is left that could carry packets, and no attempt is under way. */
  onDown(now: Instant, why: EndReason): void {
    if (this.is("DOWN", "IDLE", "BACKOFF", "RESOLVING")) return;
    if (this.#state.name === "UP" && now - this.#state.since >= provenMs) this.#backoff.reset();
    if (why === "dead-peer" && this.connection.dpd.action === "clear") {
      this.#transition({ name: "IDLE" }, now, why);
      return;
    }
    this.#retry(now, why);
  }

  get deadline(): Instant | undefined {
    return "until" in this.#state ? this.#state.until : undefined;
  }

  handleTimeout(now: Instant): void {
    const state = this.#state;
    if (!("until" in state) || state.until > now) return;
    if (state.name === "RESOLVING") {
      this.#host.onUnresolved(this, now);
      this.#retry(now, "name not resolved");
    } else if (this.intent === "keep-up") {
      this.#attempt(now, "retry");
    } else {
      this.#transition({ name: "IDLE" }, now, "ready to try again");
    }
  }

  is(...names: readonly TunnelState["name"][]): boolean {
    return names.includes(this.#state.name);
  }

  /** Every attempt asks the DNS again: a peer may have moved. */
  #attempt(now: Instant, why: string): void {
    const { address } = this.customerGateway;
    if (address.kind === "any") {
      this.#transition({ name: "IDLE" }, now, "only the peer can initiate");
      return;
    }
    if (address.kind === "ip") {
      this.#connect(now, address.address);
      return;
    }
    this.#transition({ name: "RESOLVING", until: now + resolveMs }, now, why);
    this.#host.resolve(address.name);
  }

  #connect(now: Instant, remote: IpAddress): void {
    this.#attempts++;
    this.#transition({ name: "CONNECTING" }, now, `attempt ${this.#attempts}`);
    if (this.#host.connect(this, now, remote)) return;
    this.#host.onNoLocalAddress(this, now, remote);
    this.#retry(now, "no outer address of the peer's family");
  }

  #retry(now: Instant, why: string): void {
    this.trigger = undefined;
    if (this.intent === "passive" || this.intent === "off") {
      this.#transition({ name: this.intent === "off" ? "DOWN" : "IDLE" }, now, why);
      return;
    }
    this.#transition({ name: "BACKOFF", until: now + this.#backoff.next() }, now, why);
  }
}

export function configuredIntent(connection: ConnectionConfig): Intent {
  return connection.start === "immediately" ? "keep-up" : connection.start;
}
