/** Traffic never stops: real daemons in namespaces, SAs replaced every 2 s: `npm run soak -- --only traffic`. */
import { strongSwanMissing } from "../../testbed/strongswan.ts";
import { obstacleToNamespaces } from "../../testbed/testbed.ts";
import { type PairOptions, steadyPair } from "../netns/steady-pairs.ts";

const load = {
  pps: 1_000,
  bytes: 1_000,
  childEveryMs: 2_000,
  ikeEveryMs: 5_000,
  until: "forgotten",
} as const;

/** Half of the time each between two culverts and with strongSwan; the variants go by `seed`. Throws on a loss. */
export async function run(seconds: number, seed: number): Promise<void> {
  const obstacle = await obstacleToNamespaces();
  if (obstacle !== undefined) {
    console.log(`nothing was tested: ${obstacle}`);
    return;
  }
  const esp = seed % 2 === 0 ? "aes128gcm16" : "aes128gcm16-x25519";
  const common = { ...load, esp, bInitiates: seed % 4 >= 2 };
  const half = Math.max(5, Math.floor(seconds / 2));
  await check({ ...common, peer: "culvert", seconds: half, udp: seed % 3 > 0, workers: 1 + (seed % 2) });
  if (strongSwanMissing()) console.log("strongSwan with kernel-libipsec is not installed: not tested");
  else await check({ ...common, peer: "strongSwan", seconds: half });
}

async function check(options: PairOptions): Promise<void> {
  const result = await steadyPair(options);
  console.log(JSON.stringify({ options, result }));
  const { toA, toB, lostByPeer, failures, left } = result;
  if (toA.lost + toB.lost > lostByPeer)
    throw new Error(`${toB.lost} datagrams to B and ${toA.lost} to A were lost`);
  if (failures.length > 0) throw new Error(`negotiations failed: ${failures.join(", ")}`);
  for (const { ike, children, installed = 2 } of left)
    if (ike !== 1 || children !== 1 || installed !== 2)
      throw new Error(`SAs were left behind: ${JSON.stringify(left)}`);
}
