/**
 * The collision matrix of RFC 7296 §2.8 and §2.25: two exchanges that overlap, in every order of arrival, whichever
 * nonce is the lowest. `collide` checks after every step that each side sends with what the other can open, and at the
 * end that one pair of SAs and one IKE SA are left. Here one datagram in a part of the orders is also lost or
 * repeated; `npm run soak` goes through all of them.
 */
import { describe, expect, it } from "vitest";
import {
  type Collision,
  type CollisionKind,
  collide,
  collideAndGoOn,
  collisionKinds,
  lowestNonces,
  schedules,
} from "./collision.ts";
import { tunnelStatus } from "./simulation.ts";

/** Two conversations of four datagrams: a request, its answer, a Delete, its answer. */
const orders = schedules(4, 4);

function attempt(collision: Collision, run = collide) {
  try {
    return run(collision);
  } catch (error) {
    const { lowest, schedule, mishap, traffic } = collision;
    const where = JSON.stringify({ lowest, schedule, mishap, traffic });
    throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
  }
}

describe.each(Object.entries(collisionKinds))("%s at once", (name, kind) => {
  // Elsewhere no two nonces are ever compared.
  it.each(name.startsWith("both rekey") ? lowestNonces : (["Ni of A"] as const))(
    "in every order of arrival, when %s is the lowest nonce",
    (lowest) => {
      expect(orders).toHaveLength(70);
      for (const schedule of orders) attempt({ lowest, schedule, kind }, collideAndGoOn);
      if (!name.includes("CHILD_SA")) return;
      for (const schedule of orders) attempt({ lowest, schedule, kind, traffic: true }, collideAndGoOn);
    },
  );

  it.each(["lost", "twice"] as const)("with one datagram %s", (mishap) => {
    for (const [i, schedule] of orders.entries()) {
      const lowest = lowestNonces[(i >> 3) % 4]!;
      attempt(
        { lowest, schedule, kind, mishap: { step: i % 8, kind: mishap }, traffic: i % 2 === 0 },
        collideAndGoOn,
      );
    }
  });
});

describe("both rekeys succeed, and the lowest of the four nonces decides (RFC 7296 §2.8.1, §2.8.2)", () => {
  it.each([
    ["Ni of A", "B"],
    ["Nr of A", "B"],
    ["Ni of B", "A"],
    ["Nr of B", "A"],
  ] as const)(
    "HDR, SK {N(REKEY_SA), SA, Ni, TSi, TSr} --> <-- the same; with %s lowest the CHILD_SA that %s made stays",
    (lowest, winner) => {
      const { a, delivered } = attempt({
        lowest,
        schedule: "ABABABAB",
        kind: collisionKinds["both rekey the CHILD_SA"],
      });
      expect(delivered.slice(0, 4).map((d) => d.replace(/ \d+$/, ""))).toEqual([
        "A: CREATE_CHILD_SA request",
        "B: CREATE_CHILD_SA request",
        "B: CREATE_CHILD_SA response",
        "A: CREATE_CHILD_SA response",
      ]);
      // A answers B's request before it gets the answer to its own.
      const made = a.logs.filter((l) => l.message === "CHILD_SA rekeyed").map((l) => l.fields.spiIn);
      expect(made).toHaveLength(2);
      expect(a.inbound[0]!.spi.toString(16).padStart(8, "0")).toBe(made[winner === "B" ? 0 : 1]);
    },
  );

  it.each([
    ["Ni of A", "responder"],
    ["Nr of A", "responder"],
    ["Ni of B", "initiator"],
    ["Nr of B", "initiator"],
  ] as const)(
    "HDR, SK {SA, Ni, KEi} --> <-- the same; with %s lowest A is the %s of what stays, and the CHILD_SA is untouched",
    (lowest, role) => {
      const sites = attempt({ lowest, schedule: "ABABABAB", kind: collisionKinds["both rekey the IKE SA"] });
      for (const node of [sites.a, sites.b])
        expect(node.logs.filter((l) => l.message === "IKE SA rekeyed")).toHaveLength(1);
      expect(tunnelStatus(sites.sim, sites.a).ike!.role).toBe(role);
      expect(sites.a.logs.filter((l) => l.message.startsWith("CHILD_SA"))).toHaveLength(1);
    },
  );

  it("one side does not notice, because the other's request was held up: refused, and one result", () => {
    // B's conversation is over before A's request arrives.
    for (const kind of ["both rekey the CHILD_SA", "both rekey the IKE SA"] as const) {
      const sites = attempt({ lowest: "Ni of B", schedule: "BBBBAAAA", kind: collisionKinds[kind] });
      const message = kind.replace(/^both rekey the (.*)$/, "$1 rekeyed");
      for (const node of [sites.a, sites.b])
        expect(node.logs.filter((l) => l.message === message)).toHaveLength(1);
    }
  });

  it("the winner's successor is used before the loser has its answer: it inherits at once, and the late answer adds nothing", () => {
    const both = collisionKinds["both rekey the IKE SA, and the CHILD_SA whenever they can"];
    const ofA: string[][] = [];
    const kind: CollisionKind = {
      ...both,
      during(sites) {
        both.during(sites);
        ofA.push(sites.a.logs.map((l) => l.message).filter((m) => m.endsWith("rekeyed")));
      },
    };
    // B's Delete of the old IKE SA is lost, and its first request on the new one arrives before B's answer does.
    const mishap = { step: 3, kind: "lost" } as const;
    const { a, b, delivered } = attempt({ lowest: "Ni of A", schedule: "ABBBBB", mishap, kind });
    expect(delivered.slice(0, 6)).toEqual([
      "A: CREATE_CHILD_SA request 2",
      "B: CREATE_CHILD_SA request 0",
      "A: CREATE_CHILD_SA response 0",
      "B: CREATE_CHILD_SA request 0",
      "A: CREATE_CHILD_SA response 0",
      "B: CREATE_CHILD_SA response 2",
    ]);
    // After each of the five that were delivered: A had nothing until B used its own.
    expect(ofA).toEqual([
      [],
      [],
      [],
      ["IKE SA rekeyed", "CHILD_SA rekeyed"],
      ["IKE SA rekeyed", "CHILD_SA rekeyed"],
    ]);
    for (const node of [a, b])
      expect(node.logs.filter((l) => l.message === "IKE SA rekeyed")).toHaveLength(1);
  });
});
