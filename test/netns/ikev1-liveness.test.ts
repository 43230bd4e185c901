import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { ikev1On, ikev1Peer } from "./ikev1-support.ts";
import { describeInNamespaces, network } from "./support.ts";

/** A second of silence, five without an answer: what an operator in a hurry sets. */
const quick = { connection: { dpd: { intervalSeconds: 1, timeoutSeconds: 5 } } } as const;

describeInNamespaces(
  "culvert and strongSwan that lose each other over IKEv1 (RFC 3706)",
  ["strongswan"],
  () => {
    it("come back after kill -9 of strongSwan, culvert initiating", async () => {
      const { bed, a, b } = await network();
      const peer = await ikev1Peer(bed, b, a);
      const culvert = await Culvert.start(bed, ikev1On(a, b, "a", quick));
      await culvert.waitUp();
      await waitForPing(a.host, b.hostAddress);
      peer.program.signal("SIGKILL");
      await peer.program.exited;
      await culvert.waitFor("found out", ({ lastFailure }) => lastFailure?.code === "DPD_TIMEOUT");
      await ikev1Peer(bed, b, a, { name: "again" });
      await culvert.waitUp(60_000);
      await waitForPing(a.host, b.hostAddress);
      expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    });

    it("come back after kill -9 of strongSwan that is back before culvert has missed it, strongSwan initiating", async () => {
      const { bed, a, b } = await network();
      const culvert = await Culvert.start(bed, ikev1On(a, b, "a", { ...quick, start: "passive" }));
      const peer = await ikev1Peer(bed, b, a);
      expect(await peer.initiate()).toMatchObject({ code: 0 });
      const before = await culvert.waitUp();
      peer.program.signal("SIGKILL");
      await peer.program.exited;
      const again = await ikev1Peer(bed, b, a, { name: "again" });
      expect(await again.initiate()).toMatchObject({ code: 0 });
      await culvert.waitFor("up anew", ({ state, tunnels }) => {
        const spi = tunnels[0]?.ike?.spiInitiator;
        return state === "up" && spi !== before.tunnels[0]?.ike?.spiInitiator;
      });
      await waitForPing(b.host, a.hostAddress);
      expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    });

    it("come back after kill -9 of culvert, strongSwan initiating", async () => {
      const { bed, a, b } = await network();
      const culvert = await Culvert.start(bed, ikev1On(a, b, "a", { ...quick, start: "passive" }));
      const peer = await ikev1Peer(bed, b, a, {
        retransmitTries: 2,
        extraConnection: ["dpd_delay = 1s", "dpd_timeout = 4s", "keyingtries = 0"],
        extraChild: ["dpd_action = restart", "close_action = start"],
      });
      expect(await peer.initiate()).toMatchObject({ code: 0 });
      await culvert.waitUp();
      culvert.program.signal("SIGKILL");
      await culvert.program.exited;
      await culvert.restart();
      await culvert.waitUp(60_000);
      await waitForPing(b.host, a.hostAddress);
      expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    });
  },
);
