/**
 * Two exchanges that overlap, under a network that delivers nothing by itself. A schedule such as `ABBA` says whose
 * conversation moves next: `A` delivers the datagram that waits in the conversation that A began (its request, then
 * B's response, and so on). With windows of one, all schedules together are all orders of arrival.
 */
import assert from "node:assert/strict";
import { compareBytes } from "../../src/core/address.ts";
import { decodeHeader } from "../../src/wire/index.ts";
import { messageName, type Packet } from "./network.ts";
import type { SeededRandom } from "./random.ts";
import { type Node, pairsOf } from "./simulation.ts";
import { expectCarrying, expectUp, type Sites, twoSites } from "./two-sites.ts";

export type Party = "A" | "B";

/** Which of the four nonces of two colliding exchanges is the lowest: `Ni of A` belongs to the exchange that A began. */
export type Lowest = "Ni of A" | "Nr of A" | "Ni of B" | "Nr of B";
export const lowestNonces: readonly Lowest[] = ["Ni of A", "Nr of A", "Ni of B", "Nr of B"];

export interface Collision {
  readonly lowest: Lowest;
  readonly schedule: string;
  /** What happens to the datagram that the step with this number would deliver. */
  readonly mishap?: { readonly step: number; readonly kind: "lost" | "twice" };
  readonly kind: CollisionKind;
  /** Packets go both ways after every step, so that each side learns what the other has installed. */
  readonly traffic?: boolean;
}

/** What the two sides begin before anything is delivered. */
export interface CollisionKind {
  readonly options?: Parameters<typeof twoSites>[0];
  readonly begin: (sites: Sites) => void;
  /** What happens after every datagram that the schedule delivers. */
  readonly during?: (sites: Sites) => void;
  /** How many datagrams of each conversation are delivered before the schedule begins. */
  readonly lead?: { readonly A: number; readonly B: number };
  /** A hard lifetime ends an SA before it has a successor: then only the outcome is checked. */
  readonly gap?: boolean;
  /** The operators may have been told of something. */
  readonly reported?: boolean;
}

export interface CollidingSites extends Sites {
  /** `A: CREATE_CHILD_SA request`: what was delivered, in order. */
  readonly delivered: string[];
}

/** Both sites up over a fair network, which from then on holds everything; nonces are forced. */
function held(lowest: Lowest, { options = {} }: CollisionKind) {
  let forced = false;
  const drawn = { A: 0, B: 0 };
  // Each side draws Ni for its own request first, then Nr for the peer's.
  const nonceOf = (party: Party, n: number): Lowest =>
    n === 0 ? `Ni of ${party}` : `Nr of ${party === "A" ? "B" : "A"}`;
  const randomOf = (name: string, random: SeededRandom) => ({
    bytes(length: number): Uint8Array {
      const bytes = random.bytes(length);
      // Nothing but a nonce has this length.
      if (forced && length === 32)
        bytes[0] = nonceOf(name as Party, drawn[name as Party]++) === lowest ? 0 : 0x80;
      return bytes;
    },
  });
  const quiet = { dpd: { enabled: false }, lifetimeSeconds: 86_400, ikeLifetimeSeconds: 86_400 } as const;
  // Patient enough that a request that is held while the clock runs is still worth its answer.
  const limits = { establishedMs: 60_000, rekeyedMs: 70_000, retransmitMaxMs: 2_000 };
  const sites: CollidingSites = {
    ...twoSites({ ...options, both: { ...quiet, ...options.both }, sim: { randomOf, limits } }),
    delivered: [],
  };
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(200);
  expectUp(sites);
  forced = true;
  const waiting: { readonly A: Packet[]; readonly B: Packet[] } = { A: [], B: [] };
  let open = false;
  const all: Packet[] = [];
  sites.sim.network.faults.push((packet) => {
    all.push(packet);
    if (open) return "pass";
    const began = decodeHeader(packet.datagram).response ? other(packet.from) : packet.from;
    const queue = waiting[began as Party];
    if (!queue.some((p) => compareBytes(p.datagram, packet.datagram) === 0)) queue.push(packet);
    return "drop";
  });
  return {
    sites,
    waiting,
    all,
    open: () => {
      open = true;
    },
  };
}

/** Runs one collision to its end, with every invariant checked after every step. */
export function collide({ lowest, schedule, mishap, kind, traffic = false }: Collision): CollidingSites {
  const { sites, waiting, all, open } = held(lowest, kind);
  const { sim } = sites;
  const step = (act: () => void) => {
    act();
    sim.run(0);
    if (!kind.gap) expectCarrying(sites);
    if (!traffic) return;
    sim.packet(sites.a, sites.b);
    sim.packet(sites.b, sites.a);
    sim.run(0);
    if (!kind.gap) expectCarrying(sites);
  };
  const deliver = (packet: Packet) => {
    sites.delivered.push(`${packet.from}: ${messageName(packet.datagram)}`);
    step(() => sim.deliver(packet.source, packet.destination, Uint8Array.from(packet.datagram)));
  };
  step(() => kind.begin(sites));
  for (const party of ["A", "B"] as const)
    for (let left = kind.lead?.[party] ?? 0; left > 0; left--) {
      const packet = waiting[party].shift();
      if (packet) deliver(packet);
    }
  for (const [i, party] of ([...schedule] as Party[]).entries()) {
    const packet = waiting[party].shift();
    if (!packet) continue;
    if (mishap?.step === i && mishap.kind === "lost") continue;
    deliver(packet);
    if (mishap?.step === i) deliver(packet);
    step(() => kind.during?.(sites));
  }
  // The network is itself again: what was held arrives, what was lost is repeated.
  open();
  for (const packet of [...waiting.A, ...waiting.B]) deliver(packet);
  for (let i = 0; i < 90; i++) step(() => sim.run(500));
  expectSettled(sites, kind.reported);
  // Every datagram of the collision once more, long after.
  for (const packet of [...all])
    step(() => sim.deliver(packet.source, packet.destination, Uint8Array.from(packet.datagram)));
  sim.run(10_000);
  expectSettled(sites, kind.reported);
  return sites;
}

