/**
 * Gateways on a virtual clock, joined by a simulated network. A run depends on its seed alone. Each gateway has a fake
 * data plane that records what is installed and checks the order: nothing is removed that was not installed, nothing
 * is installed twice, no plan names an outbound SA that does not exist.
 */

import type { Config } from "../../src/config/model.ts";
import { compareBytes, type Endpoint, IpAddress } from "../../src/core/address.ts";
import type { DataPlaneEvent, ForwardingPlan, SaSpec } from "../../src/core/dataplane.ts";
import type { FailureRecord } from "../../src/core/failure.ts";
import type { Random } from "../../src/core/random.ts";
import type { Secret } from "../../src/core/secret.ts";
import { generateKeyPair, type KeyPair, keyPairFromPrivate } from "../../src/crypto/index.ts";
import type { GatewayCommand, GatewayDeps, GatewayOutput, TunnelStatus } from "../../src/gateway/contract.ts";
import { Gateway } from "../../src/gateway/gateway.ts";
import type { GatewayEvent } from "../../src/gateway/gateway-events.ts";
import type { AboutSa } from "../../src/ike/common/child-table.ts";
import { sameSelectors } from "../../src/ike/common/selectors.ts";
import { dhById } from "../../src/registry/index.ts";
import { Network, type Packet } from "./network.ts";
import { SeededRandom } from "./random.ts";

/** Keys are kept as text, so that both ends can be compared after the gateway's secrets are wiped. */
export interface InstalledSa extends Omit<SaSpec, "encrKey" | "integKey"> {
  readonly key: string;
}

export class Node {
  readonly name: string;
  gateway: Gateway;
  readonly installed: InstalledSa[] = [];
  readonly failures: FailureRecord[] = [];
  readonly events: GatewayEvent[] = [];
  readonly logs: Extract<GatewayOutput, { kind: "log" }>[] = [];
  readonly keylog: string[] = [];
  readonly resolves: string[] = [];
  /** What the data plane says of inbound SAs: when their last packet came. */
  readonly lastInbound = new Map<number, number>();
  keepalives = 0;
  /** Outer addresses that its host has now. */
  addresses: readonly IpAddress[] = [];
  /** SAs that were given another path. */
  updates = 0;
  /** Inbound SAs that a packet has come in on. */
  readonly used = new Set<number>();
  stopped = false;
  plan: ForwardingPlan | undefined;
  kernelRoutes: readonly string[] = [];
  /** Why the data plane does not take an SA; undefined when it does. */
  refuses: (sa: SaSpec) => string | undefined = () => undefined;
  refused = false;
  /** What has arrived and is not read, while its loop does not run. */
  stalled: (() => void)[] | undefined;
  /** Its connection has several pairs of subnets, each with SAs of its own. */
  severalPairs = false;
  /** Down and silent: what arrives is lost. */
  dead = false;

  constructor(name: string, gateway: Gateway) {
    this.name = name;
    this.gateway = gateway;
  }

  get inbound(): InstalledSa[] {
    return this.installed.filter((sa) => sa.direction === "inbound");
  }

  get outbound(): InstalledSa[] {
    return this.installed.filter((sa) => sa.direction === "outbound");
  }
}

interface Scheduled {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export interface SimulationOptions {
  readonly seed?: number;
  readonly limits?: GatewayDeps["limits"];
  readonly workers?: number;
  readonly exportKeys?: boolean;
  /** What the gateway of this name draws from, in place of the simulation's own source. */
  readonly randomOf?: (name: string, random: SeededRandom) => Random;
  /** Where key pairs come from, in place of fresh ones from the simulation's own source. */
  readonly keyPair?: (random: SeededRandom, group: number) => KeyPair;
  /** Called whenever a gateway has handled an input and all its outputs are carried out. */
  readonly onStep?: (node: Node) => void;
  /** The secret of RFC 6290 that a gateway of this name finds at every start. */
  readonly crashSecretOf?: (name: string) => Secret | undefined;
  /** The addresses that a DNS name has. */
  readonly dns?: (name: string) => readonly string[];
}

export class Simulation {
  readonly seed: number;
  readonly random: SeededRandom;
  readonly network: Network;
  readonly nodes: Node[] = [];
  now = 1_000;
  keyPairsTaken = 0;
  readonly #options: SimulationOptions;
  readonly #queue: Scheduled[] = [];
  #order = 0;
  readonly #byAddress = new Map<string, Node>();
  readonly #timers = new Map<Node, number>();

