/**
 * The gateway: configuration and desired state on one side, IKE and forwarding on the other, sans-I/O. It owns the
 * tunnels' intents, turns what IKE reports into the forwarding plan, and keeps the order that loses no packet: an SA
 * is installed before a plan names it, and a plan stops naming it before it is removed.
 */
import type { Config } from "../config/model.ts";
import type { IpAddress } from "../core/address.ts";
import type { DataPlaneEvent } from "../core/dataplane.ts";
import type { FailureRecord } from "../core/failure.ts";
import type { Random } from "../core/random.ts";
import type { Secret } from "../core/secret.ts";
import { earlier, type Instant } from "../core/time.ts";
import { type ChildSa, outboundOrder } from "../ike/v2/child-sa.ts";
import { IkeEndpoint } from "../ike/v2/endpoint.ts";
import type { IkeOutput } from "../ike/v2/events.ts";
import { failureOf } from "../ike/v2/failures.ts";
import type { IkeSa } from "../ike/v2/ike-sa.ts";
import type { KeyPairs } from "../ike/v2/key-material.ts";
import type { EndpointLimits } from "../ike/v2/settings.ts";
import { formatSuite } from "../registry/index.ts";
import { buildPlan } from "../routing/plan.ts";
import type {
  GatewayCommand,
  GatewayInput,
  GatewayMachine,
  GatewayOutput,
  GatewayStatus,
} from "./contract.ts";
import { espKeyLine, ikeKeyLine } from "./keylog-lines.ts";
import { NameWatch } from "./name-watch.ts";
import { peerSettings } from "./peers.ts";
import { SpiAllocator } from "./spi-allocator.ts";
import { type ConnectionRecord, connectionState, connectionStatus } from "./status.ts";
import { Tunnel, type TunnelHost, type TunnelState } from "./tunnel.ts";

export interface GatewayDeps {
  readonly random: Random;
  readonly keyPairs: KeyPairs;
  /** Data plane workers, 1 to 256: inbound SPIs name one in their low bits. */
  readonly workers: number;
  /** Emit `keylog`: whoever has those lines reads all traffic. */
  readonly exportKeys: boolean;
  /** When the last authentic ESP packet came on an inbound SA, on the clock of `now`; undefined: none. */
  readonly lastInbound?: (spi: number, remote: IpAddress) => Instant | undefined;
  /** 32 octets that survive a restart, for Quick Crash Detection (RFC 6290); without them no tokens are made. */
  readonly crashSecret?: Secret | undefined;
  /** For tests and unusual paths; every limit has a default. */
  readonly limits?: Partial<EndpointLimits>;
}

/** How long a shutdown waits for the peers to acknowledge. */
const shutdownMs = 2_000;

export class Gateway implements GatewayMachine {
  readonly #config: Config;
  readonly #spis: SpiAllocator;
  readonly #endpoint: IkeEndpoint;
  readonly #connections: ConnectionRecord[];
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #resolved = new Map<string, readonly IpAddress[]>();
  readonly #names: NameWatch;
  readonly #outputs: GatewayOutput[] = [];
  #published = "";
  #publishedRoutes: string | undefined;
  #stopping: { readonly until: Instant } | "stopped" | undefined;

