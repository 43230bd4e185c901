import { expect, it } from "vitest";
import { type PairOptions, type PairResult, steadyPair } from "./steady-pairs.ts";
import { describeInNamespaces } from "./support.ts";

const load = { pps: 1_000, bytes: 1_000 };
const every = { childEveryMs: 700, ikeEveryMs: 1_900 };

/** That nothing is left behind takes longer than a test: the soak and the simulator look. */
function expectRekeyed({ toB, made, failures }: PairResult, options: PairOptions): void {
  expect(toB.sent).toBeGreaterThan(options.seconds * load.pps * 0.9);
  expect(failures).toEqual([]);
  expect(made.children).toBeGreaterThanOrEqual((options.seconds * 1000) / options.childEveryMs - 3);
  expect(made.ikeSas).toBeGreaterThan(0);
}

/** The minutes are in `npm run soak -- --only traffic1`. */
describeInNamespaces("traffic never stops while SAs of IKEv1 are replaced", [], () => {
  it("by either side and by both at once, between two culverts", async () => {
    const options = {
      peer: "culvert",
      ikev1: "main",
      esp: "aes128gcm16-ecp256",
      seconds: 6,
      ...every,
      ...load,
      until: "traffic ended",
    } as const;
    const result = await steadyPair(options);
    const { toA, toB, deaths } = result;
    expect({ lost: toA.lost + toB.lost, deaths }).toEqual({ lost: 0, deaths });
    expectRekeyed(result, options);
  });
});

describeInNamespaces("traffic never stops over IKEv1 with strongSwan", ["strongswan"], () => {
  it("while either side and both at once replace SAs", async () => {
    const options = {
      peer: "strongSwan",
      ikev1: "main",
      esp: "aes128gcm16",
      seconds: 6,
      ...every,
      ...load,
      until: "traffic ended",
    } as const;
    const result = await steadyPair(options);
    const { toA, toB, deaths, lostByPeer } = result;
    expect({ lost: toA.lost + toB.lost - lostByPeer, deaths }).toEqual({ lost: 0, deaths });
    expectRekeyed(result, options);
  });
});