  constructor(options: SimulationOptions = {}) {
    this.#options = options;
    this.seed = options.seed ?? 1;
    this.random = new SeededRandom(this.seed);
    this.network = new Network(this.random);
  }

  add(name: string, config: Config): Node {
    const node: Node = new Node(
      name,
      this.#newGateway(config, () => node),
    );
    this.nodes.push(node);
    node.addresses = config.gateway.addresses;
    for (const address of config.gateway.addresses) this.#byAddress.set(address.toString(), node);
    return node;
  }

  start(...nodes: Node[]): void {
    for (const node of nodes) this.#handle(node, () => node.gateway.handle(this.now, { kind: "start" }));
  }

  /** The host's addresses change: what it lost neither sends nor receives from now on. */
  setAddresses(node: Node, ...texts: string[]): void {
    for (const address of node.addresses) this.#byAddress.delete(address.toString());
    node.addresses = texts.map((text) => IpAddress.parse(text));
    for (const text of texts) this.#byAddress.set(text, node);
    this.input(node, { kind: "localAddresses", addresses: node.addresses });
  }

  command(node: Node, verb: Exclude<GatewayCommand["verb"], "rekey">, connection = "site"): void {
    this.input(node, { kind: "command", command: { verb, connection } });
  }

  rekey(node: Node, { ike = false } = {}): void {
    this.input(node, { kind: "command", command: { verb: "rekey", connection: "site", ike } });
  }

  event(node: Node, event: DataPlaneEvent): void {
    this.input(node, { kind: "dataPlane", event });
  }

  input(node: Node, input: Parameters<Gateway["handle"]>[1]): void {
    this.#handle(node, () => node.gateway.handle(this.now, input));
  }

  /** A packet from `from` to `to` on what `from` prefers, on the way for `delayMs`: a new SA's first is reported. */
  packet(from: Node, to: Node, delayMs = 0): void {
    const spi = from.plan?.connections[0]?.outbound[0]?.spi;
    if (spi === undefined || from.dead || to.used.has(spi)) return;
    this.at(delayMs, () => {
      if (to.used.has(spi) || !to.inbound.some((sa) => sa.spi === spi)) return;
      to.used.add(spi);
      this.event(to, { kind: "saInUse", spi });
    });
  }

  /** Loses everything a crash loses, and starts again. */
  crash(node: Node, config: Config): void {
    node.installed.length = 0;
    node.plan = undefined;
    node.lastInbound.clear();
    node.gateway = this.#newGateway(config, () => node);
    this.#timers.delete(node);
    this.start(node);
  }

  /** Runs the virtual clock for `ms`. */
  run(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const next = this.#queue[0];
      if (!next || next.at > end) break;
      this.#pop();
      this.now = Math.max(this.now, next.at);
      next.run();
    }
    this.now = end;
  }

  /** Runs until `condition` or for `ms`; true when it came to hold. */
  runUntil(condition: () => boolean, ms: number): boolean {
    const end = this.now + ms;
    while (!condition()) {
      const next = this.#queue[0];
      if (!next || next.at > end) {
        this.now = end;
        return condition();
      }
      this.#pop();
      this.now = Math.max(this.now, next.at);
      next.run();
    }
    return true;
  }

  at(ms: number, run: () => void): void {
    this.#push({ at: this.now + ms, order: this.#order++, run });
  }

  /** The loop of `node` comes `ms` late: what arrives waits, timers wait, and then those run before that is read. */
  stall(node: Node, ms: number): void {
    node.stalled = [];
    this.at(ms, () => {
      const waiting = node.stalled ?? [];
      node.stalled = undefined;
      this.#timers.delete(node);
      this.#handle(node, () => node.gateway.handleTimeout(this.now));
      for (const run of waiting) run();
    });
  }

  /** Puts a datagram on the network as if `source` had sent it. */
  inject(source: Endpoint, destination: Endpoint, datagram: Uint8Array, from = "attacker"): void {
    this.#transmit({ from, source, destination, datagram });
  }

  /** Delivers a datagram straight to its gateway, whatever the network is like. */
  deliver(source: Endpoint, destination: Endpoint, datagram: Uint8Array): void {
    const node = this.#byAddress.get(destination.address.toString());
    if (!node || node.dead) return;
    const event = { kind: "ike", local: destination, remote: source, datagram } as const;
    if (node.stalled) node.stalled.push(() => this.event(node, event));
    else this.event(node, event);
  }

