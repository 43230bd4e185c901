/** Every entry of the collision matrix, and long lives of nothing but rekeys: `npm run soak -- --only rekey`. */
import { type Collision, collideAndGoOn, collisionKinds, lowestNonces, schedules } from "../sim/collision.ts";
import { rekeyStorm } from "../sim/rekey-storm.ts";

/**
 * Alternates storms, from `seed` upward, with entries of the matrix, from a place that depends on `seed`; throws on the
 * first finding, with what repeats it.
 */
export function run(seconds: number, seed: number): void {
  const end = Date.now() + seconds * 1000;
  const matrix = entries();
  let storms = 0;
  let collisions = 0;
  const made = { children: 0, ikeSas: 0 };
  while (Date.now() < end) {
    const round = seed + storms++;
    attempt(`seed ${round}`, () => {
      const { children, ikeSas } = rekeyStorm(round);
      made.children += children;
      made.ikeSas += ikeSas;
    });
    for (let i = 0; i < 20; i++) {
      const [name, collision] = matrix[(seed + collisions++) % matrix.length]!;
      const { lowest, schedule, mishap, traffic } = collision;
      attempt(`${name} ${JSON.stringify({ lowest, schedule, mishap, traffic })}`, () =>
        collideAndGoOn(collision),
      );
    }
  }
  const share = `${Math.min(collisions, matrix.length)} of ${matrix.length} collisions`;
  console.log(`${storms} storms, ${made.children} CHILD_SAs, ${made.ikeSas} IKE SAs; ${share}`);
}

function attempt(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

/** Every kind, every lowest nonce, every order of arrival; with no mishap, and with each datagram lost and repeated. */
function entries(): (readonly [string, Collision])[] {
  const mishaps = [
    undefined,
    ...Array.from({ length: 8 }, (_, step) => ({ step, kind: "lost" }) as const),
    ...Array.from({ length: 8 }, (_, step) => ({ step, kind: "twice" }) as const),
  ];
  return Object.entries(collisionKinds).flatMap(([name, kind]) =>
    mishaps.flatMap((mishap) =>
      lowestNonces.flatMap((lowest) =>
        schedules(4, 4).flatMap((schedule) =>
          [false, true].map(
            (traffic) => [name, { kind, lowest, schedule, traffic, ...(mishap && { mishap }) }] as const,
          ),
        ),
      ),
    ),
  );
}
