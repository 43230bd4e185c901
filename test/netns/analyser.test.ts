import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

describeInNamespaces("tshark, given the keys,", ["tshark"], () => {
  it.each([
    // Wireshark 4.0 checks the ICV of 32-bit sequence numbers only.
    { encapsulation: "udp", ike: "aes256gcm16-prfsha384-x25519", esp: "aes128gcm16-noesn", icv: true },
    { encapsulation: "esp", ike: "aes128-sha256-modp2048", esp: "aes256gcm16-noesn", icv: true },
    { encapsulation: "esp", ike: "aes256-sha512-ecp521", esp: "aes128gcm16-esn", icv: false },
    { encapsulation: "udp", ike: "3des-md5-modp1024", esp: "aes128gcm16-noesn", icv: true, ikev1: "main" },
  ] as const)("finds nothing malformed: $ike, $esp over $encapsulation", async (row) => {
    const { encapsulation, ike, esp, icv } = row;
    const { bed, a, b } = await network();
    // A capture sees a run of datagrams as one that is too long: as on a real wire, each goes alone.
    for (const { gateway } of [a, b]) {
      await must(["ethtool", "-K", "wan", "tx-udp-segmentation", "off"], { netns: gateway });
    }
    const file = join(bed.directory, "wan.pcapng");
    const capture = bed.start("capture", ["dumpcap", "-q", "-i", "wan", "-w", file], {
      netns: a.gateway,
    });
    await capture.waitForLine(/^File: /);
    const options = {
      ikeProposals: [ike],
      espProposals: [esp],
      forceEncapsulation: encapsulation === "udp",
      keylog: true,
      ...("ikev1" in row ? { ikev1: row.ikev1 } : {}),
    };
    await Culvert.start(bed, gatewayOn(b, a, "b", { ...options, start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await initiator.waitUp();
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 5, size: 1400 })).toMatchObject({ lossPercent: 0 });
    await iperfServer(bed, b.host);
    await iperfTcp(a.host, b.hostAddress, { seconds: 1 });
    // Ends with Delete and its answer.
    await initiator.program.stop();
    await delay(200);
    await capture.stop();

    const keys = readFileSync(initiator.keylogFile, "utf8")
      .split("\n")
      .filter((line) => line !== "");
    expect(keys.length).toBeGreaterThanOrEqual(3);
    const show = async (filter: string, ...fields: string[]) => {
      const out = await must([
        ...["tshark", "-n", "-r", file, "-c", `${frames}`, "-Y", filter],
        ...["-T", "fields", ...fields.flatMap((field) => ["-e", field])],
        ...keys.flatMap((line) => ["-o", line]),
        // iperf3's payload is noise: left to guess, tshark takes some of it for a protocol with errors. ECHO takes all.
        ...["-d", "tcp.port==5201,echo"],
        ...["-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"],
      ]);
      // Booleans are 1 and 0 for Wireshark 4.0, and True and False for later ones.
      const lines = out.replaceAll("True", "1").replaceAll("False", "0").split("\n");
      return lines.filter((line) => line !== "");
    };
    const bad = "(isakmp || esp) && (_ws.malformed || _ws.expert.severity >= 0x00800000)";
    const complaints = await show(bad, "frame.number", "_ws.expert.message");
    expect(complaints.slice(0, 5).map((line) => line.slice(0, 200))).toEqual([]);
    // Every protected IKE message opens, and every ESP packet holds what was sent.
    const [isProtected, opened] =
      "ikev1" in row
        ? ["isakmp.flag_e == 1", "isakmp.typepayload"]
        : ["isakmp.exchangetype > 34", "isakmp.enc.decrypted"];
    const protectedMessages = await show(isProtected, "isakmp.exchangetype", opened);
    expect(protectedMessages.length).toBeGreaterThanOrEqual(2);
    for (const line of protectedMessages) expect(line).toMatch(/^\d+\t[0-9a-f]+/);
    const packets = await show("esp", "esp.protocol", "esp.icv_good", "esp.icv_bad");
    expect(packets.length).toBeGreaterThan(100);
    const expected = icv ? "0x04\t1\t0" : "0x04\t0\t1";
    expect(new Set(packets)).toEqual(new Set([expected]));
    expect((await show("esp && icmp.type == 0", "icmp.seq")).length).toBeGreaterThanOrEqual(5);
    expect((await show("esp && tcp.port == 5201", "tcp.seq")).length).toBeGreaterThan(50);
  });

  it("shows no inner packet in the clear on the way", async () => {
    const { bed, a, b } = await network();
    const file = join(bed.directory, "wan.pcapng");
    const capture = bed.start("capture", ["dumpcap", "-q", "-i", "wan", "-w", file], {
      netns: a.gateway,
    });
    await capture.waitForLine(/^File: /);
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a"));
    // Already before the tunnel is up, and still after it is gone.
    await ping(a.host, b.hostAddress, { count: 3 });
    await initiator.waitUp();
    await waitForPing(a.host, b.hostAddress);
    await initiator.program.stop();
    await ping(a.host, b.hostAddress, { count: 3 });
    await delay(200);
    await capture.stop();
    const leaked = await must(["tshark", "-n", "-r", file, "-Y", "ip.addr == 10.0.0.0/8"]);
    expect(leaked).toBe("");
    expect(await must(["tshark", "-n", "-r", file, "-Y", "esp"])).not.toBe("");
  });
});

/** Enough of a second of TCP: decryption in tshark is slow. */
const frames = 3000;