  #newGateway(config: Config, node: () => Node): Gateway {
    const { random } = this;
    return new Gateway(config, {
      random: this.#options.randomOf?.(config.gateway.name, random) ?? random,
      workers: this.#options.workers ?? 1,
      exportKeys: this.#options.exportKeys ?? false,
      keyPairs: {
        take: (group) => {
          this.keyPairsTaken++;
          return (this.#options.keyPair ?? seededKeyPair)(random, group);
        },
      },
      lastInbound: (spi) => node().lastInbound.get(spi),
      crashSecret: this.#options.crashSecretOf?.(config.gateway.name),
      ...(this.#options.limits && { limits: this.#options.limits }),
    });
  }

  #handle(node: Node, mutate: () => void): void {
    mutate();
    for (let output = node.gateway.pollOutput(); output; output = node.gateway.pollOutput())
      this.#perform(node, output);
    this.#arm(node);
    this.#options.onStep?.(node);
  }

  #arm(node: Node): void {
    const at = node.gateway.pollTimeout();
    if (at === undefined || this.#timers.get(node) === at) return;
    this.#timers.set(node, at);
    this.#push({
      at,
      order: this.#order++,
      run: () => {
        if (this.#timers.get(node) !== at || node.stalled) return;
        this.#timers.delete(node);
        this.#handle(node, () => node.gateway.handleTimeout(this.now));
      },
    });
  }

  #perform(node: Node, output: GatewayOutput): void {
    switch (output.kind) {
      case "sendIke":
        if (!node.dead && node.addresses.some((a) => a.equals(output.local.address))) {
          const { local, remote, datagram, unfragmented = false } = output;
          this.#transmit({ from: node.name, source: local, destination: remote, datagram, unfragmented });
        }
        break;
      case "sendKeepalive":
        node.keepalives++;
        break;
      case "installSa":
        this.#install(node, output.sa);
        break;
      case "removeSa":
        remove(node, output);
        break;
      case "updateSa":
        update(node, output);
        break;
      case "publish":
        node.plan = output.plan;
        checkPlan(node, output.plan);
        break;
      case "kernelRoutes":
        node.kernelRoutes = output.destinations.map(String);
        break;
      case "resolve":
        this.#resolve(node, output.name);
        break;
      case "log":
        node.logs.push(output);
        break;
      case "failure":
        node.failures.push(output.record);
        break;
      case "event":
        node.events.push(output.event);
        break;
      case "keylog":
        node.keylog.push(output.line);
        break;
      case "stopped":
        node.stopped = true;
        break;
    }
  }

  #install(node: Node, sa: SaSpec): void {
    const reason = node.refuses(sa);
    if (reason === undefined) {
      install(node, sa);
      return;
    }
    node.refused = true;
    const { direction, spi, remote } = sa;
    this.at(0, () => this.input(node, { kind: "refusedSa", direction, spi, remote, reason }));
  }

  #resolve(node: Node, name: string): void {
    node.resolves.push(name);
    const addresses = (this.#options.dns?.(name) ?? []).map((a) => IpAddress.parse(a));
    this.at(5, () => this.input(node, { kind: "resolved", name, addresses }));
  }

  #transmit(packet: Packet): void {
    for (const { packet: copy, delayMs } of this.network.carry(packet))
      this.at(delayMs, () => this.deliver(copy.source, copy.destination, Uint8Array.from(copy.datagram)));
  }

  #push(entry: Scheduled): void {
    let i = this.#queue.length;
    this.#queue.push(entry);
    while (i > 0 && before(entry, this.#queue[i - 1]!)) {
      this.#queue[i] = this.#queue[i - 1]!;
      i--;
    }
    this.#queue[i] = entry;
  }

  #pop(): void {
    this.#queue.shift();
  }
}

/** Both directions of both gateways agree: keys, SPIs, suites, encapsulation, mirrored selectors. */
export function pairsOf(a: Node, b: Node): { matched: number; unmatched: InstalledSa[] } {
  const unmatched: InstalledSa[] = [];
  let matched = 0;
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const receivers = [...to.inbound];
    for (const sender of from.outbound) {
      const i = receivers.findIndex(
        (r) =>
          r.spi === sender.spi &&
          r.key === sender.key &&
          r.encr === sender.encr &&
          r.esn === sender.esn &&
          r.encapsulation.kind === sender.encapsulation.kind &&
          mirrored(r, sender),
      );
      if (i < 0) unmatched.push(sender);
      else {
        receivers.splice(i, 1);
        matched++;
      }
    }
    unmatched.push(...receivers);
  }
  return { matched, unmatched };
}

