/**
 * What each connection has carried since the daemon started. The data plane counts per SA, and SAs come and go with
 * every rekey: the final totals of those that went are kept here, by connection.
 */
import type { ConnectionTraffic, SaTraffic } from "../api/control-protocol.ts";
import type { IpAddress } from "../core/address.ts";
import type { SaSpec, SaTotals } from "../core/dataplane.ts";

type Direction = "inbound" | "outbound";
type Sums = Record<Direction, { packets: number; bytes: number }>;

export class TrafficTotals {
  /** Connection number of each installed SA. */
  readonly #connectionOf = new Map<string, number>();
  readonly #retired = new Map<number, Sums>();

  installed(sa: Pick<SaSpec, "direction" | "spi" | "remote" | "connection">): void {
    this.#connectionOf.set(key(sa.direction, sa.spi, sa.remote), sa.connection);
  }

  /** The SA is the same; its peer is elsewhere. */
  moved(direction: Direction, spi: number, from: IpAddress, to: IpAddress): void {
    const connection = this.#connectionOf.get(key(direction, spi, from));
    this.#connectionOf.delete(key(direction, spi, from));
    if (connection !== undefined) this.#connectionOf.set(key(direction, spi, to), connection);
  }

  removed(direction: Direction, spi: number, remote: IpAddress, totals: SaTotals | undefined): void {
    const id = key(direction, spi, remote);
    const connection = this.#connectionOf.get(id);
    this.#connectionOf.delete(id);
    if (connection === undefined || !totals) return;
    const sums = this.#retired.get(connection) ?? noTraffic();
    this.#retired.set(connection, sums);
    add(sums[direction], totals);
  }

  /** `names`: by connection number. `live`: the SAs that are installed now. */
  perConnection(names: readonly string[], live: readonly SaTraffic[]): ConnectionTraffic[] {
    const sums = names.map((_, index) => {
      const retired = this.#retired.get(index) ?? noTraffic();
      return { inbound: { ...retired.inbound }, outbound: { ...retired.outbound } };
    });
    for (const sa of live) {
      const row = sums[sa.connection];
      if (row) add(row[sa.direction], sa);
    }
    return names.map((connection, index) => ({ connection, ...sums[index]! }));
  }
}

function add(sum: { packets: number; bytes: number }, more: { packets: number; bytes: number }): void {
  sum.packets += more.packets;
  sum.bytes += more.bytes;
}

const noTraffic = (): Sums => ({ inbound: { packets: 0, bytes: 0 }, outbound: { packets: 0, bytes: 0 } });
const key = (direction: Direction, spi: number, remote: IpAddress) => `${direction} ${spi} ${remote}`;
