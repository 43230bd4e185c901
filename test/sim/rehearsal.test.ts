import { describe, expect, it } from "vitest";
import { NotifyType } from "../../src/registry/index.ts";
import type { PlainPayload } from "../../src/wire/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { impair, messageName } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectUp, sitesUp, twoSites } from "./two-sites.ts";

const rehearse = { rehearseRekey: true } as const;

/** Before any rehearsal. */
const started = (options: Parameters<typeof twoSites>[0] = {}) => sitesUp(options, 500);

const rekeys = (trace: readonly string[]) => trace.filter((t) => t.includes("CREATE_CHILD_SA request"));

describe("rekey rehearsal", () => {
  it("rekeys the first CHILD_SA once, seconds after it is up, from the initiator's side only", () => {
    const sites = started({ both: rehearse });
    const { sim, a, b } = sites;
    const first = a.inbound[0]!.spi;
    sim.run(1000);
    expect(a.inbound.map((sa) => sa.spi)).toEqual([first]);
    sim.run(600_000);
    expect(rekeys(sim.network.trace)).toHaveLength(1);
    expect(sim.network.trace[0]).toMatch(/^A: CREATE_CHILD_SA/);
    expect(a.inbound[0]!.spi).not.toBe(first);
    expectUp(sites);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("not when the connection says so, nor by a responder whose peer does not", () => {
    const { sim } = started({ a: { rehearseRekey: false }, b: rehearse });
    sim.run(60_000);
    expect(rekeys(sim.network.trace)).toEqual([]);
  });

  it("not again after the IKE SA was rekeyed", () => {
    const { sim, a } = started({ both: { ...rehearse, ikeLifetimeSeconds: 100 } });
    sim.run(350_000);
    const ikeRekeys = a.logs.filter((l) => l.message === "IKE SA rekeyed").length;
    expect(ikeRekeys).toBeGreaterThan(2);
    expect(a.logs.filter((l) => l.message === "CHILD_SA rekeyed")).toHaveLength(1);
  });

  it("again after the tunnel was set up anew", () => {
    const { sim, a } = started({ both: rehearse });
    sim.run(10_000);
    sim.command(a, "reset");
    sim.run(10_000);
    expect(a.logs.filter((l) => l.message === "CHILD_SA rekeyed")).toHaveLength(2);
  });

  it.each([
    ["ours only", ["aes128gcm16-x25519"], ["aes128gcm16"], "DH group: ours none, theirs x25519"],
    ["theirs only", ["aes128gcm16"], ["aes128gcm16-x25519"], "DH group: ours x25519, theirs none"],
    ["both", ["aes128gcm16-x25519"], ["aes128gcm16-ecp256"], "DH group: ours ecp256, theirs x25519"],
  ])(
    "perfect forward secrecy differs (%s): a warning at once, and the first CHILD_SA stays",
    (_, espA, espB, differs) => {
      const sites = started({ a: { ...rehearse, esp: espA }, b: { esp: espB } });
      const { sim, a, b } = sites;
      const first = a.inbound[0]!.spi;
      sim.run(5000);
      expect(a.failures.map((f) => f.code)).toEqual(["REKEY_REHEARSAL_FAILED"]);
      expect(a.failures[0]).toMatchObject({ ours: espA, theirs: ["NO_PROPOSAL_CHOSEN"] });
      expect(b.failures.map((f) => f.code)).toEqual(["NO_PROPOSAL_CHOSEN_ESP"]);
      expect(b.failures[0]).toMatchObject({ ours: espB, difference: differs });
      // Neither is it tried again before its time, nor is the working SA touched.
      sim.run(3_600_000);
      expect(rekeys(sim.network.trace)).toHaveLength(1);
      expect(a.inbound.map((sa) => sa.spi)).toEqual([first]);
      expectUp(sites);
    },
  );

  it("both sides show a warning while the tunnel is up, until a rekey succeeds", () => {
    const esp = ["aes128gcm16-x25519"];
    const { sim, a, b } = started({ a: { ...rehearse, esp }, b: { esp: ["aes128gcm16"] } });
    sim.run(5000);
    const warnings = (node: typeof a) => node.gateway.status(sim.now).connections[0]!.warnings;
    expect(warnings(a)).toMatchObject([{ code: "REKEY_REHEARSAL_FAILED" }]);
    expect(warnings(b)).toMatchObject([{ code: "NO_PROPOSAL_CHOSEN_ESP" }]);
    expect(tunnelStatus(sim, a).state).toBe("up");
    sim.crash(b, twoSites({ b: { esp } }).configB);
    sim.run(120_000);
    expect(tunnelStatus(sim, a).state).toBe("up");
    expect(warnings(a)).toEqual([]);
  });

  it("TEMPORARY_FAILURE is no failure: it is tried again, and is still a rehearsal", () => {
    const { sim, a } = twoSites({ a: { ...rehearse, dpd: { enabled: false } } });
    const peer = new CraftedPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    peer.answerInit();
    peer.answerAuth();
    const rehearsal = () => {
      sim.runUntil(() => peer.received.some((d) => messageName(d).startsWith("CREATE_CHILD_SA")), 20_000);
      return peer.received.splice(0).find((d) => messageName(d).startsWith("CREATE_CHILD_SA"))!;
    };
    const refused = (type: number): PlainPayload[] => [
      { kind: "N", protocolId: 0, spi: new Uint8Array(0), type, data: new Uint8Array(0) },
    ];
    peer.received.length = 0;
    peer.answer(rehearsal(), refused(NotifyType.code.TEMPORARY_FAILURE));
    expect(a.failures).toEqual([]);
    peer.answer(rehearsal(), refused(NotifyType.code.NO_PROPOSAL_CHOSEN));
    expect(a.failures.map((f) => f.code)).toEqual(["REKEY_REHEARSAL_FAILED"]);
  });

  it("CREATE_CHILD_SA never arrives: a warning, and the working SA stays", () => {
    const sites = started({ a: rehearse });
    const { sim, a, b } = sites;
    const first = a.inbound[0]!.spi;
    sim.network.faults.push(impair.drop("CREATE_CHILD_SA"));
    sim.run(300_000);
    expect(a.failures.map((f) => f.code)).toEqual(["REKEY_REHEARSAL_FAILED"]);
    expect(b.failures).toEqual([]);
    expect(a.inbound.map((sa) => sa.spi)).toEqual([first]);
    expectUp(sites);
  });

  it("the peer dies during the rehearsal: it is noticed all the same", () => {
    const { sim, a, b } = started({ a: { ...rehearse, dpd: { action: "clear" } } });
    b.dead = true;
    sim.run(120_000);
    expect(a.failures.map((f) => f.code)).toEqual(["REKEY_REHEARSAL_FAILED", "DPD_TIMEOUT"]);
    expect(a.installed).toEqual([]);
  });

  it.each(["CREATE_CHILD_SA request", "CREATE_CHILD_SA response", "INFORMATIONAL request"])(
    "with one %s lost",
    (message) => {
      const sites = started({ both: rehearse });
      sites.sim.network.faults.push(impair.drop(message, 1));
      sites.sim.run(30_000);
      expectUp(sites);
      expect([sites.a.failures, sites.b.failures]).toEqual([[], []]);
    },
  );
});
