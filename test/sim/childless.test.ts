import { describe, expect, it } from "vitest";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import { findNotify, findPayload } from "../../src/wire/index.ts";
import { type Change, CraftedPeer, notifyOf, without } from "./crafted-peer.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, expectUp, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const esp = ["aes128gcm16-x25519"];

const childless: Change = (payloads) =>
  (["SA", "TSi", "TSr"] as const).reduce((left, kind) => without(kind)(left), payloads);

describe("childless IKE SAs (RFC 6023)", () => {
  it("force: the first CHILD_SA comes in CREATE_CHILD_SA and has PFS", () => {
    const sites = twoSites({ both: { esp }, a: { childless: "force" } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    expect(sim.network.trace).toEqual([
      "A: IKE_SA_INIT request 0",
      "B: IKE_SA_INIT response 0",
      "A: IKE_AUTH request 1",
      "B: IKE_AUTH response 1",
      "A: CREATE_CHILD_SA request 2",
      "B: CREATE_CHILD_SA response 2",
    ]);
    expectUp(sites);
    expect(tunnelStatus(sim, a).children).toMatchObject([{ suite: expect.stringContaining("x25519") }]);
    sim.run(120_000);
    expectUp(sites);
  });

  it("allow: the CHILD_SA is made in IKE_AUTH, also when the responder would force it", () => {
    const sites = twoSites({ both: { esp }, b: { childless: "force" } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1_000);
    expect(sites.sim.network.trace).toHaveLength(4);
    expectUp(sites);
  });

  it("force against never: the initiator says what is wrong and goes on trying", () => {
    const { sim, a, b } = twoSites({ a: { childless: "force" }, b: { childless: "never" } });
    sim.start(a, b);
    sim.run(60_000);
    expect(a.failures.map((f) => f.code)).toContain("CHILDLESS_UNSUPPORTED");
    expect(a.failures.length).toBeGreaterThan(1);
    expect(sim.network.trace.some((line) => line.includes("IKE_AUTH"))).toBe(false);
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it.each([
    ["allow", true],
    ["force", true],
    ["never", false],
  ] as const)("%s: the responder's IKE_SA_INIT says that it can: %s", (setting, said) => {
    const { sim, b } = twoSites({ b: { childless: setting } });
    sim.start(b);
    const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
    const answer = peer.init()!;
    expect(findNotify(answer.payloads, N.CHILDLESS_IKEV2_SUPPORTED) !== undefined).toBe(said);
    const auth = peer.auth(childless)!;
    if (said) {
      expect(findPayload(auth.payloads, "AUTH")).toBeDefined();
      expect(findPayload(auth.payloads, "SA")).toBeUndefined();
      expect(auth.payloads.some((p) => p.kind === "N" && p.type < 16384)).toBe(false);
      expect(tunnelStatus(sim, b).ike).toBeDefined();
    } else {
      expect(notifyOf(auth)).toBe(N.INVALID_SYNTAX);
      expect(b.failures[0]!.code).toBe("PEER_PROTOCOL_ERROR");
    }
    expectNothingLeft(b);
  });

  it("an IKE SA for which nobody asks for a CHILD_SA is closed", () => {
    const { sim, b } = twoSites();
    sim.start(b);
    const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
    peer.init();
    peer.auth(childless);
    expect(tunnelStatus(sim, b).ike).toBeDefined();
    sim.run(60_000);
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
    expect(b.gateway.status(sim.now).ike).toMatchObject({ sas: 0, inboundSpis: 0 });
  });

  it("when the first CHILD_SA is refused the initiator reports it and starts anew", () => {
    const { sim, a, b } = twoSites({ a: { childless: "force", esp: ["aes256gcm16"] } });
    sim.start(a, b);
    sim.run(10_000);
    expect([...new Set(a.failures.map((f) => f.code))]).toEqual(["NO_PROPOSAL_CHOSEN_ESP"]);
    sim.run(120_000);
    expect(a.failures.length).toBeGreaterThan(1);
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("lost messages of the CREATE_CHILD_SA are repeated", () => {
    for (const lost of ["CREATE_CHILD_SA request", "CREATE_CHILD_SA response"]) {
      const sites = twoSites({ both: { esp }, a: { childless: "force" } });
      let left = 2;
      sites.sim.network.faults.push((packet) => {
        const type = packet.datagram[18] === ExchangeType.code.CREATE_CHILD_SA;
        const response = (packet.datagram[19]! & 0x20) !== 0;
        return type && response === lost.endsWith("response") && left-- > 0 ? "drop" : "pass";
      });
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(10_000);
      expectUp(sites);
    }
  });

  it("a part of SA, TSi and TSr is neither the one nor the other: INVALID_SYNTAX", () => {
    for (const kind of ["SA", "TSi", "TSr"] as const) {
      for (const keep of [true, false]) {
        const { sim, b } = twoSites();
        sim.start(b);
        const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
        peer.init();
        const change: Change = (payloads) =>
          keep ? [...childless(payloads), payloads.find((p) => p.kind === kind)!] : without(kind)(payloads);
        expect(notifyOf(peer.auth(change))).toBe(N.INVALID_SYNTAX);
        expectNothingLeft(b);
      }
    }
  });
});
