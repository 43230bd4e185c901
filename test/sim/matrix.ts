/**
 * The collision matrix: whatever one side can begin, against whatever the other can, in every order in which the
 * datagrams of the two conversations can arrive, with each of them lost or repeated once.
 */
import {
  type Collision,
  type CollisionKind,
  collide,
  endChild,
  lowestNonces,
  nodeOf,
  type Party,
  rekeyChild,
  schedules,
} from "./collision.ts";
import type { SiteOptions } from "./config.ts";
import type { Sites } from "./two-sites.ts";

interface Act {
  readonly options?: SiteOptions;
  readonly begin: (sites: Sites, party: Party) => void;
  /** Of the conversation, datagrams that come before what the act is named for. */
  readonly lead?: number;
  readonly gap?: boolean;
  /** Successors compete, and the nonces decide. */
  readonly nonces?: boolean;
}

const dpdSeconds = 20;

const acts = {
  "rekeys the CHILD_SA": { begin: rekeyChild, nonces: true },
  "rekeys the IKE SA": {
    begin: (sites, party) => sites.sim.rekey(nodeOf(sites, party), { ike: true }),
    nonces: true,
  },
  "deletes the CHILD_SA": { begin: endChild, gap: true },
  "deletes the IKE SA": {
    begin: (sites, party) => sites.sim.command(nodeOf(sites, party), "reset"),
    gap: true,
  },
  /** After a Delete and its answer. */
  "asks for a CHILD_SA": { begin: endChild, lead: 2, gap: true },
  "asks whether the peer lives": {
    options: { dpd: { enabled: true, intervalSeconds: dpdSeconds } },
    // The responder waits a quarter longer, and whoever has heard from the other asks no more.
    begin: ({ sim }) => {
      if (sim.now < 1.3 * dpdSeconds * 1000) sim.run(1.3 * dpdSeconds * 1000);
    },
  },
} as const satisfies Record<string, Act>;

export interface Entry {
  readonly name: string;
  readonly collision: Collision;
}

/** All of them. */
export function entries(): Entry[] {
  const mishaps = [
    undefined,
    ...Array.from({ length: 8 }, (_, step) => ({ step, kind: "lost" }) as const),
    ...Array.from({ length: 8 }, (_, step) => ({ step, kind: "twice" }) as const),
  ];
  return kinds().flatMap(({ name, kind, nonces }) =>
    mishaps.flatMap((mishap) =>
      nonces.flatMap((lowest) =>
        schedules(4, 4).map((schedule) => ({
          name,
          collision: { kind, lowest, schedule, ...(mishap && { mishap }) },
        })),
      ),
    ),
  );
}

/** Runs one; what it throws says which one it was. */
export function run({ name, collision }: Entry): void {
  try {
    collide(collision);
  } catch (error) {
    const { lowest, schedule, mishap } = collision;
    const where = `${name} ${JSON.stringify({ lowest, schedule, mishap })}`;
    throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
  }
}

function kinds() {
  const all: [string, Act][] = Object.entries(acts);
  return all.flatMap(([nameA, ofA]) =>
    all.map(([nameB, ofB]) => {
      const kind: CollisionKind = {
        options: { a: { ...ofA.options }, b: { ...ofB.options } },
        begin: (sites) => {
          // What takes time comes first.
          for (const [act, party] of [
            [ofA, "A"],
            [ofB, "B"],
          ] as const)
            if (act.options) act.begin(sites, party);
          if (!ofA.options) ofA.begin(sites, "A");
          if (!ofB.options) ofB.begin(sites, "B");
        },
        lead: { A: ofA.lead ?? 0, B: ofB.lead ?? 0 },
        gap: (ofA.gap || ofB.gap) ?? false,
        reported: true,
      };
      const contest = ofA.nonces && ofA === ofB;
      return {
        name: `A ${nameA}, B ${nameB}`,
        kind,
        nonces: contest ? lowestNonces : lowestNonces.slice(0, 1),
      };
    }),
  );
}
