/**
 * Tunnels whose peers are known by a DNS name: where the names lead, when they are asked for again, and what a new
 * answer means for tunnels that stand. A name costs what its own tunnels cost, however many others there are.
 */
import type { Config } from "../config/model.ts";
import type { IpAddress } from "../core/address.ts";
import type { Random } from "../core/random.ts";
import type { Instant } from "../core/time.ts";
import type { IkeEngine } from "../ike/common/engine.ts";
import { NameWatch } from "./name-watch.ts";
import { peerSettings } from "./peers.ts";
import type { Reports } from "./reports.ts";
import type { Tunnel, TunnelState } from "./tunnel.ts";

export interface NamedPeersDeps {
  readonly config: Config;
  readonly random: Random;
  readonly endpoint: IkeEngine;
  readonly reports: Reports;
  resolve(name: string): void;
}

export class NamedPeers {
  readonly #deps: NamedPeersDeps;
  /** By the name, with the number of each tunnel in its connection. */
  readonly #tunnels = new Map<string, { readonly tunnel: Tunnel; readonly number: number }[]>();
  readonly #resolved = new Map<string, readonly IpAddress[]>();
  readonly #watch: NameWatch;

  constructor(deps: NamedPeersDeps) {
    this.#deps = deps;
    this.#watch = new NameWatch(deps.random);
  }

  get deadline(): Instant | undefined {
    return this.#watch.deadline;
  }

  /** Nothing for a tunnel whose peer has no name; `number`: the tunnel's in its connection. */
  add(tunnel: Tunnel, number: number): void {
    const name = nameOf(tunnel);
    if (name === undefined) return;
    const alike = this.#tunnels.get(name);
    if (alike) alike.push({ tunnel, number });
    else this.#tunnels.set(name, [{ tunnel, number }]);
  }

  handleTimeout(now: Instant): void {
    for (const name of this.#watch.takeDue(now)) this.#deps.resolve(name);
  }

  onTunnelState(tunnel: Tunnel, now: Instant, from: TunnelState["name"]): void {
    const name = nameOf(tunnel);
    if (name === undefined) return;
    if (tunnel.is("UP")) this.#watch.use(now, name);
    if (from === "UP") this.#watch.release(name);
  }

  /** Nobody answers where the peer was: its name may say where it is. */
  onPathSuspect(tunnel: Tunnel | undefined): void {
    const name = tunnel && nameOf(tunnel);
    if (name !== undefined) this.#deps.resolve(name);
  }

  /** `addresses`: none when nothing was found. When `stopping`, they are only kept. */
  onResolved(now: Instant, name: string, addresses: readonly IpAddress[], stopping: boolean): void {
    const news = addresses.length > 0 && `${addresses}` !== `${this.#resolved.get(name)}`;
    if (news) this.#resolved.set(name, addresses);
    for (const { tunnel, number } of this.#tunnels.get(name) ?? []) {
      if (news) {
        tunnel.peer = peerSettings(this.#deps.config, tunnel.connection, number, addresses);
        this.#deps.endpoint.updatePeer(tunnel.peer);
      }
      if (stopping) continue;
      tunnel.onResolved(now, addresses);
      this.#checkMoved(now, tunnel, addresses);
    }
  }

  /** The name of a tunnel that stands leads elsewhere: does the peer still live where we talk to it? */
  #checkMoved(now: Instant, tunnel: Tunnel, addresses: readonly IpAddress[]): void {
    if (!tunnel.is("UP") || addresses.length === 0) return;
    const { endpoint, reports } = this.#deps;
    const own = endpoint.sasOf(tunnel.id).filter((sa) => sa.established);
    if (own.some((sa) => addresses.some((address) => address.equals(sa.remote.address)))) return;
    reports.log("debug", "peer's name has moved", { connection: tunnel.connection.name, addresses });
    endpoint.checkPeer(now, tunnel.id);
  }
}

function nameOf({ customerGateway: { address } }: Tunnel): string | undefined {
  return address.kind === "dns" ? address.name : undefined;
}