/** A collision, and then the proof that what is left is an SA like any other: each side can replace it. */
export function collideAndGoOn(collision: Collision): CollidingSites {
  const sites = collide(collision);
  for (const party of ["A", "B"] as const) {
    const old = nodeOf(sites, party).inbound[0]!.spi;
    rekeyChild(sites, party);
    sites.sim.run(5_000);
    expectSettled(sites);
    assert.notEqual(nodeOf(sites, party).inbound[0]!.spi, old, `${party} rekeys what is left`);
  }
  return sites;
}

/** One pair of SAs on each side, and one IKE SA. */
export function expectSettled(sites: Sites, reported = false): void {
  expectUp(sites);
  for (const node of [sites.a, sites.b]) {
    const { sas, halfOpen, inboundSpis } = node.gateway.status(sites.sim.now).ike;
    assert.deepEqual({ sas, halfOpen, inboundSpis }, { sas: 1, halfOpen: 0, inboundSpis: 1 }, node.name);
    // A CHILD_SA that one side closes at the end of its life is reported, once on each side.
    const ends = ["LIFETIME_EXPIRED", "PEER_DELETED", "CHILD_SA_NOT_FOUND"];
    const others = node.failures.filter((f) => !ends.includes(f.code));
    if (!reported) assert.deepEqual([others.length, node.failures.length <= 1], [0, true]);
  }
  assert.deepEqual(pairsOf(sites.a, sites.b), { matched: 2, unmatched: [] });
}

/** Every order in which two conversations of so many datagrams can arrive. */
export function schedules(ofA: number, ofB: number): string[] {
  if (ofA === 0 || ofB === 0) return ["A".repeat(ofA) + "B".repeat(ofB)];
  return [
    ...schedules(ofA - 1, ofB).map((rest) => `A${rest}`),
    ...schedules(ofA, ofB - 1).map((rest) => `B${rest}`),
  ];
}

export function nodeOf({ a, b }: Sites, party: Party): Node {
  return party === "A" ? a : b;
}

function lifetime(sites: Sites, party: Party, kind: "softLifetime" | "hardLifetime"): void {
  const node = nodeOf(sites, party);
  const spi = node.plan?.connections[0]?.outbound[0]?.spi;
  const sa = node.outbound.find((o) => o.spi === spi);
  if (sa) sites.sim.event(node, { kind, spi: sa.spi, direction: "outbound", remote: sa.remote });
}

export const rekeyChild = (sites: Sites, party: Party): void => lifetime(sites, party, "softLifetime");
export const endChild = (sites: Sites, party: Party): void => lifetime(sites, party, "hardLifetime");

const ikeLifetimeSeconds = 400;
/** By now both sides have asked for a new IKE SA: the initiator of the first from 80 %, its responder from 88 %. */
const untilIkeRekey = (sites: Sites): void => sites.sim.run(0.945 * ikeLifetimeSeconds * 1000);

export const collisionKinds = {
  "both rekey the CHILD_SA": {
    begin: (sites) => {
      rekeyChild(sites, "A");
      rekeyChild(sites, "B");
    },
  },
  "both rekey the IKE SA": { options: { both: { ikeLifetimeSeconds } }, begin: untilIkeRekey },
  "both rekey the IKE SA, and the CHILD_SA whenever they can": {
    options: { both: { ikeLifetimeSeconds } },
    begin: untilIkeRekey,
    during: (sites) => {
      rekeyChild(sites, "A");
      rekeyChild(sites, "B");
    },
  },
  "A rekeys the IKE SA, B the CHILD_SA": {
    options: { a: { ikeLifetimeSeconds } },
    begin: (sites) => {
      untilIkeRekey(sites);
      rekeyChild(sites, "B");
    },
  },
  "A rekeys the CHILD_SA, B deletes it": {
    gap: true,
    begin: (sites) => {
      rekeyChild(sites, "A");
      endChild(sites, "B");
    },
  },
  "both delete the CHILD_SA": {
    gap: true,
    begin: (sites) => {
      endChild(sites, "A");
      endChild(sites, "B");
    },
  },
  "A rekeys the IKE SA, B deletes the CHILD_SA": {
    gap: true,
    options: { a: { ikeLifetimeSeconds } },
    begin: (sites) => {
      untilIkeRekey(sites);
      endChild(sites, "B");
    },
  },
} as const satisfies Record<string, CollisionKind>;

const other = (name: string): Party => (name === "A" ? "B" : "A");
