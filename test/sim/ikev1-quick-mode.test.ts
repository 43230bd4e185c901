/**
 * Quick mode and what becomes of its IPsec SAs (RFC 2409 §5.5), datagram by datagram: each one lost, repeated or late,
 * both sides at once in every order of arrival. After every step each side sends with what the other can open, and at
 * the end one pair is left.
 */
import { describe, expect, it } from "vitest";
import { expectCarrying, expectOnePair, Lab, type LabOptions } from "./quick-lab.ts";

function up(options: LabOptions = {}): Lab {
  const lab = new Lab(options);
  lab.a.start();
  lab.settle();
  expectOnePair(lab);
  lab.sent.length = 0;
  return lab;
}

/** Half a minute, and something to do at each step. */
function goOn(lab: Lab, ms: number, step: () => void): void {
  for (let left = ms; left > 0; left -= 500) {
    lab.run(500);
    step();
  }
}

const names = (lab: Lab) => [lab.a, lab.b].map((side) => side.children.map((c) => c.state.name));

describe("quick mode (RFC 2409 §5.5)", () => {
  it("HDR*, HASH(1), SA, Ni, IDci, IDcr --> <-- HASH(2), SA, Nr, IDci, IDcr; HASH(3) -->: both have the same pair", () => {
    const lab = new Lab();
    lab.a.start();
    lab.settle();
    expect(lab.sent.map(({ from }) => from.name)).toEqual(["A", "B", "A"]);
    expectOnePair(lab);
    expect(names(lab)).toEqual([["INSTALLED"], ["INSTALLED"]]);
    expect([lab.a.events, lab.b.events]).toEqual([["childUp"], ["childUp"]]);
  });

  it("installs the responder's inbound SA before it answers, and sends nothing before it knows of the initiator's", () => {
    const lab = new Lab();
    lab.a.start();
    lab.deliver(lab.wire.shift()!);
    expect(lab.b.inbound).toHaveLength(1);
    expect([names(lab)[1], lab.b.sendsOn, lab.b.events]).toEqual([["AWAITED"], undefined, []]);
    lab.deliver(lab.wire.shift()!);
    expect(lab.a.sendsOn).toBe(lab.b.inbound[0]!.spi);
    // Message 3 is late, and a packet shows as much.
    lab.b.receive(lab.a.sendsOn!);
    expect([names(lab)[1], lab.b.sendsOn]).toEqual([["INSTALLED"], lab.a.inbound[0]!.spi]);
    lab.settle();
    expect(lab.b.events).toEqual(["childUp"]);
    expectOnePair(lab);
  });

  it.each([0, 1, 2])("comes up although message %i + 1 is lost", (lost) => {
    const lab = new Lab();
    lab.a.start();
    for (let i = 0; i < lost; i++) lab.deliver(lab.wire.shift()!);
    lab.wire.shift();
    lab.run(10_000);
    expectOnePair(lab);
    expect(names(lab)).toEqual([["INSTALLED"], ["INSTALLED"]]);
  });

  it("comes up once although every message comes three times, and once more much later", () => {
    const lab = new Lab();
    lab.a.start();
    for (let next = lab.wire.shift(); next; next = lab.wire.shift())
      for (let i = 0; i < 3 && lab.sent.length < 30; i++) lab.deliver(next);
    expectOnePair(lab);
    const all = [...lab.sent];
    lab.run(200_000);
    for (const datagram of all) lab.deliver(datagram);
    lab.run(60_000);
    expectOnePair(lab);
    expect([lab.a.events, lab.b.events]).toEqual([["childUp"], ["childUp"]]);
  });

  it("gives up what the peer never confirms, and tells it so", () => {
    const lab = new Lab();
    lab.a.start();
    lab.deliver(lab.wire.shift()!);
    lab.wire.length = 0;
    lab.a.sa.requestDelete(lab.now, "requested");
    lab.run(100_000, false);
    expect([lab.b.installed, [...lab.b.spis]]).toEqual([[], []]);
    expect(lab.b.events).not.toContain("childUp");
  });
});

