/** The whole collision matrix, or as much of it as there is time for: `npm run soak -- --only matrix`. */
import { entries, run as runEntry } from "../sim/matrix.ts";

/** Entry after entry, from a place that depends on `seed`, once through; throws on the first finding, with its name. */
export function run(seconds: number, seed: number): void {
  const end = Date.now() + seconds * 1000;
  const all = entries();
  let done = 0;
  while (done < all.length && Date.now() < end) runEntry(all[(seed + done++) % all.length]!);
  console.log(`${done} of ${all.length} collisions`);
}
