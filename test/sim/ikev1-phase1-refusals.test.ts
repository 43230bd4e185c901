import { describe, expect, it } from "vitest";
import { connectionConfig } from "./config.ts";
import { ikev1, modes } from "./ikev1.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectNothingLeft, expectUp, twoSites } from "./two-sites.ts";

const fqdn = (name: string) => ({ kind: "fqdn", fqdn: name }) as const;

function failing(options: Parameters<typeof twoSites>[0], ms = 30_100) {
  const sites = twoSites(options);
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(ms);
  expect(tunnelStatus(sites.sim, sites.a).state).not.toBe("up");
  for (const node of [sites.a, sites.b]) expectNothingLeft(node);
  return sites;
}

describe("what an operator reads when IKEv1 does not come up", () => {
  it.each(modes)("%s mode: nothing in common", (mode) => {
    const { a, b } = failing({ both: ikev1(mode), b: { ike: ["aes256-sha384-ecp256"] } });
    expect(a.failures).toMatchObject([
      { code: "NO_PROPOSAL_CHOSEN_IKE", ours: ["aes128-sha256-ecp256"], theirs: ["NO_PROPOSAL_CHOSEN"] },
    ]);
    expect(b.failures).toMatchObject([
      {
        code: "NO_PROPOSAL_CHOSEN_IKE",
        ours: ["aes256-sha384-ecp256"],
        difference: "encryption: ours aes256, theirs aes128",
        connection: "site",
      },
    ]);
  });

  it("main mode, other pre-shared keys: message 5 cannot be read, and both sides say so", () => {
    const { a, b } = failing({ both: ikev1("main"), b: { psk: "another" } });
    expect(a.failures).toMatchObject([{ code: "AUTHENTICATION_FAILED" }]);
    expect(a.failures[0]!.difference).toMatch(/^message 5, the first encrypted one, was not answered/);
    expect(b.failures).toMatchObject([{ code: "AUTHENTICATION_FAILED", connection: "site" }]);
    expect(b.failures[0]!.difference).toMatch(/does not decrypt with our pre-shared key/);
  });

  it("aggressive mode, other pre-shared keys: HASH_R shows it at once", () => {
    const { a, b } = failing({ both: ikev1("aggressive"), b: { psk: "another" } }, 500);
    expect(a.failures).toMatchObject([{ code: "AUTHENTICATION_FAILED", theirs: ["198.51.100.7"] }]);
    expect(a.failures[0]!.difference).toMatch(/HASH_R of 198.51.100.7/);
    expect(b.failures).toEqual([]);
  });

  it("main mode: the responder expects somebody else, and says it with the keys that both have", () => {
    const { a, b } = failing({ both: ikev1("main"), b: { remoteId: fqdn("other.example") } }, 500);
    expect(a.failures).toMatchObject([
      { code: "PEER_IDENTITY_MISMATCH", theirs: ["INVALID_ID_INFORMATION"] },
    ]);
    expect(b.failures).toMatchObject([
      { code: "PEER_IDENTITY_MISMATCH", ours: ["other.example"], theirs: ["192.0.2.1"] },
    ]);
  });

  it("main mode: the initiator expects somebody else, who hears of it", () => {
    const { a, b } = failing({ both: ikev1("main"), a: { remoteId: fqdn("other.example") } }, 500);
    expect(a.failures).toMatchObject([
      { code: "PEER_IDENTITY_MISMATCH", ours: ["other.example"], theirs: ["198.51.100.7"] },
    ]);
    expect(b.failures).toMatchObject([{ code: "PEER_IDENTITY_MISMATCH" }]);
    expect(b.gateway.ike.size).toBe(0);
  });

  it("aggressive mode: whom nobody expects is told nothing", () => {
    const { a, b, sim } = failing({ both: ikev1("aggressive"), b: { remoteId: fqdn("other.example") } });
    expect(a.failures).toMatchObject([{ code: "PEER_UNREACHABLE" }]);
    expect(b.failures[0]).toMatchObject({ code: "PEER_IDENTITY_MISMATCH", theirs: ["192.0.2.1"] });
    expect(sim.network.trace.filter((line) => line.startsWith("B:"))).toEqual([]);
  });

  it.each([
    ["main", "aggressive"],
    ["aggressive", "main"],
  ] as const)("%s mode meets %s mode", (ours, theirs) => {
    const { a, b } = failing({ both: { version: "ikev1" }, a: { mode: ours }, b: { mode: theirs } });
    expect(a.failures).toMatchObject([{ code: "IKE_MODE_MISMATCH", ours: [`mode ${ours}`] }]);
    expect(b.failures).toMatchObject([
      { code: "IKE_MODE_MISMATCH", ours: [`mode ${theirs}`], theirs: [`mode ${ours}`], connection: "site" },
    ]);
  });

  it("a proposal that IKEv1 has no words for", () => {
    const { a } = failing({ both: ikev1("main"), a: { ike: ["aes128gcm16-prfsha256-x25519"] } }, 500);
    expect(a.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_IKE",
      difference: "none of our proposals can be said in IKEv1",
    });
  });
});

