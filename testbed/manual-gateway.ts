/**
 * The data plane alone with manual keys, no IKE and no daemon: `node dist/testbed/manual-gateway.js JSON`. The
 * benchmark's ENCR_NULL pair and the tests against scapy's ESP use it. Prints `ready` when packets may come, and on
 * SIGUSR1 one line of JSON with its counters.
 */
import { pathToFileURL } from "node:url";
import { IpAddress, Prefix } from "../src/core/address.ts";
import { Secret } from "../src/core/secret.ts";
import { selectorFromPrefix } from "../src/core/traffic-selector.ts";
import { openDataPlane, openKernel } from "../src/dataplane/index.ts";
import { must } from "./exec.ts";

export interface ManualGatewayOptions {
  readonly local: string;
  readonly remote: string;
  readonly encapsulation: "udp" | "esp";
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  /** IANA transform id; ENCR_NULL (11) goes without integrity, for benchmarks. */
  readonly encr: number;
  readonly encrKeyBits: number;
  /** Key and salt, hexadecimal. */
  readonly inboundKey: string;
  readonly outboundKey: string;
  readonly esn: boolean;
  readonly localSubnet: string;
  readonly remoteSubnet: string;
  readonly workers: number;
  readonly tunMtu: number;
  readonly busyPollMicroseconds?: number;
}

async function main(o: ManualGatewayOptions): Promise<void> {
  const plane = openDataPlane({
    tunName: tun,
    tunMtu: o.tunMtu,
    workers: o.workers,
    addresses: [IpAddress.parse(o.local)],
    allowBenchNull: true,
    busyPollMicroseconds: o.busyPollMicroseconds ?? 0,
    onEvents: () => {},
  });
  const sa = {
    connection: 0,
    local: IpAddress.parse(o.local),
    remote: IpAddress.parse(o.remote),
    encapsulation:
      o.encapsulation === "esp"
        ? ({ kind: "esp" } as const)
        : ({ kind: "udp", localPort: 4500, remotePort: 4500 } as const),
    encr: o.encr,
    encrKeyBits: o.encrKeyBits,
    integ: 0,
    integKey: new Secret(new Uint8Array(0)),
    esn: o.esn,
    localSelectors: [selectorFromPrefix(Prefix.parse(o.localSubnet))],
    remoteSelectors: [selectorFromPrefix(Prefix.parse(o.remoteSubnet))],
    softBytes: 0,
    hardBytes: 0,
    softPackets: 0,
    hardPackets: 0,
  };
  const key = (hex: string) => new Secret(Uint8Array.from(Buffer.from(hex, "hex")));
  const inbound = {
    direction: "inbound",
    spi: o.inboundSpi,
    encrKey: key(o.inboundKey),
    replayWindow: 4096,
  } as const;
  const outbound = {
    direction: "outbound",
    spi: o.outboundSpi,
    encrKey: key(o.outboundKey),
    replayWindow: 0,
  } as const;
  plane.installSa({ ...sa, ...inbound });
  plane.installSa({ ...sa, ...outbound });
  plane.publish({
    policyRoutes: [],
    destinationRoutes: [{ destination: Prefix.parse(o.remoteSubnet), connection: 0 }],
    connections: [{ connection: 0, outbound: [{ spi: o.outboundSpi, remote: sa.remote }] }],
  });
  openKernel().setLink(tun, { mtu: o.tunMtu, up: true });
  await must(["ip", "route", "replace", o.remoteSubnet, "dev", tun]);
  process.on("SIGTERM", () => {
    plane.close();
    process.exit(0);
  });
  process.on("SIGUSR1", () => {
    const drops = plane.drops().filter(({ packets }) => packets > 0);
    process.stdout.write(`${JSON.stringify({ counters: plane.counters(), drops })}\n`);
  });
  // Nothing else may keep the event loop alive.
  setInterval(() => {}, 1 << 30);
  process.stdout.write("ready\n");
}

const tun = "culvert0";

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(JSON.parse(process.argv[2] ?? "{}") as ManualGatewayOptions);
}
