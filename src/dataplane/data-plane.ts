/**
 * The data plane as the daemon uses it: values of `src/core` in, the addon's bytes out. One object owns the TUN
 * device, the sockets, the worker threads and every SA; `close` ends them all.
 */
import { type Endpoint, IpAddress } from "../core/address.ts";
import type { DataPlaneEvent, ForwardingPlan, SaPath, SaSpec, SaTotals } from "../core/dataplane.ts";
import type { TrafficSelector } from "../core/traffic-selector.ts";
import { decodeEvents } from "./events.ts";
import {
  addon,
  type NativeDataPlane,
  type NativePath,
  type NativePlan,
  type NativeRow,
  type NativeSelector,
} from "./native.ts";

export interface DataPlaneOptions {
  /** 1 to 15 characters. */
  readonly tunName: string;
  /** Bytes. */
  readonly tunMtu: number;
  /** 1 to 256. */
  readonly workers: number;
  /** Outer addresses; they must be on this host. */
  readonly addresses: readonly IpAddress[];
  /** UDP ports; 500 and 4500 outside tests. */
  readonly ikePort?: number;
  readonly natPort?: number;
  /** SO_MARK of everything that leaves for a peer; 0 is none. */
  readonly mark?: number;
  /** MTU of the way to the peers, bytes. */
  readonly pathMtu?: number;
  /**
   * Bound UDP sockets for the IKE port that someone else opened (systemd socket activation): one for IPv4 and one for
   * IPv6 only, bound to the wildcard address. Without any, a socket is bound for each address.
   */
  readonly ikeSockets?: readonly number[];
  readonly backend?: "auto" | "ipsec-mb" | "portable";
  /** How long a worker that found nothing looks on before it sleeps, 0 (not at all, the default) to 10000. */
  readonly busyPollMicroseconds?: number;
  /** Ties each worker to a CPU of its own: worth it where nothing else needs the CPUs. */
  readonly pinWorkers?: boolean;
  /** Benchmarks only: lets an SA with ENCR_NULL and no integrity be installed. */
  readonly allowBenchNull?: boolean;
  /** Everything that happened, in order; called once for many. */
  readonly onEvents: (events: readonly DataPlaneEvent[]) => void;
}

/** What an operator is told about the kernel's help. */
export interface DataPlaneDescription {
  readonly tunName: string;
  readonly tunIndex: number;
  readonly workers: number;
  readonly crypto: string;
  readonly tunChecksum: boolean;
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  readonly udpSendRuns: boolean;
  readonly udpReceiveRuns: boolean;
  /** One sentence for each thing that the kernel lacks. */
  readonly notices: readonly string[];
}

export interface SaTraffic extends SaTotals {
  readonly direction: "inbound" | "outbound";
  readonly spi: number;
  readonly connection: number;
  readonly remote: IpAddress;
  readonly encapsulation: "esp" | "udp";
  /** Packets of this SA that died, by reason; reasons that never happened are absent. */
  readonly drops: Readonly<Record<string, number>>;
}

export interface DropCount {
  readonly reason: string;
  readonly severity: string;
  readonly text: string;
  readonly packets: number;
}

/**
 * Opens TUN device, sockets and workers. Throws an Error whose `code` is an errno's name (`EPERM`, `EADDRINUSE`,
 * `EADDRNOTAVAIL`, `ENOENT` …) or `ADDON_MISSING`, and whose text says what to do about it.
 */
export function openDataPlane(options: DataPlaneOptions): DataPlane {
  return new DataPlane(options);
}

export class DataPlane {
  readonly #native: NativeDataPlane;
  readonly #counterRows: readonly NativeRow[];
  readonly #dropRows: readonly (NativeRow & { readonly severity: string })[];
  readonly #numbers: BigUint64Array;
  /** The plan that the workers have. */
  #published: ForwardingPlan | undefined;

