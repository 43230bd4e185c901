import { join } from "node:path";
import { expect, it } from "vitest";
import { repository } from "../../testbed/culvert.ts";
import { delay, type Program } from "../../testbed/exec.ts";
import type { ManualGatewayOptions } from "../../testbed/manual-gateway.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import { ping } from "../../testbed/traffic.ts";
import { describeInNamespaces, network } from "./support.ts";

/** What scapy sends, and what culvert must count it as. */
const attacks: readonly (readonly [string, string])[] = [
  ["an ICV with one bit flipped", "bad_icv"],
  ["ciphertext with one bit flipped", "bad_icv"],
  ["a sequence number with one bit flipped", "bad_icv"],
  ["a replay", "replayed"],
  ["sequence number zero", "sequence_zero"],
  ["an unknown SPI", "unknown_spi"],
  ["a header and no more", "truncated"],
  ["an ICV cut short", "bad_alignment"],
  ["a dummy packet (next header 59)", "dummy"],
  ["transport mode's next header", "bad_next_header"],
  ["an inner source outside the selectors", "selector_mismatch"],
];

describeInNamespaces("ESP, packet by packet, against scapy's", ["scapy"], () => {
  it.each([
    { encapsulation: "esp", keyBits: 128, esn: false },
    { encapsulation: "esp", keyBits: 256, esn: true },
    { encapsulation: "udp", keyBits: 256, esn: false },
    { encapsulation: "udp", keyBits: 128, esn: true },
  ] as const)("both open what the other seals: $encapsulation, $keyBits bits, ESN $esn", async (suite) => {
    const { bed, a, b } = await network();
    const { scapy } = await pair(bed, { a, b }, suite);
    // Every residue of a length modulo 4, and the largest that fits.
    const sizes = [16, 17, 18, 19, 100, 1000, 1408];
    for (const size of sizes) {
      expect(await ping(a.host, b.hostAddress, { count: 5, size })).toMatchObject({ lossPercent: 0 });
    }
    const { opened, refused, sequences } = await ask(scapy, "report");
    expect(refused).toEqual([]);
    expect(opened).toBeGreaterThanOrEqual(5 * sizes.length);
    // RFC 4303 §3.3.3: from 1, by one.
    expect(sequences).toEqual(sequences?.map((_, i) => i + 1));
  });

  it("drops what scapy alters, each for its own reason, and goes on", async () => {
    const { bed, a, b } = await network();
    const { scapy, culvert } = await pair(bed, { a, b }, { encapsulation: "esp", keyBits: 128, esn: false });
    for (const [attack, reason] of attacks) {
      const before = await drops(culvert);
      await ask(scapy, `attack ${attack}`);
      await delay(100);
      const after = await drops(culvert);
      const grown = Object.fromEntries(
        Object.entries(after)
          .map(([name, packets]) => [name, packets - (before[name] ?? 0)] as const)
          .filter(([, packets]) => packets > 0),
      );
      expect(grown, attack).toEqual({ [reason]: 5 });
    }
    const before = await drops(culvert);
    await ask(scapy, "attack a good packet");
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    expect(await drops(culvert)).toEqual(before);
  });
});

interface Suite {
  readonly encapsulation: "udp" | "esp";
  readonly keyBits: 128 | 256;
  readonly esn: boolean;
}

/** culvert's data plane on gA and scapy on gB, with the same two keys. */
async function pair(
  bed: Testbed,
  { a, b }: Pick<Topology, "a" | "b">,
  { encapsulation, keyBits, esn }: Suite,
) {
  const keyBytes = keyBits / 8 + 4;
  const toA = { spi: 0x1000, key: hex(keyBytes, 1) };
  const toB = { spi: 0x2000, key: hex(keyBytes, 101) };
  const onA: ManualGatewayOptions = {
    local: a.outerAddress,
    remote: b.outerAddress,
    encapsulation,
    inboundSpi: toA.spi,
    outboundSpi: toB.spi,
    encr: aesGcm16,
    encrKeyBits: keyBits,
    inboundKey: toA.key,
    outboundKey: toB.key,
    esn,
    localSubnet: a.subnet,
    remoteSubnet: b.subnet,
    workers: 1,
    tunMtu: 1438,
  };
  const onB = {
    local: b.outerAddress,
    remote: a.outerAddress,
    encapsulation,
    inboundSpi: toB.spi,
    outboundSpi: toA.spi,
    inboundKey: toB.key,
    outboundKey: toA.key,
    esn,
    remoteHost: b.hostAddress,
    peerHost: a.hostAddress,
  };
  const script = join(repository, "dist/testbed/manual-gateway.js");
  const gateway = [process.execPath, script, JSON.stringify(onA)];
  const culvert = bed.start("manual gateway", gateway, { netns: a.gateway });
  await culvert.waitForLine(/^ready$/);
  const python = ["/usr/bin/python3", join(repository, "test/netns/scapy_esp.py"), JSON.stringify(onB)];
  const scapy = bed.start("scapy", python, { netns: b.gateway });
  await scapy.waitForLine(/"ready"/);
  return { culvert, scapy };
}

interface ScapyReport {
  readonly sent?: string;
  readonly opened?: number;
  readonly refused?: readonly string[];
  readonly sequences?: readonly number[];
}

async function ask(scapy: Program, command: string): Promise<ScapyReport> {
  return JSON.parse(await scapy.ask(command)) as ScapyReport;
}

/** The data plane's drops by reason; what the kernel's own chatter on the TUN device is dropped for is left out. */
async function drops(culvert: Program): Promise<Record<string, number>> {
  const answer = culvert.nextLine();
  culvert.signal("SIGUSR1");
  const report = JSON.parse(await answer) as { drops: { reason: string; packets: number }[] };
  const counted = report.drops.filter(({ reason }) => reason !== "link_scope");
  return Object.fromEntries(counted.map(({ reason, packets }) => [reason, packets]));
}

/** `length` bytes that count up from `first`. */
function hex(length: number, first: number): string {
  return Buffer.from(Array.from({ length }, (_, i) => first + i)).toString("hex");
}

/** IANA IKEv2 transform type 1. */
const aesGcm16 = 20;
