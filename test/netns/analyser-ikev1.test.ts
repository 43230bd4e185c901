import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

const [identityProtection, informational, quickMode] = ["2", "5", "32"];

describeInNamespaces("tshark, given the keys of IKEv1,", ["tshark"], () => {
  it("reads every message of main mode and of what follows, and finds nothing malformed", async () => {
    const { bed, a, b } = await network();
    const file = join(bed.directory, "wan.pcapng");
    const capture = bed.start("capture", ["dumpcap", "-q", "-i", "wan", "-w", file], { netns: a.gateway });
    await capture.waitForLine(/^File: /);
    const options = {
      ikev1: "main" as const,
      ikeProposals: ["3des-md5-modp1024"],
      espProposals: ["aes128-sha256-modp1536"],
      keylog: true,
      connection: { dpd: { intervalSeconds: 1 } },
    };
    await Culvert.start(bed, gatewayOn(b, a, "b", { ...options, start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await initiator.waitUp();
    await waitForPing(a.host, b.hostAddress);
    await delay(1_300);
    await initiator.program.stop();
    await delay(200);
    await capture.stop();

    const keys = readFileSync(initiator.keylogFile, "utf8").trimEnd().split("\n");
    const show = async (filter: string, ...fields: string[]) => {
      const out = await must([
        ...["tshark", "-n", "-r", file, "-Y", filter, "-T", "fields"],
        ...fields.flatMap((field) => ["-e", field]),
        ...keys.flatMap((line) => ["-o", line]),
      ]);
      return out.split("\n").filter((line) => line !== "");
    };
    const bad = "isakmp && (_ws.malformed || _ws.expert.severity >= 0x00800000)";
    expect(await show(bad, "frame.number", "_ws.expert.message")).toEqual([]);
    const messages = await show("isakmp", "isakmp.exchangetype", "isakmp.flag_e", "isakmp.hash");
    const kinds = messages.map((line) => line.split("\t")[0]);
    expect(new Set(kinds)).toEqual(new Set([identityProtection, quickMode, informational]));
    for (const line of messages) {
      // What was not decrypted shows no payloads, and each of ours has a HASH among them.
      const [, encrypted, hash] = line.split("\t");
      if (encrypted === "1" || encrypted === "True") expect(hash).toMatch(/^[0-9a-f]+$/);
    }
    // R-U-THERE, its answer, and the Delete of both SAs at the end.
    const notifies = (await show("isakmp.notify.msgtype", "isakmp.notify.msgtype")).join();
    expect(notifies).toContain("36136");
    expect(notifies).toContain("36137");
    expect((await show("isakmp.delete.protoid || isakmp.delete.spi", "frame.number")).length).toBeGreaterThan(
      0,
    );
  });
});
