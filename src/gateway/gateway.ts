/**
 * The gateway: configuration and desired state on one side, IKE and forwarding on the other, sans-I/O. It owns the
 * tunnels' intents, turns what IKE reports into the forwarding plan, and keeps the order that loses no packet: an SA
 * is installed before a plan names it, and a plan stops naming it before it is removed.
 */
import type { Config } from "../config/model.ts";
import { formatEndpoint, type IpAddress } from "../core/address.ts";
import type { DataPlaneEvent } from "../core/dataplane.ts";
import type { FailureRecord } from "../core/failure.ts";
import { Queue } from "../core/queue.ts";
import type { Random } from "../core/random.ts";
import type { Secret } from "../core/secret.ts";
import { earlier, type Instant } from "../core/time.ts";
import type { PacketFlow } from "../core/traffic-selector.ts";
import { type ChildSa, outboundOrder } from "../ike/v2/child-sa.ts";
import { Deadlines } from "../ike/v2/deadlines.ts";
import { IkeEndpoint } from "../ike/v2/endpoint.ts";
import type { IkeOutput } from "../ike/v2/events.ts";
import { failureOf } from "../ike/v2/failures.ts";
import type { IkeSa } from "../ike/v2/ike-sa.ts";
import type { KeyPairs } from "../ike/v2/key-material.ts";
import type { EndpointLimits } from "../ike/v2/settings.ts";
import { formatSuite } from "../registry/index.ts";
import { audit, type InstalledSa } from "./audit.ts";
import type {
  GatewayCommand,
  GatewayInput,
  GatewayMachine,
  GatewayOutput,
  GatewayStatus,
} from "./contract.ts";
import { Forwarding } from "./forwarding.ts";
import { childSaEvent, type GatewayEvent, ikeSaEvent } from "./gateway-events.ts";
import { ConnectionHistory } from "./history.ts";
import { espKeyLine, ikeKeyLine } from "./keylog-lines.ts";
import { about, hexSpi, spis, suiteOf } from "./log-fields.ts";
import { NameWatch } from "./name-watch.ts";
import { peerSettings } from "./peers.ts";
import { SpiAllocator } from "./spi-allocator.ts";
import { StartPacer } from "./start-pacer.ts";
import { type ConnectionRecord, connectionState, connectionStatus, weakWords } from "./status.ts";
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
  /** For whoever checks that nothing is lost, or kept for ever: only to be read. */
  readonly ike: IkeEndpoint;
  /** By connection number. */
  readonly #connections: ConnectionRecord[];
  #up = 0;
  readonly #connectionsByName: ReadonlyMap<string, ConnectionRecord>;
  readonly #tunnels = new Map<string, Tunnel>();
  /** The tunnels whose peer has a name, by the name: with the number of each in its connection. */
  readonly #named = new Map<string, { readonly tunnel: Tunnel; readonly number: number }[]>();
  readonly #resolved = new Map<string, readonly IpAddress[]>();
  readonly #names: NameWatch;
  readonly #outputs = new Queue<GatewayOutput>();
  readonly #forwarding: Forwarding;
  readonly #deadlines = new Deadlines<Tunnel>();
  readonly #starts = new StartPacer<Tunnel>();
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
      keepsUp: (peerId) => this.#tunnels.get(peerId)?.intent === "keep-up",
      ...(deps.limits && { limits: deps.limits }),
      ...(deps.lastInbound && { lastInbound: deps.lastInbound }),
      crashSecret: deps.crashSecret,
    });
    this.ike = this.#endpoint;
    this.#names = new NameWatch(deps.random);
    const host = this.#tunnelHost(deps.random);
    this.#connections = config.connections.map((connection) => {
      const tunnels =
        connection.ike.version === "ikev1"
          ? []
          : connection.tunnels.map(
              (_, i) => new Tunnel(host, connection, i, peerSettings(config, connection, i, [])),
            );
      for (const [number, tunnel] of tunnels.entries()) {
        this.#tunnels.set(tunnel.id, tunnel);
        const { address } = tunnel.customerGateway;
        if (address.kind !== "dns") continue;
        const alike = this.#named.get(address.name);
        if (alike) alike.push({ tunnel, number });
        else this.#named.set(address.name, [{ tunnel, number }]);
      }
      const state = connectionState(tunnels);
      return {
        connection,
        tunnels,
        weak: weakWords(connection),
        state,
        since: 0,
        history: new ConnectionHistory(),
      };
    });
    this.#connectionsByName = new Map(this.#connections.map((record) => [record.connection.name, record]));
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
        this.#onResolved(now, input.name, input.addresses);
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
    const own = earlier(earlier(this.#deadlines.next(), this.#starts.deadline), this.#names.deadline);
    return earlier(earlier(this.#endpoint.pollTimeout(), own), this.#forwarding.deadline);
  }

  get connectionCount(): GatewayMachine["connectionCount"] {
    return { up: this.#up, all: this.#connections.length };
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
      connections: this.#connections.map((record) =>
        connectionStatus(record, now, (peer) => this.#endpoint.sasOf(peer)),
      ),
    };
  }

  #start(now: Instant): void {
    for (const record of this.#connections) record.since = now;
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
      // Health checks and path MTU have no reader yet.
      case "probeReply":
      case "pathMtu":
        break;
    }
  }

  /** No SA takes the packet: a tunnel that is up is asked for one more, another one is started. */
  #onTraffic(now: Instant, connection: number, flow: PacketFlow): void {
    const tunnels = this.#connections[connection]?.tunnels ?? [];
    const up = tunnels.find((tunnel) => tunnel.is("UP") && tunnel.intent !== "passive");
    const sa = up && this.#endpoint.sasOf(up.id).findLast((s) => s.established);
    if (sa) this.#endpoint.handleTraffic(now, sa, flow);
    for (const tunnel of tunnels) tunnel.onTraffic(now, flow);
  }

  #onCommand(now: Instant, command: GatewayCommand): void {
    const { verb, connection } = command;
    const record = this.#connectionsByName.get(connection);
    if (!record || this.#stopping) return;
    this.#log("info", "command", { ...command });
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

  #onResolved(now: Instant, name: string, addresses: readonly IpAddress[]): void {
    const news = addresses.length > 0 && `${addresses}` !== `${this.#resolved.get(name)}`;
    if (news) this.#resolved.set(name, addresses);
    for (const { tunnel, number } of this.#named.get(name) ?? []) {
      if (news) {
        tunnel.peer = peerSettings(this.#config, tunnel.connection, number, addresses);
        this.#endpoint.updatePeer(tunnel.peer);
      }
      if (this.#stopping) continue;
      tunnel.onResolved(now, addresses);
      this.#checkMoved(now, tunnel, addresses);
    }
  }

  /** What this host still has of the addresses that the configuration names. */
  #onLocalAddresses(now: Instant, addresses: readonly IpAddress[]): void {
    const here = this.#config.gateway.addresses.filter((own) => addresses.some((a) => a.equals(own)));
    this.#endpoint.handleLocalAddresses(now, here);
  }

  #onMoved(sa: IkeSa, why: string): void {
    const { local, remote } = sa;
    this.#log("info", "IKE SA moved", {
      ...about(sa),
      local: formatEndpoint(local),
      remote: formatEndpoint(remote),
      why,
    });
  }

  /** Nobody answers where the peer was: its name may say where it is. */
  #onPathSuspect(sa: IkeSa): void {
    const address = this.#tunnelOf(sa)?.customerGateway.address;
    if (address?.kind === "dns") this.#outputs.push({ kind: "resolve", name: address.name });
  }

  /** The name of a tunnel that stands leads elsewhere: does the peer still live where we talk to it? */
  #checkMoved(now: Instant, tunnel: Tunnel, addresses: readonly IpAddress[]): void {
    if (!tunnel.is("UP") || addresses.length === 0) return;
    const own = this.#endpoint.sasOf(tunnel.id).filter((sa) => sa.established);
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

  /** Removes what is installed in vain, replaces what is not installed, and publishes what was forgotten. */
  #repair(now: Instant, installed: readonly InstalledSa[]): void {
    const { missing, strays } = audit(this.#endpoint.sas(), this.#forwarding.leaving, installed);
    for (const stray of strays) {
      const fields = { direction: stray.direction, spi: hexSpi(stray.spi), peer: `${stray.remote}` };
      this.#log("error", "data plane differs: removing an SA of nobody", fields);
      this.#forwarding.remove({ kind: "removeSa", ...stray });
    }
    for (const { sa, child, direction } of missing) {
      const fields = { ...about(sa), ...spis(child), direction };
      this.#log("error", "data plane differs: replacing a CHILD_SA that is not installed", fields);
      this.#endpoint.replaceLostChild(now, sa, child, direction);
      this.#forwarding.change(sa.peer!.connectionIndex);
    }
    if (this.#forwarding.recheck())
      this.#log("error", "data plane differs: its forwarding plan was not the current one", {});
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
    switch (output.kind) {
      case "send":
        this.#outputs.push({ ...output, kind: "sendIke" });
        break;
      case "sendKeepalive":
      case "installSa":
      case "updateSa":
        this.#outputs.push(output);
        break;
      case "moved":
        this.#onMoved(output.sa, output.why);
        break;
      case "pathSuspect":
        this.#onPathSuspect(output.sa);
        break;
      case "removeSa":
        this.#forwarding.remove(output);
        break;
      case "state":
        this.#onState(output);
        break;
      case "established":
        this.#onEstablished(now, output.sa);
        break;
      case "rekeyed":
        this.#log("info", "IKE SA rekeyed", { ...about(output.successor), ...suiteOf(output.successor) });
        this.#tell(ikeSaEvent(output.successor, "rekeyed"));
        this.#historyOf(output.sa)?.onIkeRekeyed();
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
        this.#forwarding.change(output.sa.peer!.connectionIndex);
        break;
      case "failure":
        this.#onFailure(now, output.record, output.sa);
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
    this.#tell(ikeSaEvent(sa, "up"));
    this.#historyOf(sa)?.onEstablished(role);
    // The operator may have said down while the peer was half-way in.
    if (tunnel?.intent === "off") this.#endpoint.close(now, sa, "requested");
  }

  #onChildUp(now: Instant, sa: IkeSa, child: ChildSa, rekeyOf: number | undefined): void {
    this.#forwarding.change(sa.peer!.connectionIndex);
    const message = rekeyOf === undefined ? "CHILD_SA up" : "CHILD_SA rekeyed";
    this.#log("info", message, { ...about(sa), ...spis(child), suite: formatSuite(child.suite) });
    this.#tell(childSaEvent(sa, child, rekeyOf === undefined ? "up" : "rekeyed"));
    if (rekeyOf !== undefined) this.#historyOf(sa)?.onChildRekeyed(sa.peer!.id);
    this.#tunnelOf(sa)?.onUp(now);
  }

  #onChildDown(now: Instant, sa: IkeSa, child: ChildSa, why: Parameters<Tunnel["onDown"]>[1]): void {
    this.#forwarding.change(sa.peer!.connectionIndex);
    this.#log(why === "rekeyed" ? "debug" : "info", "CHILD_SA down", { ...about(sa), ...spis(child), why });
    if (why !== "rekeyed") this.#tell(childSaEvent(sa, child, "down", why));
    this.#settle(now, sa, why);
  }

  #onEnded(now: Instant, sa: IkeSa, why: Parameters<Tunnel["onDown"]>[1]): void {
    // An initiator that never got through has its failure record; a rekeyed IKE SA lives on in its successor.
    const level = why === "rekeyed" || sa.handshakeMs === 0 ? "debug" : "info";
    this.#log(level, "IKE SA down", { ...about(sa), why });
    if (level === "info") this.#tell(ikeSaEvent(sa, "down", why));
    this.#settle(now, sa, why);
  }

  /** A tunnel whose last SA went, and for which nothing is under way, is down. */
  #settle(now: Instant, sa: IkeSa, why: Parameters<Tunnel["onDown"]>[1]): void {
    const tunnel = this.#tunnelOf(sa);
    if (!tunnel) return;
    const own = this.#endpoint.sasOf(tunnel.id);
    const carries = own.some((s) => s.established && outboundOrder(s).length > 0);
    const connecting = own.some((s) => s.is("INIT_SENT", "INTERMEDIATE_SENT", "AUTH_SENT"));
    if (!carries && !connecting) tunnel.onDown(now, why);
  }

  #onFailure(now: Instant, record: FailureRecord, sa?: IkeSa): void {
    const connection = this.#connectionsByName.get(record.connection ?? "");
    connection?.history.onFailure(now, record, sa);
    this.#outputs.push({ kind: "failure", record });
    this.#tell({ type: "failure", failure: record });
  }

  #historyOf(sa: IkeSa): ConnectionHistory | undefined {
    return this.#connectionsByName.get(sa.peer?.connection ?? "")?.history;
  }

  #tell(event: GatewayEvent): void {
    this.#outputs.push({ kind: "event", event });
  }

  // ── Tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────

  #tunnelHost(random: Random): TunnelHost {
    return {
      random,
      onTunnelState: (tunnel, now, from, why) => this.#onTunnelState(tunnel, now, from, why),
      onDeadline: (tunnel) => this.#deadlines.set(tunnel, tunnel.deadline),
      resolve: (name) => this.#outputs.push({ kind: "resolve", name }),
      connect: (tunnel, now, remote) => this.#connect(tunnel, now, remote),
      onUnresolved: (tunnel, now) => this.#onUnresolved(tunnel, now),
      onNoLocalAddress: (tunnel, now, remote) => this.#onNoLocalAddress(tunnel, now, remote),
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
    const to = tunnel.state.name;
    if (from === "CONNECTING") this.#starts.drop(tunnel);
    const { connection } = tunnel;
    const fields = {
      connection: connection.name,
      customerGateway: tunnel.customerGateway.name,
      from,
      to,
      why,
    };
    this.#log(to === "UP" || from === "UP" ? "info" : "debug", "tunnel state", fields);
    this.#tell({ type: "tunnel", ...fields });
    const { address } = tunnel.customerGateway;
    if (address.kind === "dns" && to === "UP") this.#names.use(now, address.name);
    if (address.kind === "dns" && from === "UP") this.#names.release(address.name);
    const record = this.#connections[connection.index]!;
    if (from === "UP") record.history.onTunnelDown(tunnel.id);
    const state = connectionState(record.tunnels);
    if (state !== record.state) {
      if (state === "up") this.#up++;
      if (record.state === "up") this.#up--;
      record.state = state;
      record.since = now;
    }
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

  #onNoLocalAddress(tunnel: Tunnel, now: Instant, remote: IpAddress): void {
    const details = {
      ours: this.#config.gateway.addresses.map(String),
      theirs: [`${remote}`],
      difference: `the peer lives at ${remote}, and gateway.addresses has no IPv${remote.family} address`,
    };
    const subject = { peer: tunnel.peer, candidates: [], remote: { address: remote, port: 500 } };
    this.#onFailure(now, failureOf(subject, "NO_LOCAL_ADDRESS", details));
  }

  #updatePeers(): void {
    const wanted = [...this.#tunnels.values()].filter((tunnel) => tunnel.intent !== "off");
    this.#endpoint.setPeers(wanted.map((tunnel) => tunnel.peer));
  }

  #tunnelOf(sa: IkeSa): Tunnel | undefined {
    return sa.peer && this.#tunnels.get(sa.peer.id);
  }

  #log(level: "debug" | "info" | "error", message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#outputs.push({ kind: "log", level, message, fields });
  }
}
