/** Full rate over a hostile path, every packet accounted for: `npm run soak -- --minutes 10 --only path`. */
import { pathSoak } from "../../testbed/path-soak.ts";
import { obstacleToNamespaces } from "../../testbed/testbed.ts";

/** Throws on a wrong byte, a packet that no reason accounts for, or memory that grows. */
export async function run(seconds: number, seed: number): Promise<void> {
  const obstacle = await obstacleToNamespaces();
  if (obstacle !== undefined) {
    console.log(`nothing was tested: ${obstacle}`);
    return;
  }
  const { lines, findings } = await pathSoak(seconds, seed, 5);
  console.log(lines.join("\n"));
  if (findings > 0) throw new Error(`${findings} findings with seed ${seed}: see above`);
}
