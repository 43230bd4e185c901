/** What the daemon needs of the data plane: the facade of `src/dataplane` has it, and so do the tests' fakes. */
import type { DropCount, SaTraffic } from "../api/control-protocol.ts";
import type { Endpoint, IpAddress } from "../core/address.ts";
import type { ForwardingPlan, SaPath, SaSpec, SaTotals } from "../core/dataplane.ts";

export interface DataPlanePort {
  /** Throws when the data plane cannot run the suite or has no room. */
  installSa(sa: SaSpec): void;
  removeSa(direction: "inbound" | "outbound", spi: number, remote: IpAddress): SaTotals | undefined;
  saTotals(direction: "inbound" | "outbound", spi: number, remote: IpAddress): SaTotals | undefined;
  /** False when there is no such SA; throws when it cannot take that path. */
  updateSa(direction: "inbound" | "outbound", spi: number, remote: IpAddress, path: SaPath): boolean;
  publish(plan: ForwardingPlan): void;
  sendIke(local: Endpoint, remote: Endpoint, datagram: Uint8Array, unfragmented?: boolean): void;
  sendKeepalive(local: Endpoint, remote: Endpoint): void;
  traffic(): (SaTraffic & { readonly remote: IpAddress })[];
  counters(): Record<string, number>;
  drops(): DropCount[];
  dump(): unknown;
  close(): void;
}
