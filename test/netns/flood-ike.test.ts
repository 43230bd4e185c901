import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

const seconds = 6;
const perSecond = 4000;
/** EndpointLimits.cookieThreshold: from here on an initiator must show that it receives what we send. */
const cookieThreshold = 64;

describeInNamespaces("a flood of IKE_SA_INIT from random sources", [], () => {
  it("leaves the tunnel, its liveness checks and its data alone, and what it costs is bounded", async () => {
    const { bed, a, b } = await network();
    const dpd = { connection: { dpd: { intervalSeconds: 1, timeoutSeconds: 5 } } };
    // `any`: every source is a possible peer, so that each first message is worth a Diffie-Hellman to us.
    const open = gatewayOn(a, b, "a", { ...dpd, start: "passive", remoteAddress: "any" });
    const culvert = await Culvert.start(bed, open);
    const initiator = await Culvert.start(bed, gatewayOn(b, a, "b", dpd));
    await initiator.waitUp();
    await waitForPing(b.host, a.hostAddress);
    // Answers to sources that do not exist must leave, or the flood would end in the neighbour table.
    await must(["ip", "-n", a.gateway, "route", "add", "default", "via", b.outerAddress]);
    const before = usage(culvert.program.pid);
    const spi = (await culvert.connection()).tunnels[0]?.ike?.spiInitiator;
    const listening = ["python3", "-c", livenessTimes(a.outerAddress, b.outerAddress)];
    const listener = bed.start("listener", listening, { netns: b.gateway });
    const flood = bed.start("flood", ["python3", "-c", sender(a.outerAddress)], { netns: b.gateway });

    const seen: { halfOpen: number; sas: number }[] = [];
    // Only for the first half: while ESP arrives nobody asks over IKE.
    const data = ping(b.host, a.hostAddress, { count: seconds * 10, intervalMs: 50 });
    for (let i = 0; i < seconds * 2; i++) {
      await delay(500);
      const { gateway } = await culvert.status();
      seen.push({ halfOpen: gateway.ike.halfOpen, sas: gateway.ike.sas });
    }
    const through = await data;
    await flood.exited;
    await listener.exited;
    const [asked, answered, worst] = /(\d+) (\d+) ([\d.]+)/.exec(listener.tail())!.slice(1).map(Number);
    const after = usage(culvert.program.pid);

    const halfOpen = Math.max(...seen.map((s) => s.halfOpen));
    const cpuSeconds = after.cpuSeconds - before.cpuSeconds;
    const grownMb = (after.rssKb - before.rssKb) / 1024;
    const sent = Number(/sent (\d+)/.exec(flood.tail())?.[1]);
    process.stdout.write(
      `flood: ${sent} first messages in ${seconds} s; half-open at most ${halfOpen}, ` +
        `${cpuSeconds.toFixed(2)} s of CPU, ${grownMb.toFixed(1)} MB more resident, ` +
        `ping ${through.averageMs} ms, ${through.lossPercent} % lost; ` +
        `${answered} of ${asked} liveness checks answered, after ${worst} ms at most\n`,
    );
    expect(sent).toBeGreaterThan(1000);
    // The threshold, and one for the genuine peer.
    expect(halfOpen).toBeGreaterThan(0);
    expect(halfOpen).toBeLessThanOrEqual(cookieThreshold + 1);
    expect(grownMb).toBeLessThan(64);
    expect(through.lossPercent).toBeLessThan(5);
    expect(asked).toBeGreaterThanOrEqual(2);
    expect(answered).toBe(asked);
    // The same IKE SA: it was asked every second and answered in time.
    expect((await culvert.connection()).tunnels[0]?.ike?.spiInitiator).toBe(spi);
    expect((await initiator.connection()).lastFailure).toBeUndefined();
    await waitForPing(b.host, a.hostAddress);
  });
});

/** CPU time and resident memory of a process, of /proc. */
function usage(pid: number): { cpuSeconds: number; rssKb: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1];
  // In hundredths: the kernel's USER_HZ.
  return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, rssKb: Number(rss) };
}

/** Prints how many INFORMATIONAL requests passed in either direction, how many were answered, and the longest wait in ms. */
const livenessTimes = (one: string, other: string) => `
import socket, struct, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.bind(("wan", 0))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
s.settimeout(0.2)
ends = {socket.inet_aton("${one}"), socket.inet_aton("${other}")}
asked, waits = {}, []
end = time.monotonic() + ${seconds + 1}
while time.monotonic() < end:
    try: p = s.recv(2048)
    except TimeoutError: continue
    if len(p) < 56 or p[9] != 17 or p[12:16] not in ends or p[16:20] not in ends: continue
    # Behind the non-ESP marker on port 4500.
    ike = p[32:] if struct.pack("!H", 4500) in (p[20:22], p[22:24]) else p[28:]
    if ike[18] != 37: continue
    # Who asked, by the I flag turned round in answers, and the message ID.
    key = (bool(ike[19] & 8) != bool(ike[19] & 32), ike[20:24])
    # What is asked in the last second may be answered after it.
    if not ike[19] & 32:
        if time.monotonic() < end - 1: asked.setdefault(key, time.monotonic())
    elif key in asked and asked[key] is not None:
        waits.append(time.monotonic() - asked[key]); asked[key] = None
print(len(asked), len(waits), round(1000 * max(waits, default=0), 2), flush=True)
`;

/**
 * Well-formed first messages that any configured proposal of the test fits, each of another source address, SPI and
 * nonce; the KE is a valid point. Raw sockets, so that sources can be anything. Seeded.
 */
const sender = (address: string) => `
import random, socket, struct, time
random.seed(11)
rnd = random.randbytes
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def payload(nxt, body): return struct.pack("!BBH", nxt, 0, 4 + len(body)) + body
def transform(last, kind, ident, attr=b""): return struct.pack("!BBHBBH", last, 0, 8 + len(attr), kind, 0, ident) + attr
# aes256gcm16-prfsha384-x25519
transforms = transform(3, 1, 20, struct.pack("!HH", 0x800e, 256)) + transform(3, 2, 6) + transform(0, 4, 31)
proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transforms), 1, 1, 0, 3) + transforms
point = bytes([9]) + bytes(31)
end = time.monotonic() + ${seconds}
sent = 0
while time.monotonic() < end:
    for _ in range(${perSecond} // 100):
        ke = payload(40, struct.pack("!HH", 31, 0) + point)
        body = payload(34, proposal) + ke + payload(0, rnd(32))
        ike = struct.pack("!8sQBBBBII", rnd(8), 0, 33, 0x20, 34, 8, 0, 28 + len(body)) + body
        src = bytes([11, random.randrange(256), random.randrange(256), random.randrange(1, 255)])
        udp = struct.pack("!HHHH", 500, 500, 8 + len(ike), 0) + ike
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, src, socket.inet_aton("${address}"))
        s.sendto(ip + udp, ("${address}", 0))
        sent += 1
    time.sleep(0.01)
print("sent", sent, flush=True)
`;