  constructor(config: Config, deps: GatewayDeps) {
    this.#config = config;
    this.#spis = new SpiAllocator(deps.random, deps.workers);
    this.#endpoint = new IkeEndpoint({
      random: deps.random,
      keyPairs: deps.keyPairs,
      exportKeys: deps.exportKeys,
      allocateSpi: () => this.#spis.allocate(),
      releaseSpi: (spi) => this.#spis.release(spi),
      ...(deps.limits && { limits: deps.limits }),
      ...(deps.lastInbound && { lastInbound: deps.lastInbound }),
      crashSecret: deps.crashSecret,
    });
    this.#names = new NameWatch(deps.random);
    const host = this.#tunnelHost(deps.random);
    this.#connections = config.connections.map((connection) => {
      const tunnels =
        connection.ike.version === "ikev1"
          ? []
          : connection.tunnels.map(
              (_, i) => new Tunnel(host, connection, i, peerSettings(config, connection, i, [])),
            );
      for (const tunnel of tunnels) this.#tunnels.set(tunnel.id, tunnel);
      return { connection, tunnels, state: connectionState(tunnels), since: 0, lastFailure: undefined };
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
        this.#onResolved(now, input.name, input.addresses);
        break;
      case "refusedSa":
        this.#endpoint.handleRefusedSa(now, input.spi, input.direction, input.reason);
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
      for (const tunnel of this.#tunnels.values()) tunnel.handleTimeout(now);
      for (const name of this.#names.takeDue(now)) this.#outputs.push({ kind: "resolve", name });
    }
    this.#drain(now);
  }

  pollOutput(): GatewayOutput | undefined {
    return this.#outputs.shift();
  }

  pollTimeout(): Instant | undefined {
    if (this.#stopping === "stopped") return undefined;
    if (this.#stopping) return earlier(this.#endpoint.pollTimeout(), this.#stopping.until);
    let at = earlier(this.#endpoint.pollTimeout(), this.#names.deadline);
    for (const tunnel of this.#tunnels.values()) at = earlier(at, tunnel.deadline);
    return at;
  }

  /** What IKE holds, for whoever checks that nothing is lost or kept for ever. Only to be read. */
  get ike(): IkeEndpoint {
    return this.#endpoint;
  }

  get spisInUse(): number {
    return this.#spis.inUse;
  }

  status(now: Instant): GatewayStatus {
    const sas = this.#preferredSas();
    return {
      name: this.#config.gateway.name,
      ike: {
        halfOpen: this.#endpoint.halfOpen,
        sas: sas.length,
        inboundSpis: this.#spis.inUse,
        drops: { ...this.#endpoint.drops },
      },
      connections: this.#connections.map((record) => connectionStatus(record, now, sas)),
    };
  }

  #start(now: Instant): void {
    for (const record of this.#connections) record.since = now;
    this.#publish();
    for (const tunnel of this.#tunnels.values()) tunnel.start(now);
  }

  #onDataPlane(now: Instant, event: DataPlaneEvent): void {
    switch (event.kind) {
      case "ike":
        this.#endpoint.handleDatagram(now, event.local, event.remote, event.datagram);
        break;
      case "acquire":
        if (this.#stopping) break;
        for (const tunnel of this.#tunnels.values())
          if (tunnel.connection.index === event.connection) tunnel.onTraffic(now);
        break;
      case "softLifetime":
      case "hardLifetime":
        this.#endpoint.handleLifetime(now, event.spi, event.direction, event.kind === "hardLifetime");
        break;
      case "saInUse":
        this.#endpoint.handleSaInUse(now, event.spi);
        break;
      case "peerMoved":
        this.#endpoint.handlePeerMoved(now, event.spi, event.remote);
        break;
      // Health checks and path MTU have no reader yet.
      case "probeReply":
      case "pathMtu":
        break;
    }
  }

  #onCommand(now: Instant, { verb, connection }: GatewayCommand): void {
    const record = this.#connections.find((c) => c.connection.name === connection);
    if (!record || this.#stopping) return;
    this.#log("info", "command", { verb, connection });
    for (const tunnel of record.tunnels) {
      const inUse = tunnel.is("UP", "CONNECTING", "RESOLVING");
      if (verb === "up") {
        tunnel.commandUp(now);
        continue;
      }
      if (verb === "down") tunnel.commandDown(now);
      this.#updatePeers();
      this.#endpoint.closePeer(now, tunnel.id, "requested");
      this.#drain(now);
      if (verb === "reset") tunnel.commandReset(now, inUse);
    }
    this.#updatePeers();
  }

  #onResolved(now: Instant, name: string, addresses: readonly IpAddress[]): void {
    if (addresses.length > 0) this.#resolved.set(name, addresses);
    this.#updatePeers();
    if (this.#stopping) return;
    for (const tunnel of this.#tunnels.values()) {
      const { address } = tunnel.customerGateway;
      if (address.kind !== "dns" || address.name !== name) continue;
      tunnel.onResolved(now, addresses);
      this.#checkMoved(now, tunnel, addresses);
    }
  }

  /** The name of a tunnel that stands leads elsewhere: does the peer still live where we talk to it? */
  #checkMoved(now: Instant, tunnel: Tunnel, addresses: readonly IpAddress[]): void {
    if (!tunnel.is("UP") || addresses.length === 0) return;
    const own = this.#endpoint.sas().filter((sa) => sa.peer?.id === tunnel.id && sa.established);
    if (own.some((sa) => addresses.some((address) => address.equals(sa.remote.address)))) return;
    this.#log("debug", "peer's name has moved", { connection: tunnel.connection.name, addresses });
    this.#endpoint.checkPeer(now, tunnel.id);
  }

  #shutdown(now: Instant): void {
    if (this.#stopping) return;
    this.#stopping = { until: now + shutdownMs };
    for (const tunnel of this.#tunnels.values()) tunnel.commandDown(now);
    this.#updatePeers();
    for (const sa of this.#endpoint.sas()) this.#endpoint.close(now, sa, "requested");
  }

  // ── What IKE reports ─────────────────────────────────────────────────────────────────────────────────────────

  #drain(now: Instant): void {
    for (let output = this.#endpoint.pollOutput(); output; output = this.#endpoint.pollOutput())
      this.#onIke(now, output);
    if (this.#stopping && this.#stopping !== "stopped") {
      const waiting = this.#endpoint.sas().some((sa) => !sa.is("CLOSED"));
      if (!waiting || this.#stopping.until <= now) {
        this.#stopping = "stopped";
        this.#outputs.push({ kind: "stopped" });
      }
    }
  }

  #onIke(now: Instant, output: IkeOutput): void {
    switch (output.kind) {
      case "send":
        this.#outputs.push({ ...output, kind: "sendIke" });
        break;
      case "sendKeepalive":
      case "installSa":
      case "removeSa":
        this.#outputs.push(output);
        break;
      case "state":
        this.#onState(output);
        break;
      case "established":
        this.#onEstablished(now, output.sa);
        break;
      case "rekeyed":
        this.#log("info", "IKE SA rekeyed", { ...about(output.successor), ...suiteOf(output.successor) });
        break;
      case "ended":
        this.#onEnded(now, output.sa, output.why);
        break;
      case "childUp":
        this.#onChildUp(now, output.sa, output.child, output.rekeyOf);
        break;
      case "childDown":
        this.#onChildDown(now, output.sa, output.child, output.why);
        break;
      case "outboundChanged":
        this.#publish();
        break;
      case "failure":
        this.#onFailure(now, output.record);
        break;
      case "ikeKeys":
        this.#outputs.push({
          kind: "keylog",
          table: "ikev2_decryption_table",
          line: ikeKeyLine(output.keys),
        });
        break;
      case "espKeys":
        this.#outputs.push({ kind: "keylog", table: "esp_sa", line: espKeyLine(output.keys) });
        break;
    }
  }

  #onState({ sa, from, to, why }: Extract<IkeOutput, { kind: "state" }>): void {
    this.#log("debug", "IKE SA state", { ...about(sa), from, to, why });
  }

  #onEstablished(now: Instant, sa: IkeSa): void {
    const tunnel = this.#tunnelOf(sa);
    const { localId, remoteId, role, handshakeMs } = sa;
    const ids = { localId, remoteId, role, handshakeMs };
    this.#log("info", "IKE SA up", { ...about(sa), ...ids, ...suiteOf(sa) });
    // The operator may have said down while the peer was half-way in.
    if (tunnel?.intent === "off") this.#endpoint.close(now, sa, "requested");
  }

  #onChildUp(now: Instant, sa: IkeSa, child: ChildSa, rekeyOf: number | undefined): void {
    this.#publish();
    const message = rekeyOf === undefined ? "CHILD_SA up" : "CHILD_SA rekeyed";
    this.#log("info", message, { ...about(sa), ...spis(child), suite: formatSuite(child.suite) });
    this.#tunnelOf(sa)?.onUp(now);
  }

  #onChildDown(now: Instant, sa: IkeSa, child: ChildSa, why: Parameters<Tunnel["onDown"]>[1]): void {
    this.#publish();
    this.#log(why === "rekeyed" ? "debug" : "info", "CHILD_SA down", { ...about(sa), ...spis(child), why });
    this.#settle(now, sa, why);
  }

  #onEnded(now: Instant, sa: IkeSa, why: Parameters<Tunnel["onDown"]>[1]): void {
    // An initiator that never got through has its failure record; a rekeyed IKE SA lives on in its successor.
    const level = why === "rekeyed" || sa.handshakeMs === 0 ? "debug" : "info";
    this.#log(level, "IKE SA down", { ...about(sa), why });
    this.#settle(now, sa, why);
  }

  /** A tunnel whose last SA went, and for which nothing is under way, is down. */
  #settle(now: Instant, sa: IkeSa, why: Parameters<Tunnel["onDown"]>[1]): void {
    const tunnel = this.#tunnelOf(sa);
    if (!tunnel) return;
    const own = this.#endpoint.sas().filter((s) => s.peer?.id === tunnel.id);
    const carries = own.some((s) => s.established && outboundOrder(s).length > 0);
    const connecting = own.some((s) => s.is("INIT_SENT", "AUTH_SENT"));
    if (!carries && !connecting) tunnel.onDown(now, why);
  }

  #onFailure(now: Instant, record: FailureRecord): void {
    const connection = this.#connections.find((c) => c.connection.name === record.connection);
    if (connection) connection.lastFailure = { record, at: now };
    this.#outputs.push({ kind: "failure", record });
  }

  // ── Tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────

  #tunnelHost(random: Random): TunnelHost {
    return {
      random,
      onTunnelState: (tunnel, now, from, why) => this.#onTunnelState(tunnel, now, from, why),
      resolve: (name) => this.#outputs.push({ kind: "resolve", name }),
      connect: (tunnel, now, remote) => this.#connect(tunnel, now, remote),
      onUnresolved: (tunnel, now) => this.#onUnresolved(tunnel, now),
    };
  }

  #connect(tunnel: Tunnel, now: Instant, remote: IpAddress): boolean {
    const standing = this.#endpoint.sas().find((sa) => sa.peer?.id === tunnel.id && sa.established);
    if (!standing) return this.#endpoint.initiate(now, tunnel.peer, remote) !== undefined;
    this.#endpoint.requestChild(now, standing);
    return true;
  }

  #onTunnelState(tunnel: Tunnel, now: Instant, from: TunnelState["name"], why: string): void {
    const to = tunnel.state.name;
    const { connection } = tunnel;
    const fields = {
      connection: connection.name,
      customerGateway: tunnel.customerGateway.name,
      from,
      to,
      why,
    };
    this.#log(to === "UP" || from === "UP" ? "info" : "debug", "tunnel state", fields);
    this.#names.watch(now, this.#namesInUse());
    const record = this.#connections.find((c) => c.connection === connection)!;
    const state = connectionState(record.tunnels);
    if (state !== record.state) {
      record.state = state;
      record.since = now;
    }
  }

  #namesInUse(): Set<string> {
    const names = new Set<string>();
    for (const { customerGateway, state } of this.#tunnels.values())
      if (customerGateway.address.kind === "dns" && state.name === "UP")
        names.add(customerGateway.address.name);
    return names;
  }

  #onUnresolved(tunnel: Tunnel, now: Instant): void {
    const { address } = tunnel.customerGateway;
    const name = address.kind === "dns" ? address.name : "";
    const peer = { ...tunnel.peer };
    const remote = { address: this.#config.gateway.addresses[0]!, port: 500 };
    const details = { ours: [name], difference: `${name} has no address that we can reach` };
    const record = failureOf({ peer, candidates: [], remote }, "PEER_NAME_UNRESOLVED", details);
    this.#onFailure(now, { ...record, peer: name });
  }

  #updatePeers(): void {
    for (const record of this.#connections) {
      for (const [i, tunnel] of record.tunnels.entries()) {
        const { address } = tunnel.customerGateway;
        if (address.kind !== "dns") continue;
        tunnel.peer = peerSettings(
          this.#config,
          record.connection,
          i,
          this.#resolved.get(address.name) ?? [],
        );
      }
    }
    const wanted = [...this.#tunnels.values()].filter((tunnel) => tunnel.intent !== "off");
    this.#endpoint.setPeers(wanted.map((tunnel) => tunnel.peer));
  }

  #tunnelOf(sa: IkeSa): Tunnel | undefined {
    return sa.peer && this.#tunnels.get(sa.peer.id);
  }

  // ── Forwarding ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Publishes the forwarding plan and the kernel's routes, each when it differs from what was published last. */
  #publish(): void {
    const sas = this.#preferredSas();
    const connections = this.#connections.map(({ connection, tunnels }) => {
      const outbound = tunnels
        .flatMap((tunnel) => sas.filter((sa) => sa.peer?.id === tunnel.id))
        .flatMap(outboundOrder)
        .map(({ spiOut, remote }) => ({ spi: spiOut, remote }));
      const { index, name, localSubnets, remoteSubnets } = connection;
      const flows =
        connection.routing === "protected-data-flows"
          ? { local: localSubnets, remote: remoteSubnets }
          : undefined;
      return { index, name, usable: outbound.length > 0, outbound, flows };
    });
    const { destination, policy } = this.#config.routes;
    const routing = buildPlan({ destinationRoutes: destination, policyRoutes: policy, connections });
    const plan = JSON.stringify(routing.plan);
    if (plan !== this.#published) {
      this.#published = plan;
      this.#outputs.push({ kind: "publish", plan: routing.plan });
    }
    const routes = JSON.stringify(routing.published);
    if (routes !== this.#publishedRoutes) {
      this.#publishedRoutes = routes;
      this.#outputs.push({ kind: "kernelRoutes", destinations: routing.published });
    }
  }

  /** The newest IKE SA first: of several with one peer it is the one that stays. Last what the peer may not have yet. */
  #preferredSas(): IkeSa[] {
    const newestFirst = this.#endpoint.sas().reverse();
    return [...newestFirst.filter((sa) => sa.proven), ...newestFirst.filter((sa) => !sa.proven)];
  }

  #log(level: "debug" | "info", message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#outputs.push({ kind: "log", level, message, fields });
  }
}

function about(sa: IkeSa): Record<string, unknown> {
  return {
    connection: sa.peer?.connection,
    peer: `${sa.remote.address}`,
    spiInitiator: sa.spiInitiator.toString(16).padStart(16, "0"),
    spiResponder: sa.spiResponder.toString(16).padStart(16, "0"),
  };
}

function suiteOf(sa: IkeSa): Record<string, unknown> {
  return sa.secured ? { suite: formatSuite(sa.secured.suite) } : {};
}

function spis({ spiIn, spiOut }: ChildSa): Record<string, unknown> {
  const hex = (spi: number) => spi.toString(16).padStart(8, "0");
  return { spiIn: hex(spiIn), spiOut: hex(spiOut) };
}
