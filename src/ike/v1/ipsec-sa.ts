/** A pair of IPsec SAs that quick mode made (RFC 2409 §5.5). */
import type { IpAddress } from "../../core/address.ts";
import type { Encapsulation, SaSpec } from "../../core/dataplane.ts";
import type { Instant } from "../../core/time.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import type { EspSuite } from "../../registry/index.ts";
import type { ChildSaView } from "../common/views.ts";

export interface IpsecSa extends ChildSaView {
  readonly spiIn: number;
  readonly spiOut: number;
  readonly suite: EspSuite;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  local: IpAddress;
  remote: IpAddress;
  encapsulation: Encapsulation;
  pathMtu: number | undefined;
  readonly installedAt: Instant;
  readonly refused: Set<SaSpec["direction"]>;
  rekeyAt: Instant | undefined;
}