describe("a rekey", () => {
  it("makes a second pair, hands over, and deletes the first: nothing is lost on the way", () => {
    const lab = up();
    const old = lab.a.sendsOn;
    lab.a.rekey();
    lab.settle();
    expectCarrying(lab);
    // The responder may install its half with message 3 only: the initiator waits for a sign, or a second.
    expect([names(lab), lab.a.sendsOn]).toEqual([
      [
        ["REKEYED", "INSTALLED"],
        ["SUPERSEDED", "INSTALLED"],
      ],
      old,
    ]);
    lab.run(1_000);
    expect(lab.a.sendsOn).not.toBe(old);
    goOn(lab, 30_000, () => expectCarrying(lab));
    expectOnePair(lab);
  });

  it("hands over with the peer's first packet", () => {
    const lab = up();
    const old = lab.a.sendsOn;
    lab.a.rekey();
    lab.settle();
    lab.traffic();
    expect(lab.a.sendsOn).not.toBe(old);
    goOn(lab, 8_000, () => expect(lab.traffic()).toBe(true));
    expectOnePair(lab);
  });

  describe.each(["A", "B"] as const)("by %s", (name) => {
    const by = (lab: Lab) => (name === "A" ? lab.a : lab.b);
    it.each([0, 1, 2, 3, 4])("survives the loss of datagram %i", (lost) => {
      for (const traffic of [false, true]) {
        const lab = up();
        by(lab).rekey();
        const step = () => {
          if (traffic) expect(lab.traffic()).toBe(true);
          expectCarrying(lab);
        };
        for (let i = 0; i < 60_000; i += 100) {
          for (let next = lab.wire.shift(); next; next = lab.wire.shift()) {
            if (lab.sent.indexOf(next) !== lost) lab.deliver(next);
            step();
          }
          lab.run(100, false);
          step();
        }
        expectOnePair(lab);
        expect([...lab.a.failures, ...lab.b.failures]).toEqual([]);
      }
    });

    it("survives the Delete coming before message 3", () => {
      const lab = up();
      by(lab).rekey();
      // Message 3 waits for half a minute, and so does whatever repeats it.
      lab.deliver(lab.wire.shift()!);
      lab.deliver(lab.wire.shift()!);
      const held = lab.wire.splice(0);
      for (let i = 0; i < 140; i++) {
        lab.run(100, false);
        const deletes = lab.wire.splice(0).filter(({ bytes }) => bytes[18] === 5);
        for (const datagram of deletes) lab.deliver(datagram);
      }
      expectCarrying(lab);
      for (const datagram of held) lab.deliver(datagram);
      lab.run(60_000);
      expectOnePair(lab);
    });
  });

  it("waits while the peer's is under way", () => {
    const lab = up();
    lab.b.rekey();
    lab.deliver(lab.wire.shift()!);
    lab.a.rekey();
    expect(lab.a.sa.idle).toBe(true);
    lab.run(60_000);
    expectOnePair(lab);
    // One each for the first and its successor.
    expect(lab.a.events.filter((e) => e === "childUp")).toHaveLength(2);
  });

  it("is tried again when nothing comes of it, and the old pair stays", () => {
    const lab = up({ limits: { rekeyRetryMs: 5_000 } });
    lab.a.rekey();
    lab.a.sa.lastHeardAt = 1;
    const before = lab.a.sendsOn;
    lab.run(31_000, false);
    lab.wire.length = 0;
    expect(lab.a.sendsOn).toBe(before);
    expect(lab.a.failures.map((f) => f.code)).toEqual(["REKEY_REFUSED"]);
    lab.run(60_000);
    expect(lab.a.sendsOn).not.toBe(before);
    expectOnePair(lab);
  });
});

/** Every order in which two conversations of so many datagrams can arrive. */
function schedules(ofA: number, ofB: number): string[] {
  if (ofA === 0 || ofB === 0) return ["A".repeat(ofA) + "B".repeat(ofB)];
  return [
    ...schedules(ofA - 1, ofB).map((rest) => `A${rest}`),
    ...schedules(ofA, ofB - 1).map((rest) => `B${rest}`),
  ];
}

interface Collision {
  readonly schedule: string;
  /** Whose exchange has the lowest nonce, and whether the side that began it drew that. */
  readonly lowest: "Ni of A" | "Nr of A" | "Ni of B" | "Nr of B";
  readonly mishap?: { readonly step: number; readonly kind: "lost" | "twice" };
  readonly traffic: boolean;
  /** No pair is there before: both miss the same one. */
  readonly fresh: boolean;
}

const lowestNonces = ["Ni of A", "Nr of A", "Ni of B", "Nr of B"] as const;