function mirrored(a: InstalledSa, b: InstalledSa): boolean {
  return (
    sameSelectors(a.localSelectors, b.remoteSelectors) && sameSelectors(a.remoteSelectors, b.localSelectors)
  );
}

export function tunnelStatus(sim: Simulation, node: Node, tunnel = 0): TunnelStatus {
  return node.gateway.status(sim.now).connections[0]!.tunnels[tunnel]!;
}

export function endpoint(address: string, port = 500): Endpoint {
  return { address: IpAddress.parse(address), port };
}

/** An inbound SPI is unique, an outbound one to each peer address. */
function isSame(a: AboutSa, b: AboutSa): boolean {
  return (
    a.direction === b.direction && a.spi === b.spi && (a.direction === "inbound" || a.remote.equals(b.remote))
  );
}

function install(node: Node, sa: SaSpec): void {
  if (node.installed.some((i) => isSame(i, sa)))
    throw new Error(`${node.name} installs ${sa.direction} SPI ${sa.spi} twice`);
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const { encrKey, integKey, ...rest } = sa;
  if (encrKey.reveal().every((b) => b === 0) && encrKey.length > 0)
    throw new Error(`${node.name} installs a key of zeros`);
  node.installed.push({ ...rest, key: `${hex(encrKey.reveal())}/${hex(integKey.reveal())}` });
  encrKey.wipe();
  integKey.wipe();
}

function remove(node: Node, { direction, spi, remote }: Extract<GatewayOutput, { kind: "removeSa" }>): void {
  const i = node.installed.findIndex(
    (sa) => sa.direction === direction && sa.spi === spi && sa.remote.equals(remote),
  );
  if (i < 0) throw new Error(`${node.name} removes ${direction} SPI ${spi}, which is not installed`);
  if (direction === "outbound" && named(node.plan, spi, remote))
    throw new Error(`${node.name} removes outbound SPI ${spi} while the plan still names it`);
  node.installed.splice(i, 1);
}

/** In place: the key stays, and a plan that names the SA follows. */
function update(node: Node, { direction, spi, remote, path }: Extract<GatewayOutput, { kind: "updateSa" }>) {
  const i = node.installed.findIndex(
    (sa) => sa.direction === direction && sa.spi === spi && sa.remote.equals(remote),
  );
  if (i < 0)
    throw new Error(`${node.name} updates ${direction} SPI ${spi} at ${remote}, which is not installed`);
  if (path.local.family !== path.remote.family) throw new Error(`${node.name} mixes address families`);
  const there = { direction, spi, remote: path.remote };
  if (
    direction === "outbound" &&
    !path.remote.equals(remote) &&
    node.installed.some((sa) => isSame(sa, there))
  )
    throw new Error(`${node.name} moves ${direction} SPI ${spi} onto another SA`);
  if (!node.addresses.some((a) => a.equals(path.local)))
    throw new Error(`${node.name} moves ${direction} SPI ${spi} to ${path.local}, which it does not have`);
  node.installed[i] = { ...node.installed[i]!, ...path };
  // The plan follows.
  for (const { outbound } of direction === "outbound" ? (node.plan?.connections ?? []) : [])
    for (const sa of outbound)
      if (sa.spi === spi && sa.remote.equals(remote)) Object.assign(sa, { remote: path.remote });
  node.updates++;
}

function checkPlan(node: Node, plan: ForwardingPlan): void {
  // What the data plane refused it also ignores in a plan, until the gateway has heard of it.
  if (node.refused) return;
  for (const { outbound } of plan.connections)
    for (const { spi } of outbound)
      if (!node.outbound.some((sa) => sa.spi === spi))
        throw new Error(`${node.name} publishes outbound SPI ${spi}, which is not installed`);
}

function named(plan: ForwardingPlan | undefined, spi: number, remote: IpAddress): boolean {
  const is = (sa: { spi: number; remote: IpAddress }) => sa.spi === spi && sa.remote.equals(remote);
  return plan?.connections.some(({ outbound }) => outbound.some(is)) ?? false;
}

/** Repeatable where any octets are a private key; else from the system. */
export function seededKeyPair(random: SeededRandom, group: number): KeyPair {
  const row = dhById.get(group)!;
  return row.kind === "x25519" ? keyPairFromPrivate(group, random.bytes(32)) : generateKeyPair(group);
}

function before(a: Scheduled, b: Scheduled): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => compareBytes(a, b) === 0;
