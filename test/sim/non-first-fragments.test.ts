import { describe, expect, it } from "vitest";
import { namesPorts } from "../../src/core/traffic-selector.ts";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import { decodeHeader, findNotify, findPayload, type PlainPayload } from "../../src/wire/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, sitesUp, twoSites } from "./two-sites.ts";

const also = NotifyType.code.NON_FIRST_FRAGMENTS_ALSO;
const nothing = new Uint8Array(0);
const said: PlainPayload = { kind: "N", protocolId: 0, spi: nothing, type: also, data: nothing };
const says = (payloads: readonly PlainPayload[]) => findNotify(payloads, also) !== undefined;

/** B answers a peer whose CHILD_SA is for UDP port 53 of B's side only. */
function narrowed(notify: boolean) {
  const { sim, b } = twoSites();
  sim.start(b);
  const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
  peer.init();
  const answer = peer.auth((payloads) => [
    ...payloads.map((p) =>
      p.kind === "TSr"
        ? { ...p, selectors: p.selectors.map((ts) => ({ ...ts, protocol: 17, startPort: 53, endPort: 53 })) }
        : p,
    ),
    ...(notify ? [said] : []),
  ])!;
  expect(tunnelStatus(sim, b).state).toBe("up");
  return { sim, b, peer, answer };
}

describe("NON_FIRST_FRAGMENTS_ALSO (RFC 7296 §1.3.1, RFC 4301 §7.3)", () => {
  it.each([true, false])("is repeated by the responder when the initiator says it: %s", (notify) => {
    const { b, answer } = narrowed(notify);
    expect(says(answer.payloads)).toBe(notify);
    expect(b.installed.map((sa) => sa.nonFirstFragments ?? false)).toEqual([notify, notify]);
    expect(b.installed[0]!.localSelectors.every(namesPorts)).toBe(true);
  });

  it.each([true, false])(
    "is said by who rekeys an SA for certain ports, and holds when answered: %s",
    (agrees) => {
      const { sim, b, peer } = narrowed(false);
      peer.received.length = 0;
      const { spi, remote } = b.outbound[0]!;
      sim.event(b, { kind: "softLifetime", spi, direction: "outbound", remote });
      const rekey = ExchangeType.code.CREATE_CHILD_SA;
      const request = peer.received.splice(0).find((d) => decodeHeader(d).exchangeType === rekey)!;
      const offered = peer.open(request)!;
      expect(says(offered)).toBe(true);
      peer.answer(request, [
        { kind: "SA", proposals: [peer.espProposal(0xc0ffee77)] },
        { kind: "Nonce", nonce: new Uint8Array(32).fill(4) },
        findPayload(offered, "TSi")!,
        findPayload(offered, "TSr")!,
        ...(agrees ? [said] : []),
      ]);
      const made = b.installed.filter((sa) => sa.direction === "outbound" && sa.spi === 0xc0ffee77);
      expect(made.map((sa) => sa.nonFirstFragments ?? false)).toEqual([agrees]);
    },
  );

  it("is not said of SAs for any port, which carry fragments anyway", () => {
    const { a, b } = sitesUp();
    for (const sa of [...a.installed, ...b.installed]) expect(sa.nonFirstFragments ?? false).toBe(false);
  });
});