/** Both begin before anything is delivered. */
function collide({ schedule, lowest, mishap, traffic, fresh }: Collision): Lab {
  let forced = fresh;
  const base = { A: 0, B: 0 };
  const lab = new Lab({
    both: { keepsUp: true },
    // Each side draws Ni for its own request first, then Nr for the peer's.
    nonce: (side, drawn) => {
      const name = side as "A" | "B";
      if (!forced) base[name] = drawn + 1;
      const of = drawn === base[name] ? `Ni of ${side}` : `Nr of ${side === "A" ? "B" : "A"}`;
      return forced && of === lowest ? 0 : 0x80;
    },
  });
  if (!fresh) {
    lab.a.start();
    lab.settle();
  }
  forced = true;
  const step = () => {
    if (traffic && !fresh) expect(lab.traffic()).toBe(true);
    if (!fresh) expectCarrying(lab);
  };
  for (const side of [lab.a, lab.b]) {
    if (fresh) side.start();
    else side.rekey();
  }
  const waiting: Record<"A" | "B", (typeof lab.wire)[number][]> = { A: [], B: [] };
  // Who began: the message ID says.
  const began = new Map(lab.wire.map(({ from, bytes }) => [idOf(bytes), from.name]));
  const sort = () => {
    for (const datagram of lab.wire.splice(0))
      waiting[began.get(idOf(datagram.bytes)) ?? datagram.from.name].push(datagram);
  };
  sort();
  for (const [i, party] of ([...schedule] as ("A" | "B")[]).entries()) {
    const next = waiting[party].shift();
    if (!next) continue;
    const is = mishap?.step === i ? mishap.kind : undefined;
    if (is !== "lost") lab.deliver(next);
    if (is === "twice") lab.deliver(next);
    sort();
    step();
  }
  lab.wire.push(...waiting.A, ...waiting.B);
  goOn(lab, 100_000, step);
  expectOnePair(lab);
  expect([...lab.a.failures, ...lab.b.failures]).toEqual([]);
  // Every datagram of it once more, long after.
  for (const datagram of [...lab.sent]) lab.deliver(datagram);
  goOn(lab, 60_000, step);
  expectOnePair(lab);
  return lab;
}

const idOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(20);

function attempt(collision: Collision): Lab {
  try {
    return collide(collision);
  } catch (error) {
    throw new Error(`${JSON.stringify(collision)}: ${(error as Error).message}`, { cause: error });
  }
}

describe.each([
  ["both rekey the same pair", false],
  ["both ask for the same pair", true],
] as const)("%s at once", (_name, fresh) => {
  const orders = schedules(3, 3);

  it.each(lowestNonces)("in every order of arrival, when %s is the lowest nonce", (lowest) => {
    expect(orders).toHaveLength(20);
    for (const schedule of orders)
      for (const traffic of fresh ? [false] : [false, true]) attempt({ schedule, lowest, traffic, fresh });
  });

  it.each(["lost", "twice"] as const)("with one datagram %s", (kind) => {
    for (const [i, schedule] of orders.entries())
      for (let step = 0; step < 6; step++)
        attempt({
          schedule,
          lowest: lowestNonces[(i + step) % 4]!,
          mishap: { step, kind },
          traffic: (i & 1) === 0,
          fresh,
        });
  });

  it("leaves the pair whose exchange did not have the lowest nonce, and both sides agree", () => {
    for (const lowest of lowestNonces) {
      const { a, b } = attempt({ schedule: "ABABAB", lowest, traffic: true, fresh });
      const role = lowest.endsWith("A") ? "responder" : "initiator";
      expect([a.children[0]!.role, b.children[0]!.role]).toEqual(
        role === "responder" ? ["responder", "initiator"] : ["initiator", "responder"],
      );
    }
  });
});

describe("a network that loses, repeats and reorders", () => {
  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    "never leaves traffic on a dead SA (seed %i)",
    (seed) => {
      const lab = new Lab({ both: { keepsUp: true, peer: { childLifetimeMs: 120_000 } }, seed: 1000 + seed });
      lab.a.start();
      lab.settle();
      let state = seed * 7919 + 1;
      const below = (n: number) => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return (state >>> 8) % n;
      };
      const late: { readonly at: number; readonly datagram: (typeof lab.wire)[number] }[] = [];
      let lost = 0;
      for (let i = 0; i < 6_000; i++) {
        for (const datagram of lab.wire.splice(0)) {
          if (below(100) < 15) continue;
          late.push({ at: lab.now + below(400), datagram });
          if (below(100) < 10) late.push({ at: lab.now + below(5_000), datagram });
        }
        for (const due of late.filter(({ at }) => at <= lab.now)) {
          late.splice(late.indexOf(due), 1);
          lab.deliver(due.datagram);
        }
        if (below(400) === 0) (below(2) === 0 ? lab.a : lab.b).rekey();
        if (!lab.traffic()) lost++;
        lab.run(100, false);
      }
      expect(lost).toBe(0);
      expectSettlesWithin(lab, 100_000);
    },
  );
});

/** There is a moment between two rekeys at which one pair is all there is. */
function expectSettlesWithin(lab: Lab, ms: number): void {
  let problem: unknown;
  for (let left = ms; left > 0; left -= 500) {
    lab.run(500);
    expect(lab.traffic()).toBe(true);
    try {
      expectOnePair(lab);
      return;
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}
