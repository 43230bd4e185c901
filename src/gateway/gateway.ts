/**
 * The gateway: configuration and desired state on one side, IKE and forwarding on the other, sans-I/O. It owns the
 * tunnels' intents, turns what IKE reports into the forwarding plan, and keeps the order that loses no packet: an SA
 * is installed before a plan names it, and a plan stops naming it before it is removed.
 */

import type { Config } from "../config/model.ts";
import type { IpAddress } from "../core/address.ts";
import type { DataPlaneEvent } from "../core/dataplane.ts";
import { Queue } from "../core/queue.ts";
import type { Random } from "../core/random.ts";
import { earlier, type Instant } from "../core/time.ts";
import type { PacketFlow } from "../core/traffic-selector.ts";
import { Deadlines } from "../ike/common/deadlines.ts";
import type { IkeEngine } from "../ike/common/engine.ts";
import type { EndReason, IkeOutput } from "../ike/common/events.ts";
import type { IkeSaView } from "../ike/common/views.ts";
import { audit, type InstalledSa } from "./audit.ts";
import { Connections } from "./connections.ts";
import type {
  GatewayCommand,
  GatewayDeps,
  GatewayInput,
  GatewayMachine,
  GatewayOutput,
  GatewayStatus,
} from "./contract.ts";
import { Forwarding } from "./forwarding.ts";
import { closeOtherVersion, makeEngine } from "./ike.ts";
import { NamedPeers } from "./named-peers.ts";
import { peerSettings } from "./peers.ts";
import { Reports } from "./reports.ts";
import { SpiAllocator } from "./spi-allocator.ts";
import { StartPacer } from "./start-pacer.ts";
import { connectionStatus } from "./status.ts";
import { Tunnel, type TunnelHost, type TunnelState } from "./tunnel.ts";

/** How long a shutdown waits for the peers to acknowledge. */
const shutdownMs = 2_000;

export class Gateway implements GatewayMachine {
  readonly #config: Config;
  readonly #spis: SpiAllocator;
  readonly #endpoint: IkeEngine;
  readonly #connections: Connections;
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #named: NamedPeers;
  readonly #outputs = new Queue<GatewayOutput>();
  readonly #reports: Reports;
  readonly #forwarding: Forwarding;
  readonly #deadlines = new Deadlines<Tunnel>();
  readonly #starts = new StartPacer<Tunnel>();
  #stopping: { readonly until: Instant } | "stopped" | undefined;