  constructor(options: DataPlaneOptions) {
    const { DataPlane: Native, tables } = addon();
    this.#counterRows = tables.counters;
    this.#dropRows = tables.drops;
    const kinds = tables.events.map(({ name }) => name);
    this.#numbers = new BigUint64Array(options.workers * (tables.counters.length + tables.drops.length));
    this.#native = new Native(
      {
        tunName: options.tunName,
        tunMtu: options.tunMtu,
        workers: options.workers,
        addresses: options.addresses.map((address) => address.bytes),
        ikePort: options.ikePort ?? 500,
        natPort: options.natPort ?? 4500,
        mark: options.mark ?? 0,
        pathMtu: options.pathMtu ?? 1500,
        ikeSockets: options.ikeSockets ?? [],
        backend: options.backend ?? "auto",
        busyPollMicroseconds: options.busyPollMicroseconds ?? 0,
        pinWorkers: options.pinWorkers ?? false,
        allowBenchNull: options.allowBenchNull ?? false,
      },
      (records) => options.onEvents(decodeEvents(records, kinds)),
    );
  }

  /**
   * The keys are copied: the caller wipes its own. Throws `EEXIST` for an SPI that is in use, `EINVAL` for a suite,
   * key or selector that cannot be, `EADDRNOTAVAIL` for a local address that is not ours.
   */
  installSa(sa: SaSpec): void {
    this.#native.installSa({
      direction: sa.direction,
      spi: sa.spi,
      connection: sa.connection,
      ...nativePath(sa),
      encr: sa.encr,
      encrKeyBits: sa.encrKeyBits,
      integ: sa.integ,
      encrKey: sa.encrKey.reveal(),
      integKey: sa.integKey.reveal(),
      esn: sa.esn,
      replayWindow: sa.replayWindow,
      localSelectors: sa.localSelectors.map(nativeSelector),
      remoteSelectors: sa.remoteSelectors.map(nativeSelector),
      nonFirstFragments: sa.nonFirstFragments ?? false,
      dontFragment: sa.dontFragment ?? "clear",
      softBytes: sa.softBytes,
      hardBytes: sa.hardBytes,
      softPackets: sa.softPackets,
      hardPackets: sa.hardPackets,
    });
  }

  /** Final totals, or undefined when there is no such SA. No packet uses it when this returns. */
  removeSa(direction: "inbound" | "outbound", spi: number, remote: IpAddress): SaTotals | undefined {
    return this.#native.removeSa(direction, spi, remote.bytes);
  }

  /** Totals so far, or undefined when there is no such SA. */
  saTotals(direction: "inbound" | "outbound", spi: number, remote: IpAddress): SaTotals | undefined {
    return this.#native.saTotals(direction, spi, remote.bytes);
  }

  /**
   * Replaces the whole forwarding state; the same plan twice is the same as once. Routes and rows that are the very
   * objects of the plan before do not cross again: of many connections mostly one has changed.
   */
  publish(plan: ForwardingPlan): void {
    const last = this.#published;
    this.#published = undefined;
    if (last && hasSameRoutes(plan, last)) {
      const changed = plan.connections.filter(
        ({ outbound }, i) => outbound !== last.connections[i]!.outbound,
      );
      this.#native.publishConnections({ connections: changed.map(nativeConnection) });
    } else {
      this.#publishAll(plan);
    }
    this.#published = plan;
  }

  #publishAll(plan: ForwardingPlan): void {
    this.#native.publish({
      policyRoutes: plan.policyRoutes.map((route) => ({
        source: route.source.address.bytes,
        sourceLength: route.source.length,
        destination: route.destination.address.bytes,
        destinationLength: route.destination.length,
        connection: route.connection,
      })),
      destinationRoutes: plan.destinationRoutes.map((route) => ({
        destination: route.destination.address.bytes,
        destinationLength: route.destination.length,
        connection: route.connection,
      })),
      connections: plan.connections.map(nativeConnection),
    });
  }

  /**
   * Sends one IKE message; the non-ESP marker is added when `local` is the NAT-T port, never by the caller.
   * `unfragmented`: nobody on the way may fragment it, and it is lost where it is too big.
   */
  sendIke(local: Endpoint, remote: Endpoint, datagram: Uint8Array, unfragmented = false): void {
    const [from, to] = [local.address.bytes, remote.address.bytes];
    this.#native.sendIke(from, local.port, to, remote.port, datagram, unfragmented);
  }

  /** RFC 3948 §2.3: keeps the mapping of a NAT in front of us alive. */
  sendKeepalive(local: Endpoint, remote: Endpoint): void {
    this.#native.sendKeepalive(local.address.bytes, local.port, remote.address.bytes, remote.port);
  }

  /**
   * Sends an echo request through the connection's own SA, whatever the routes say; its reply is an event and does not
   * reach the TUN device. `id`, `sequence`: 0 to 65535. Throws `ENOTCONN` when the connection has no SA for it.
   */
  sendProbe(
    connection: number,
    source: IpAddress,
    destination: IpAddress,
    id: number,
    sequence: number,
  ): void {
    this.#native.sendProbe(connection, source.bytes, destination.bytes, id, sequence);
  }

  /**
   * Gives an installed SA another path in place: keys, sequence numbers and replay window go on, and a plan that names
   * it follows with the same snapshot. `remote` is the peer's address so far. False when there is no such SA; throws
   * `EADDRNOTAVAIL` for a local address that is not ours, `EEXIST` when the peer's new address has that SPI already.
   */
  updateSa(direction: "inbound" | "outbound", spi: number, remote: IpAddress, path: SaPath): boolean {
    return this.#native.updateSa(direction, spi, remote.bytes, nativePath(path));
  }

  /** Every installed SA with its totals. */
  traffic(): SaTraffic[] {
    return this.#native.listSas().map((sa) => ({
      direction: sa.direction,
      spi: sa.spi,
      connection: sa.connection,
      remote: IpAddress.fromBytes(sa.remote),
      encapsulation: sa.udp ? "udp" : "esp",
      drops: sa.drops,
      ...sa.totals,
    }));
  }

  /** Counters by name, summed over the workers. */
  counters(): Record<string, number> {
    const sums = this.#sums();
    return Object.fromEntries(this.#counterRows.map((row, i) => [row.name, sums[i]!]));
  }

  /** Packets that died, by reason, since the start; reasons that never happened are there with 0. */
  drops(): DropCount[] {
    const sums = this.#sums().slice(this.#counterRows.length);
    return this.#dropRows
      .map((row, i) => ({ reason: row.name, severity: row.severity, text: row.text, packets: sums[i]! }))
      .filter((row) => row.reason !== "none");
  }

  describe(): DataPlaneDescription {
    return this.#native.describe();
  }

  /** The whole state for an operator: plain JSON, no keys. */
  dump(): unknown {
    return {
      ...this.describe(),
      sas: this.#native.listSas().map((sa) => ({
        ...sa,
        local: IpAddress.fromBytes(sa.local).toString(),
        remote: IpAddress.fromBytes(sa.remote).toString(),
      })),
      counters: this.counters(),
      drops: Object.fromEntries(this.drops().map((row) => [row.reason, row.packets])),
    };
  }

  /** Stops the workers, wipes the keys, closes sockets and device. May be called again. */
  close(): void {
    this.#native.close();
  }

  #sums(): number[] {
    const perWorker = this.#counterRows.length + this.#dropRows.length;
    this.#native.readCounters(this.#numbers);
    const sums = new Array<number>(perWorker).fill(0);
    for (const [i, n] of this.#numbers.entries()) sums[i % perWorker]! += Number(n);
    return sums;
  }
}

