/**
 * Traffic never stops over IKEv1: real daemons in namespaces, IPsec SAs replaced every 5 s and the ISAKMP SA every 20 s:
 * `npm run soak -- --only traffic1`. What is lost with strongSwan is reported beside what strongSwan loses with itself.
 */
import { strongSwanMissing } from "../../testbed/strongswan.ts";
import { obstacleToNamespaces } from "../../testbed/testbed.ts";
import { type PairOptions, steadyPair } from "../netns/steady-pairs.ts";

const load = { pps: 1_000, bytes: 1_000, childEveryMs: 5_000, ikeEveryMs: 20_000 };

/**
 * Half of the time between two culverts, a quarter with strongSwan and a quarter between two strongSwans; the variants go
 * by `seed`. Throws on a loss between two culverts, and on what a culvert leaves behind.
 */
export async function run(seconds: number, seed: number): Promise<void> {
  const obstacle = await obstacleToNamespaces();
  if (obstacle !== undefined) {
    console.log(`nothing was tested: ${obstacle}`);
    return;
  }
  const common = {
    ...load,
    esp: seed % 2 === 0 ? "aes128gcm16" : "aes256-sha256-modp2048",
    ikev1: seed % 4 >= 2 ? "aggressive" : "main",
    bInitiates: seed % 3 === 0,
  } as const;
  const part = Math.max(5, Math.floor(seconds / 4));
  const own = await told({ ...common, peer: "culvert", seconds: 2 * part, until: "forgotten", workers: 2 });
  if (own.toA.lost + own.toB.lost > 0)
    throw new Error(`${own.toB.lost} datagrams to B and ${own.toA.lost} to A were lost`);
  if (own.failures.length > 0) throw new Error(`negotiations failed: ${own.failures.join(", ")}`);
  for (const { ike, children, installed } of own.left)
    if (ike !== 1 || children !== 1 || installed !== 2)
      throw new Error(`SAs were left behind: ${JSON.stringify(own.left)}`);
  if (strongSwanMissing()) {
    console.log("strongSwan with kernel-libipsec is not installed: not tested");
    return;
  }
  const mixed = await told({ ...common, peer: "strongSwan", seconds: part });
  const theirs = await told({ ...common, a: "strongSwan", peer: "strongSwan", seconds: part });
  const loss = ({ toA, toB }: typeof own) => `${toA.lost + toB.lost} of ${toA.sent + toB.sent}`;
  console.log(
    `lost: culvert with culvert ${loss(own)}, with strongSwan ${loss(mixed)}, strongSwan with strongSwan ${loss(theirs)}`,
  );
}

async function told(options: PairOptions) {
  const result = await steadyPair(options);
  console.log(JSON.stringify({ options, result }));
  return result;
}
