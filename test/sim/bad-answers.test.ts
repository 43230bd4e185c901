import { describe, expect, it } from "vitest";
import { NotifyType, TransformType } from "../../src/registry/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const T = TransformType.code;

describe("answers that a responder must not give", () => {
  function called(options: Parameters<typeof twoSites>[0] = {}) {
    const sites = twoSites(options);
    const peer = new CraftedPeer(sites.sim, sites.a, { own: addressB, node: addressA });
    sites.sim.start(sites.a);
    return { ...sites, peer };
  }

  it.each([
    ["a cipher that was not offered", { type: T.ENCR, id: 20, keyBits: 256 }],
    ["a group that was not offered", { type: T.DH, id: 2 }],
    ["a type that was not offered", { type: 99, id: 1 }],
  ] as const)("IKE_SA_INIT with %s is not followed; the true answer still is", (_, bad) => {
    const { sim, a, peer } = called();
    const good = Uint8Array.from(peer.received.at(-1)!);
    peer.answerInit((p) =>
      p.map((x) => {
        if (x.kind !== "SA") return x;
        const [proposal] = x.proposals;
        const others = proposal!.transforms.filter((t) => t.type !== bad.type);
        return { ...x, proposals: [{ ...proposal!, transforms: [...others, bad] }] };
      }),
    );
    expect(tunnelStatus(sim, a).ike).toBeUndefined();
    peer.received.push(good);
    peer.answerInit();
    peer.answerAuth();
    // Nothing has failed: anybody could have sent the first answer.
    expect(a.failures).toEqual([]);
    expect(tunnelStatus(sim, a).state).toBe("up");
  });

  it("wider selectors than asked for: refused, and the IKE SA is deleted", () => {
    const { a, peer } = called({
      a: { routing: "protected-data-flows", localSubnets: ["10.1.0.0/16"], remoteSubnets: ["10.2.0.0/16"] },
    });
    peer.answerInit();
    const any = peer.authPayloads().slice(3);
    peer.answerAuth((p) => [...p.slice(0, 3), ...any]);
    expect(a.failures[0]!.code).toBe("TS_UNACCEPTABLE");
    expectNothingLeft(a);
    expect(peer.open(peer.received.at(-1)!)).toEqual([{ kind: "D", protocolId: 1, spis: [] }]);
  });

  it("a wrong AUTH: refused, and the responder is told AUTHENTICATION_FAILED (§2.21.2)", () => {
    const { sim, a, peer } = called();
    peer.answerInit();
    peer.answerAuth((p) => p.map((x) => (x.kind === "AUTH" ? { ...x, data: new Uint8Array(32) } : x)));
    expect(a.failures[0]!.code).toBe("AUTHENTICATION_FAILED");
    expectNothingLeft(a);
    expect(peer.open(peer.received.at(-1)!)).toMatchObject([{ kind: "N", type: N.AUTHENTICATION_FAILED }]);
    sim.run(5000);
    expect(tunnelStatus(sim, a).ike).toBeUndefined();
  });

  it("another identity", () => {
    const { a, peer } = called();
    peer.answerInit();
    peer.answerAuth((p) => p.map((x) => (x.kind === "IDr" ? { ...x, data: Uint8Array.of(10, 0, 0, 1) } : x)));
    expect(a.failures[0]).toMatchObject({
      code: "PEER_IDENTITY_MISMATCH",
      ours: [addressB],
      theirs: ["10.0.0.1"],
    });
    expectNothingLeft(a);
  });

  it("nothing about the CHILD_SA at all", () => {
    const { a, peer } = called();
    peer.answerInit();
    peer.answerAuth((p) => p.slice(0, 2));
    expect(a.failures[0]!.code).toBe("PEER_PROTOCOL_ERROR");
    expectNothingLeft(a);
  });

  it("a reserved SPI", () => {
    const { a, peer } = called();
    peer.answerInit();
    peer.answerAuth((p) => p.map((x) => (x.kind === "SA" ? { ...x, proposals: [peer.espProposal(1)] } : x)));
    expect(a.failures[0]!.code).toBe("PEER_PROTOCOL_ERROR");
    expectNothingLeft(a);
  });
});
