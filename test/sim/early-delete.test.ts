import { describe, expect, it } from "vitest";
import { ExchangeType } from "../../src/registry/index.ts";
import { decodeHeader, findPayload, type PlainPayload } from "../../src/wire/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, twoSites } from "./two-sites.ts";

const X = ExchangeType.code;

/** B has an IKE SA with the crafted peer and asks it for a CHILD_SA: a rekey, or a new one. */
function asked(kind: "rekey" | "new") {
  const { sim, b } = twoSites({ b: { start: "immediately" } });
  sim.start(b);
  const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
  peer.init();
  peer.auth();
  expect(tunnelStatus(sim, b).state).toBe("up");
  peer.received.length = 0;
  if (kind === "new") {
    peer.request(X.INFORMATIONAL, [{ kind: "D", protocolId: 3, spis: [0xc0ffee00] }]);
    sim.run(3_000);
    // That the peer closed the first one has its record.
    b.failures.length = 0;
  } else {
    const { spi, remote } = b.outbound[0]!;
    sim.event(b, { kind: "softLifetime", spi, direction: "outbound", remote });
  }
  const request = peer.received.splice(0).find((d) => decodeHeader(d).exchangeType === X.CREATE_CHILD_SA)!;
  const offered = peer.open(request)!;
  const answer = (spi: number): PlainPayload[] => [
    { kind: "SA", proposals: [peer.espProposal(spi)] },
    { kind: "Nonce", nonce: new Uint8Array(32).fill(4) },
    findPayload(offered, "TSi")!,
    findPayload(offered, "TSr")!,
  ];
  return { sim, b, peer, request, answer };
}

describe("a Delete that arrives before the answer that made its CHILD_SA", () => {
  it.each(["rekey", "new"] as const)("%s: what the peer has closed is not installed", (kind) => {
    const { sim, b, peer, request, answer } = asked(kind);
    const before = b.installed.length;
    const deleted = peer.request(X.INFORMATIONAL, [{ kind: "D", protocolId: 3, spis: [0xc0ffee77] }]);
    expect(deleted!.payloads).toEqual([]);
    peer.answer(request, answer(0xc0ffee77));
    expect(b.installed).toHaveLength(before);
    expect(b.failures.map((f) => f.code)).toEqual(["PEER_DELETED"]);
    sim.run(100_000);
    if (kind === "new") expectNothingLeft(b);
    const { inboundSpis } = b.gateway.status(sim.now).ike;
    expect(inboundSpis).toBe(b.inbound.length);
  });

  it.each(["rekey", "new"] as const)(
    "%s: a Delete of another SPI means nothing for it, nor does an older one",
    (kind) => {
      const { b, peer, request, answer } = asked(kind);
      const before = b.inbound.length;
      for (let i = 0; i < 100; i++)
        peer.request(X.INFORMATIONAL, [{ kind: "D", protocolId: 3, spis: [0xc0ffee78 + i] }]);
      peer.answer(request, answer(0xc0ffee77));
      expect(b.inbound).toHaveLength(before + 1);
      expect(b.failures).toEqual([]);
    },
  );
});