  constructor(config: Config, deps: GatewayDeps) {
    this.#config = config;
    this.#spis = new SpiAllocator(deps.random, deps.workers);
    this.#endpoint = makeEngine(config.connections, {
      random: deps.random,
      keyPairs: deps.keyPairs,
      exportKeys: deps.exportKeys,
      allocateSpi: () => this.#spis.allocate(),
      releaseSpi: (spi) => this.#spis.release(spi),
      keepsUp: (peerId) => this.#tunnels.get(peerId)?.intent === "keep-up",
      ...(deps.limits && { limits: deps.limits }),
      ...(deps.lastInbound && { lastInbound: deps.lastInbound }),
      crashSecret: deps.crashSecret,
    });
    this.#reports = new Reports({
      emit: (output) => this.#outputs.push(output),
      debugLog: deps.debugLog ?? true,
      historyOf: (connection) => this.#connections.named(connection)?.history,
    });
    this.#named = new NamedPeers({
      config,
      random: deps.random,
      endpoint: this.#endpoint,
      reports: this.#reports,
      resolve: (name) => this.#outputs.push({ kind: "resolve", name }),
    });
    const host = this.#tunnelHost(deps.random);
    this.#connections = new Connections(config.connections, (connection) =>
      connection.tunnels.map((_, number) => {
        const tunnel = new Tunnel(host, connection, number, peerSettings(config, connection, number, []));
        this.#tunnels.set(tunnel.id, tunnel);
        this.#named.add(tunnel, number);
        return tunnel;
      }),
    );
    this.#forwarding = new Forwarding({
      config,
      sasOf: (peer) => this.#endpoint.sasOf(peer),
      emit: (output) => this.#outputs.push(output),
    });
    this.#updatePeers();
  }

  // ── Inputs ───────────────────────────────────────────────────────────────────────────────────────────────────

  handle(now: Instant, input: GatewayInput): void {
    if (this.#stopping === "stopped") return;
    switch (input.kind) {
      case "start":
        this.#start(now);
        break;
      case "dataPlane":
        this.#onDataPlane(now, input.event);
        break;
      case "command":
        this.#onCommand(now, input.command);
        break;
      case "resolved":
        this.#named.onResolved(now, input.name, input.addresses, this.#stopping !== undefined);
        break;
      case "localAddresses":
        this.#onLocalAddresses(now, input.addresses);
        break;
      case "refusedSa":
        this.#endpoint.handleRefusedSa(now, input);
        break;
      case "installed":
        this.#repair(now, input.sas);
        break;
      case "shutdown":
        this.#shutdown(now);
        break;
    }
    this.#drain(now);
  }

  handleTimeout(now: Instant): void {
    if (this.#stopping === "stopped") return;
    this.#endpoint.handleTimeout(now);
    this.#drain(now);
    if (!this.#stopping) {
      this.#handleTunnelTimeouts(now);
      this.#named.handleTimeout(now);
    }
    this.#drain(now);
  }

  pollOutput(): GatewayOutput | undefined {
    return this.#outputs.shift();
  }

  pollTimeout(): Instant | undefined {
    if (this.#stopping === "stopped") return undefined;
    if (this.#stopping) return earlier(this.#endpoint.pollTimeout(), this.#stopping.until);
    const own = earlier(earlier(this.#deadlines.next(), this.#starts.deadline), this.#named.deadline);
    return earlier(earlier(this.#endpoint.pollTimeout(), own), this.#forwarding.deadline);
  }

  /** For whoever checks that nothing is lost, or kept for ever: only to be read. */
  get ike(): IkeEngine {
    return this.#endpoint;
  }

  get connectionCount(): GatewayMachine["connectionCount"] {
    return this.#connections.counts;
  }

  status(now: Instant): GatewayStatus {
    return {
      name: this.#config.gateway.name,
      ike: {
        halfOpen: this.#endpoint.halfOpen,
        sas: this.#endpoint.size,
        inboundSpis: this.#spis.inUse,
        drops: { ...this.#endpoint.drops },
      },
      connections: this.#connections.all.map((record) =>
        connectionStatus(record, now, (peer) => this.#endpoint.sasOf(peer)),
      ),
    };
  }

  #start(now: Instant): void {
    this.#connections.start(now);
    this.#forwarding.start();
    for (const tunnel of this.#tunnels.values()) tunnel.start(now);
  }

  #handleTunnelTimeouts(now: Instant): void {
    for (const tunnel of this.#deadlines.takeDue(now)) {
      tunnel.handleTimeout(now);
      this.#deadlines.set(tunnel, tunnel.deadline);
    }
  }

  #onDataPlane(now: Instant, event: DataPlaneEvent): void {
    switch (event.kind) {
      case "ike":
        this.#endpoint.handleDatagram(now, event.local, event.remote, event.datagram);
        break;
      case "acquire":
        if (!this.#stopping) this.#onTraffic(now, event.connection, event);
        break;
      case "softLifetime":
      case "hardLifetime":
        this.#endpoint.handleLifetime(now, event);
        break;
      case "saInUse":
        this.#endpoint.handleSaInUse(now, event.spi);
        break;
      case "peerMoved":
        this.#endpoint.handlePeerMoved(now, event.spi, event.remote);
        break;
      case "pathMtu":
        this.#endpoint.handlePathMtuHint(now, event.remote, event.mtu);
        break;
      // Health checks have no reader yet.
      case "probeReply":
        break;
    }
  }

  /** No SA takes the packet: a tunnel that is up is asked for one more, another one is started. */
  #onTraffic(now: Instant, connection: number, flow: PacketFlow): void {
    const tunnels = this.#connections.get(connection)?.tunnels ?? [];
    const up = tunnels.find((tunnel) => tunnel.is("UP") && tunnel.intent !== "passive");
    const sa = up && this.#endpoint.sasOf(up.id).findLast((s) => s.established);
    if (sa) this.#endpoint.handleTraffic(now, sa, flow);
    for (const tunnel of tunnels) tunnel.onTraffic(now, flow);
  }

  #onCommand(now: Instant, command: GatewayCommand): void {
    const { verb, connection } = command;
    const record = this.#connections.named(connection);
    if (!record || this.#stopping) return;
    this.#reports.log("info", "command", { ...command });
    for (const tunnel of record.tunnels) {
      if (command.verb === "rekey") {
        this.#endpoint.rekeyPeer(now, tunnel.id, command.ike);
        continue;
      }
      const inUse = tunnel.is("UP", "CONNECTING", "RESOLVING");
      if (verb === "up") {
        tunnel.commandUp(now);
        continue;
      }
      if (verb === "down") tunnel.commandDown(now);
      this.#updatePeers();
      this.#endpoint.closePeer(now, tunnel.id, "requested");
      this.#drain(now);
      if (verb === "reset") this.#endpoint.forgetPairing(tunnel.id);
      if (verb === "reset") tunnel.commandReset(now, inUse);
    }
    this.#updatePeers();
  }

  /** What this host still has of the addresses that the configuration names. */
  #onLocalAddresses(now: Instant, addresses: readonly IpAddress[]): void {
    const here = this.#config.gateway.addresses.filter((own) => addresses.some((a) => a.equals(own)));
    this.#endpoint.handleLocalAddresses(now, here);
  }

  #shutdown(now: Instant): void {
    if (this.#stopping) return;
    this.#stopping = { until: now + shutdownMs };
    for (const tunnel of this.#tunnels.values()) tunnel.commandDown(now);
    this.#updatePeers();
    for (const sa of this.#endpoint.sas()) this.#endpoint.close(now, sa, "requested");
  }

  /** Removes what is installed in vain, replaces what is not installed, and publishes what was forgotten. */
  #repair(now: Instant, installed: readonly InstalledSa[]): void {
    const { missing, strays } = audit(this.#endpoint.sas(), this.#forwarding.leaving, installed);
    for (const stray of strays) {
      this.#reports.onStray(stray);
      this.#forwarding.remove({ kind: "removeSa", ...stray });
    }
    for (const lost of missing) {
      this.#reports.onMissing(lost);
      this.#endpoint.replaceLostChild(now, lost.sa, lost.child, lost.direction);
      this.#forwarding.change(lost.sa.peer!.connectionIndex);
    }
    if (this.#forwarding.recheck()) this.#reports.onPlanDiffers();
  }

  // ── What IKE reports ─────────────────────────────────────────────────────────────────────────────────────────

  #drain(now: Instant): void {
    do {
      for (let output = this.#endpoint.pollOutput(); output; output = this.#endpoint.pollOutput())
        this.#onIke(now, output);
      // Who came up or gave up has made room for others.
    } while (!this.#stopping && this.#startPaced(now));
    this.#forwarding.flush(now, this.#stopping !== undefined);
    if (this.#stopping && this.#stopping !== "stopped") {
      if (this.#endpoint.silent || this.#stopping.until <= now) {
        this.#stopping = "stopped";
        this.#outputs.push({ kind: "stopped" });
      }
    }
  }

  #onIke(now: Instant, output: IkeOutput): void {
    this.#reports.onIke(now, output);
    switch (output.kind) {
      case "send":
        this.#outputs.push({ ...output, kind: "sendIke" });
        break;
      case "sendKeepalive":
      case "installSa":
      case "updateSa":
        this.#outputs.push(output);
        break;
      case "removeSa":
        this.#forwarding.remove(output);
        break;
      case "outboundChanged":
        this.#forwarding.change(output.sa.peer!.connectionIndex);
        break;
      case "established":
        // The operator may have said down while the peer was half-way in.
        if (this.#tunnelOf(output.sa)?.intent === "off") this.#endpoint.close(now, output.sa, "requested");
        break;
      case "pathSuspect":
        this.#named.onPathSuspect(this.#tunnelOf(output.sa));
        break;
      case "ended":
        this.#settle(now, output.sa, output.why);
        break;
      case "childUp":
        this.#forwarding.change(output.sa.peer!.connectionIndex);
        this.#tunnelOf(output.sa)?.onUp(now);
        closeOtherVersion(this.#endpoint, now, output.sa);
        break;
      case "childDown":
        this.#forwarding.change(output.sa.peer!.connectionIndex);
        this.#settle(now, output.sa, output.why);
        break;
    }
  }

  /** A tunnel whose last SA went, and for which nothing is under way, is down. */
  #settle(now: Instant, sa: IkeSaView, why: EndReason): void {
    const tunnel = this.#tunnelOf(sa);
    if (!tunnel) return;
    const own = this.#endpoint.sasOf(tunnel.id);
    const carries = own.some((s) => s.outbound().length > 0);
    const connecting = own.some((s) => s.connecting);
    if (!carries && !connecting) tunnel.onDown(now, why);
  }

  // ── Tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────

  #tunnelHost(random: Random): TunnelHost {
    const ours = this.#config.gateway.addresses;
    return {
      random,
      onTunnelState: (tunnel, now, from, why) => this.#onTunnelState(tunnel, now, from, why),
      onDeadline: (tunnel) => this.#deadlines.set(tunnel, tunnel.deadline),
      resolve: (name) => this.#outputs.push({ kind: "resolve", name }),
      connect: (tunnel, now, remote) => this.#connect(tunnel, now, remote),
      onUnresolved: (tunnel, now) => this.#reports.onUnresolved(tunnel, now, ours),
      onNoLocalAddress: (tunnel, now, remote) => this.#reports.onNoLocalAddress(tunnel, now, remote, ours),
    };
  }

  #connect(tunnel: Tunnel, now: Instant, remote: IpAddress): boolean {
    const standing = this.#endpoint.sasOf(tunnel.id).find((sa) => sa.established);
    if (standing) {
      this.#endpoint.requestChild(now, standing);
      return true;
    }
    if (!tunnel.peer.local.some((address) => address.family === remote.family)) return false;
    this.#starts.add(tunnel, remote);
    return true;
  }

  /** Initiates for those tunnels whose turn it is: at once, unless hundreds want to start together. False for none. */
  #startPaced(now: Instant): boolean {
    let any = false;
    for (let next = this.#starts.next(now); next; next = this.#starts.next(now)) {
      this.#endpoint.initiate(now, next.item.peer, next.remote, next.item.trigger);
      any = true;
    }
    return any;
  }

  #onTunnelState(tunnel: Tunnel, now: Instant, from: TunnelState["name"], why: string): void {
    if (from === "CONNECTING") this.#starts.drop(tunnel);
    this.#reports.onTunnelState(tunnel, from, why);
    this.#named.onTunnelState(tunnel, now, from);
    this.#connections.onTunnelState(tunnel, now, from === "UP");
  }

  #updatePeers(): void {
    const wanted = [...this.#tunnels.values()].filter((tunnel) => tunnel.intent !== "off");
    this.#endpoint.setPeers(wanted.map((tunnel) => tunnel.peer));
  }

  #tunnelOf(sa: IkeSaView): Tunnel | undefined {
    return sa.peer && this.#tunnels.get(sa.peer.id);
  }
}
