import { existsSync, readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { must, processStartTime, run } from "../../testbed/exec.ts";
import { StrongSwan } from "../../testbed/strongswan.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, ikeProposal, network, sharedKey } from "./support.ts";

describeInNamespaces("the test network itself", ["strongswan"], () => {
  it("lets nothing pass between the inner networks without a tunnel", async () => {
    const { a, b } = await network();
    expect(await ping(a.gateway, b.outerAddress, { count: 3 })).toMatchObject({ lossPercent: 0 });
    expect(await ping(a.host, b.hostAddress, { count: 3 })).toMatchObject({ received: 0 });
  });

  it("hides gA's own address behind the NAT router", async () => {
    const { a, b } = await network({ nat: true });
    expect(await ping(a.gateway, b.outerAddress, { count: 3 })).toMatchObject({ lossPercent: 0 });
    expect(await ping(b.gateway, a.outerAddress, { count: 1 }).catch(() => "unreachable")).toBe(
      "unreachable",
    );
  });

  it("carries a tunnel between two strongSwans, so that a failure of culvert's is culvert's", async () => {
    const { bed, a, b } = await network();
    const common = { psk: sharedKey, ikeProposals: [ikeProposal], espProposals: [espProposal] };
    const ends = [
      [a, b],
      [b, a],
    ] as const;
    const [initiator] = await Promise.all(
      ends.map(([own, peer]) =>
        StrongSwan.start(bed, {
          ...common,
          netns: own.gateway,
          name: own.outerAddress,
          localAddress: own.outerAddress,
          remoteAddress: peer.outerAddress,
          localId: own.outerAddress,
          remoteId: peer.outerAddress,
          localSubnets: [own.subnet],
          remoteSubnets: [peer.subnet],
        }),
      ),
    );
    expect(await initiator!.initiate()).toMatchObject({ code: 0 });
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it("leaves no namespace, no process and no file when it closes", async () => {
    const { bed, a } = await network();
    const program = bed.start("sleeper", ["sleep", "1000"], { netns: a.host });
    await bed.close();
    expect(await must(["ip", "netns", "list"])).not.toContain(bed.id);
    expect(processStartTime(program.pid)).toBeUndefined();
    expect(existsSync(bed.directory)).toBe(false);
    expect(readdirSync("/run/culvert-testbed")).not.toContain(`${bed.id}.json`);
  });

  it("kills what a daemon of a test has forked into the background", async () => {
    const { bed, a } = await network();
    await must(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"], { netns: a.host });
    const pids = (await run(["ip", "netns", "pids", a.host])).stdout.trim();
    expect(pids).toMatch(/^\d+$/);
    await bed.close();
    expect(processStartTime(Number(pids))).toBeUndefined();
  });
});