describe("main mode finds the pre-shared key by the address", () => {
  /** B has a connection for each of `psks`, whose peer can be anywhere. */
  function anybody(...psks: readonly string[]) {
    const sites = twoSites({ both: ikev1("main"), a: { psk: "that of the third" } });
    const { sim, a, configB } = sites;
    const options = ikev1("main", { peers: ["any"], start: "passive", remoteSubnets: ["10.1.0.0/16"] });
    const connections = psks.map((psk, i) => connectionConfig({ ...options, psk }, `site${i}`, i));
    const b = sim.add("B", { ...configB, connections, routes: { destination: [], policy: [] } });
    sim.start(a, b);
    sim.run(1_000);
    return { ...sites, b };
  }

  it("and of several peers that can be anywhere, the one whose key opens message 5", () => {
    const { sim, a, b } = anybody("one", "another", "that of the third", "a fourth");
    expect(tunnelStatus(sim, a).state).toBe("up");
    const { connections } = b.gateway.status(sim.now);
    expect(connections.map(({ state }) => state)).toEqual(["waiting", "waiting", "up", "waiting"]);
  });

  it("and says how many keys it tried, when none is right", () => {
    const { sim, a, b } = anybody("one", "another");
    expect(tunnelStatus(sim, a).state).not.toBe("up");
    expect(b.failures).toMatchObject([{ code: "AUTHENTICATION_FAILED", connection: undefined }]);
    expect(b.failures[0]!.difference).toMatch(/any of 2 pre-shared keys/);
  });

  it("an address of its own goes before", () => {
    const sites = twoSites({ both: ikev1("main"), b: { peers: ["any", "192.0.2.1"] } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1_000);
    expect(sites.b.gateway.ike.sas().map(({ peer }) => peer?.id)).toEqual(["site/1"]);
  });
});

describe("DPD (RFC 3706)", () => {
  it.each(modes)(
    "a peer that is gone is given up after its time, and what it had with it: %s mode",
    (mode) => {
      for (const action of ["restart", "clear"] as const) {
        const sites = twoSites({
          both: ikev1(mode, { dpd: { action, intervalSeconds: 5, timeoutSeconds: 12 } }),
        });
        const { sim, a, b } = sites;
        sim.start(a, b);
        sim.run(1_000);
        expectUp(sites);
        b.dead = true;
        // Five seconds of silence, twelve without an answer.
        sim.run(16_000);
        expect(a.failures).toEqual([]);
        expect(a.installed).toHaveLength(2);
        sim.run(3_000);
        expect(a.failures.map((f) => f.code)).toEqual(["DPD_TIMEOUT"]);
        expectNothingLeft(a);
        b.dead = false;
        sim.run(60_000);
        if (action === "restart") expectUp(sites);
        else expect(tunnelStatus(sim, a).state).toBe("waiting");
      }
    },
  );

  it("one question serves both sides, and ESP makes it needless", () => {
    const sites = twoSites({ both: ikev1("main") });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    sim.network.trace.length = 0;
    sim.run(100_000);
    const asked = sim.network.trace.filter((line) => line.includes("INFORMATIONAL"));
    expect(asked.length).toBeGreaterThanOrEqual(18);
    expect(asked.length).toBeLessThanOrEqual(20);
    sim.network.trace.length = 0;
    for (let t = 0; t < 100; t++) {
      for (const node of [a, b]) node.lastInbound.set(node.inbound[0]!.spi, sim.now);
      sim.run(1_000);
    }
    expect(sim.network.trace).toEqual([]);
  });

  it("survives bad weather, whether questions or answers are lost", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const sites = twoSites({
        both: ikev1("main", { dpd: { intervalSeconds: 2, timeoutSeconds: 20 } }),
        sim: { seed },
      });
      const { sim, a, b } = sites;
      sim.start(a, b);
      sim.run(1_000);
      sim.network.weather = { loss: 0.1, duplication: 0.2, delayMs: 20, jitterMs: 300 };
      sim.run(120_000);
      expect([seed, a.failures, b.failures]).toEqual([seed, [], []]);
      expectUp(sites);
    }
  });
});
