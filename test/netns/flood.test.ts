import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

/** Sent from gB to gA, `count` of each, by a few lines of Python in gB. */
const garbage: readonly {
  readonly name: string;
  readonly code: string;
  readonly reasons: readonly string[];
}[] = [
  {
    name: "ESP in UDP with an unknown SPI",
    code: "udp(4500, struct.pack('!II', 0xdead0000 + i, 1) + rnd(80))",
    reasons: ["unknown_spi"],
  },
  {
    name: "ESP in UDP, truncated",
    code: "udp(4500, rnd(i % 7 + 1))",
    reasons: ["truncated", "unknown_spi", "keepalive"],
  },
  {
    name: "raw ESP with an unknown SPI",
    code: "esp(struct.pack('!II', 0xdead0000 + i, 1) + rnd(80))",
    reasons: ["unknown_spi"],
  },
  { name: "noise on the IKE port", code: "udp(500, rnd(i % 27))", reasons: ["bad_ike"] },
  {
    name: "noise on port 4500 behind the non-ESP marker",
    code: "udp(4500, bytes(4) + rnd(i % 27))",
    reasons: ["bad_ike"],
  },
];

describeInNamespaces("a flood of garbage", [], () => {
  it("is counted by reason, never logged per packet, and does not disturb the tunnel", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { logLevel: "debug" }));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    for (const { name, code, reasons } of garbage) {
      const linesBefore = culvert.program.lines.length;
      const before = await dropped(culvert, reasons);
      await must(["python3", "-c", sender(code, a.outerAddress)], { netns: b.gateway });
      const counted = (await dropped(culvert, reasons)) - before;
      expect(counted, name).toBeGreaterThan(count * 0.9);
      expect(culvert.program.lines.length - linesBefore, name).toBeLessThan(20);
    }
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    expect((await culvert.connection()).state).toBe("up");
  });

  it("of well-formed IKE_SA_INIT headers with rubbish inside neither logs per packet nor answers each", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    await culvert.waitUp();
    const linesBefore = culvert.program.lines.length;
    // SPIi, SPIr = 0, next payload SA (33), version 2.0, IKE_SA_INIT (34), initiator flag, message id 0, length.
    const code = "udp(500, struct.pack('!QQBBBBII', i + 1, 0, 33, 0x20, 34, 8, 0, 28 + 64) + rnd(64))";
    await must(["python3", "-c", sender(code, a.outerAddress)], { netns: b.gateway });
    expect(culvert.program.lines.length - linesBefore).toBeLessThan(50);
    await waitForPing(a.host, b.hostAddress);
    expect((await culvert.connection()).state).toBe("up");
  });
});

async function dropped(culvert: Culvert, reasons: readonly string[]): Promise<number> {
  const { drops } = await culvert.status();
  return drops
    .filter(({ reason }) => reasons.includes(reason))
    .reduce((sum, { packets }) => sum + packets, 0);
}

/** Seeded: a failure is reproducible. */
const sender = (code: string, address: string) => `
import random, socket, struct, time
random.seed(7)
rnd = random.randbytes
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
def udp(port, data): u.sendto(data, ("${address}", port))
def esp(data): r.sendto(data, ("${address}", 0))
for i in range(${count}):
    ${code}
    # Slower than the smallest receive buffer fills: what the kernel drops, nobody counts.
    if i % 50 == 0: time.sleep(0.002)
`;

const count = 5000;
