import { expect, it } from "vitest";
import { type PairOptions, type PairResult, steadyPair } from "./steady-pairs.ts";
import { describeInNamespaces } from "./support.ts";

/** Datagrams per second that two loaded cores hold even when another process has both for a quarter of a second. */
const load = { pps: 1_000, bytes: 1_000 };

function expectNoLoss(result: PairResult, options: PairOptions): void {
  const { toA, toB, deaths, lostByPeer, made, failures, left } = result;
  // Nothing routes what a kernel says to its link (router solicitations): the only deaths there may be.
  const reasons = Object.entries(deaths).filter(
    ([where]) => /^[ab] /.test(where) && !/ link_scope$| ike_/.test(where),
  );
  expect({ lost: toA.lost + toB.lost - lostByPeer, reasons, deaths }).toEqual({
    lost: 0,
    reasons: [],
    deaths,
  });
  expect(toB.sent).toBeGreaterThan(options.seconds * load.pps * 0.9);
  expect(failures).toEqual([]);
  expect(made.children).toBeGreaterThanOrEqual((options.seconds * 1000) / options.childEveryMs - 3);
  for (const sas of left) expect(sas.children).toBe(1);
}

/** The minutes are in `npm run soak -- --only traffic`. */
describeInNamespaces("traffic never stops while SAs are replaced", [], () => {
  it("CHILD_SA and IKE SA, by either side and by both at once, between two culverts", async () => {
    const every = { childEveryMs: 400, ikeEveryMs: 1_300 };
    const options = {
      peer: "culvert",
      esp: "aes128gcm16",
      seconds: 6,
      ...every,
      ...load,
      workers: 2,
    } as const;
    const result = await steadyPair(options);
    expectNoLoss(result, options);
    expect(result.made.ikeSas).toBeGreaterThan(0);
  });

  it("and while limits of packets wear them out", async () => {
    // 3,000 packets are 3 s; the side that goes first does after 2.4 to 2.6.
    const ipsec = { lifetimePackets: 3_000 };
    // What the limits do, and nobody else.
    const every = { childEveryMs: Number.POSITIVE_INFINITY, ikeEveryMs: Number.POSITIVE_INFINITY };
    const options = { peer: "culvert", esp: "aes128gcm16", seconds: 6, ipsec, ...every, ...load } as const;
    const result = await steadyPair(options);
    expectNoLoss(result, options);
    expect(result.made.children).toBeGreaterThanOrEqual(2);
  });
});

describeInNamespaces("traffic never stops while SAs are replaced, with strongSwan", ["strongswan"], () => {
  it("by either side and by both at once, with PFS", async () => {
    const every = { childEveryMs: 700, ikeEveryMs: 1_900 };
    const esp = "aes128gcm16-x25519";
    const options = { peer: "strongSwan", esp, seconds: 6, ...every, ...load } as const;
    expectNoLoss(await steadyPair(options), options);
  });
});