function hasSameRoutes(plan: ForwardingPlan, last: ForwardingPlan): boolean {
  return (
    plan.policyRoutes === last.policyRoutes &&
    plan.destinationRoutes === last.destinationRoutes &&
    plan.connections.length === last.connections.length &&
    plan.connections.every(({ connection }, i) => connection === last.connections[i]!.connection)
  );
}

const nativeConnection = (row: ForwardingPlan["connections"][number]): NativePlan["connections"][number] => ({
  connection: row.connection,
  outbound: row.outbound.map((sa) => ({ spi: sa.spi, remote: sa.remote.bytes })),
});

function nativePath({ local, remote, encapsulation, pathMtu }: SaPath): NativePath {
  const udp = encapsulation.kind === "udp" ? encapsulation : undefined;
  return {
    local: local.bytes,
    remote: remote.bytes,
    udp: udp !== undefined,
    localPort: udp?.localPort ?? 0,
    remotePort: udp?.remotePort ?? 0,
    pathMtu: pathMtu ?? 0,
  };
}

const nativeSelector = (selector: TrafficSelector): NativeSelector => ({
  protocol: selector.protocol,
  startPort: selector.startPort,
  endPort: selector.endPort,
  startAddress: selector.startAddress.bytes,
  endAddress: selector.endAddress.bytes,
});
