/** Additional key exchanges: IKE_INTERMEDIATE (RFC 9242) in setup, IKE_FOLLOWUP_KE in rekeys (RFC 9370). */
import { describe, expect, it } from "vitest";
import { decodeMessage, findNotify, findPayload } from "../../src/wire/index.ts";
import {
  collide,
  collideAndGoOn,
  collisionKinds,
  expectSettled,
  lowestNonces,
  rekeyChild,
  schedules,
} from "./collision.ts";
import { impair } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectCarrying, expectNothingLeft, expectUp, ikeSuite, type Sites, twoSites } from "./two-sites.ts";

const classicIke = "aes128gcm16-prfsha256-x25519";
const hybridIke = `${classicIke}-ke1_mlkem768`;
const hybridEsp = "aes128gcm16-x25519-ke1_mlkem768";
const hybrid = { ike: [hybridIke], esp: [hybridEsp] };

function up(options: Parameters<typeof twoSites>[0] = { both: hybrid }): Sites {
  const sites = twoSites(options);
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(1000);
  expectUp(sites);
  return sites;
}

describe("additional key exchanges of a first IKE SA (RFC 9370 §2.2.2)", () => {
  it("HDR, SK {KEi(1)} --> <-- HDR, SK {KEr(1)} between IKE_SA_INIT and IKE_AUTH", () => {
    const sites = up();
    const { sim, a, b } = sites;
    expect(sim.network.trace).toEqual([
      "A: IKE_SA_INIT request 0",
      "B: IKE_SA_INIT response 0",
      // 1184 octets of encapsulation key, with what surrounds them on port 4500 just too many for a datagram of 1280.
      "A: IKE_INTERMEDIATE request 1",
      "A: IKE_INTERMEDIATE request 1",
      "B: IKE_INTERMEDIATE response 1",
      "A: IKE_AUTH request 2",
      "B: IKE_AUTH response 2",
    ]);
    for (const node of [a, b]) expect(ikeSuite(sites, node)).toBe(hybridIke);
    for (const node of [a, b]) expect(node.failures).toEqual([]);
  });

  it("in fragments, where they do not fit in a datagram (RFC 9242 §3.3.2)", () => {
    const sites = up({ both: { ike: [`${classicIke}-ke1_mlkem1024`] } });
    const sent = sites.sim.network.trace.filter((line) => line.includes("IKE_INTERMEDIATE"));
    expect(sent).toEqual([
      "A: IKE_INTERMEDIATE request 1",
      "A: IKE_INTERMEDIATE request 1",
      "B: IKE_INTERMEDIATE response 1",
      "B: IKE_INTERMEDIATE response 1",
    ]);
  });

  it("does all seven in the order of their numbers, Diffie-Hellman among them", () => {
    const methods = ["ecp256", "mlkem512", "none", "mlkem1024", "ecp384", "mlkem768", "modp2048"];
    const words = methods.map((method, i) => `ke${i + 1}_${method}`);
    const sites = up({ both: { ike: [`${classicIke}-${words.join("-")}`] } });
    const agreed = words.filter((word) => !word.endsWith("none"));
    expect(ikeSuite(sites, sites.a)).toBe(`${classicIke}-${agreed.join("-")}`);
    expect(sites.sim.network.trace.at(-1)).toBe("B: IKE_AUTH response 7");
  });

  it("tells an analyser each set of keys as it comes", () => {
    const sites = up({ both: { ...hybrid, esp: ["aes128gcm16"] }, sim: { exportKeys: true } });
    const ike = sites.a.keylog.filter((line) => line.includes("AES-GCM-128"));
    expect(ike).toHaveLength(2);
    expect(new Set(ike.map((line) => line.split(",").slice(0, 2).join()))).toHaveProperty("size", 1);
    expect(new Set(ike).size).toBe(2);
  });

  it.each([
    ["initiator", { a: { ike: [hybridIke, classicIke] }, b: { ike: [classicIke] } }],
    ["responder", { a: { ike: [classicIke] }, b: { ike: [hybridIke, classicIke] } }],
    ["initiator, by none,", { a: { ike: [`${hybridIke}-ke1_none`] }, b: { ike: [classicIke] } }],
    ["responder, by none,", { a: { ike: [classicIke] }, b: { ike: [`${hybridIke}-ke1_none`] } }],
  ])("the %s comes up with a peer that has none", (_, options) => {
    const sites = up(options);
    expect(ikeSuite(sites, sites.a)).toBe(classicIke);
    expect(sites.sim.network.trace.some((line) => line.includes("IKE_INTERMEDIATE"))).toBe(false);
  });

  it("a peer that does not know IKE_INTERMEDIATE is not asked for it", () => {
    const sites = twoSites({ a: { ike: [hybridIke] }, b: { ike: [hybridIke] } });
    const { sim, a, b } = sites;
    sim.network.faults.push(
      impair.replace("IKE_SA_INIT request", (packet) => {
        const datagram = Uint8Array.from(packet.datagram);
        hide(datagram, INTERMEDIATE_EXCHANGE_SUPPORTED);
        return [{ ...packet, datagram }];
      }),
    );
    sim.start(a, b);
    sim.run(400);
    expect(sim.network.trace).toEqual(["A: IKE_SA_INIT request 0", "B: IKE_SA_INIT response 0"]);
    expect(b.failures).toMatchObject([
      {
        code: "NO_PROPOSAL_CHOSEN_IKE",
        difference: "additional key exchange 1: ours none, theirs mlkem768",
      },
    ]);
  });

  it("one side insists, the other has none: refused, and the record names the difference", () => {
    const sites = twoSites({ a: { ike: [hybridIke] }, b: { ike: [classicIke] } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(500);
    expect(sites.b.failures).toMatchObject([
      {
        code: "NO_PROPOSAL_CHOSEN_IKE",
        difference: "additional key exchange 1: ours none, theirs mlkem768",
      },
    ]);
    expectNothingLeft(sites.a);
  });

  it.each(["request", "response"])("comes up when every datagram of the %s is lost once", (direction) => {
    const sites = twoSites({ both: hybrid });
    sites.sim.network.faults.push(impair.drop(`IKE_INTERMEDIATE ${direction}`, 2));
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(5_000);
    expectUp(sites);
  });

  it("a single changed bit of a public value makes the keys differ: nothing comes up, and nothing stays", () => {
    const sites = twoSites({ both: hybrid });
    const { sim, a, b } = sites;
    sim.network.faults.push((packet, name) => {
      if (!name.startsWith("IKE_INTERMEDIATE")) return "pass";
      const datagram = Uint8Array.from(packet.datagram);
      datagram[datagram.length - 20]! ^= 1;
      return { replace: [{ ...packet, datagram }] };
    });
    sim.start(a, b);
    sim.run(29_000);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(1);
    expectNothingLeft(a);
    sim.network.faults.length = 0;
    sim.run(60_000);
    expectUp(sites);
  });

  it("comes up in bad weather, and is the same on both sides", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const sites = twoSites({ both: hybrid, sim: { seed } });
      sites.sim.network.weather = { loss: 0.2, duplication: 0.2, delayMs: 20, jitterMs: 200 };
      sites.sim.start(sites.a, sites.b);
      expect(
        sites.sim.runUntil(
          () => [sites.a, sites.b].every((node) => tunnelStatus(sites.sim, node).state === "up"),
          120_000,
        ),
        `seed ${seed}`,
      ).toBe(true);
    }
  });
});

describe("additional key exchanges of rekeys (RFC 9370 §2.2.4)", () => {
  it("CREATE_CHILD_SA, and IKE_FOLLOWUP_KE with the link of the answer before, for a CHILD_SA", () => {
    const sites = up();
    const { sim, a } = sites;
    sim.network.trace.length = 0;
    rekeyChild(sites, "A");
    sim.run(8_000);
    expect(sim.network.trace.slice(0, 7)).toEqual([
      "A: CREATE_CHILD_SA request 3",
      "B: CREATE_CHILD_SA response 3",
      "A: IKE_FOLLOWUP_KE request 4",
      "A: IKE_FOLLOWUP_KE request 4",
      "B: IKE_FOLLOWUP_KE response 4",
      "A: INFORMATIONAL request 5",
      "B: INFORMATIONAL response 5",
    ]);
    expectSettled(sites);
    expect(tunnelStatus(sim, a).children.map((c) => c.suite)).toEqual([`${hybridEsp}-esn`]);
  });

  it("for the IKE SA, whose successor can do all of it again", () => {
    const sites = up({ both: { ...hybrid, ikeLifetimeSeconds: 100 } });
    const { sim, a } = sites;
    sim.run(1_000_000);
    const settled = () => [a, sites.b].every((node) => node.gateway.status(sim.now).ike.sas === 1);
    expect(sim.runUntil(settled, 15_000)).toBe(true);
    expectSettled(sites);
    expect(ikeSuite(sites, a)).toBe(hybridIke);
    expect(a.logs.filter((l) => l.message === "IKE SA rekeyed").length).toBeGreaterThan(8);
    rekeyChild(sites, "B");
    sim.run(5_000);
    expect(sim.runUntil(settled, 15_000)).toBe(true);
    expectSettled(sites);
  });

  it.each([
    ["ke1_mlkem768-ke2_ecp256-ke3_mlkem512", 3],
    ["ke3_mlkem768-ke3_none-ke5_ecp384", 2],
  ])("does %s in %d exchanges more", (words, count) => {
    const sites = up({ both: { esp: [`aes128gcm16-x25519-${words}`] } });
    rekeyChild(sites, "B");
    sites.sim.run(8_000);
    expectSettled(sites);
    const requests = new Set(sites.sim.network.trace.filter((l) => l.includes("IKE_FOLLOWUP_KE request")));
    expect(requests.size).toBe(count);
  });

  it("falls back where the peer has none", () => {
    const sites = up({
      a: { ike: [hybridIke, classicIke], esp: [hybridEsp, "aes128gcm16-x25519"] },
      b: { esp: ["aes128gcm16-x25519"] },
    });
    rekeyChild(sites, "A");
    sites.sim.run(8_000);
    rekeyChild(sites, "B");
    sites.sim.run(8_000);
    expectSettled(sites);
    expect(sites.sim.network.trace.some((line) => line.includes("FOLLOWUP"))).toBe(false);
  });

  it("a responder that has given up says STATE_NOT_FOUND: the old SA stays, and the rekey is tried again", () => {
    const sites = up({ both: hybrid, sim: { limits: { followUpMs: 2_000, rekeyRetryMs: 4_000 } } });
    const { sim, a, b } = sites;
    const before = a.inbound[0]!.spi;
    sim.network.faults.push(impair.delay("IKE_FOLLOWUP_KE request", 3_000, 10));
    rekeyChild(sites, "A");
    sim.run(2_500);
    // What waited has given back its SPI.
    expect(b.gateway.status(sim.now).ike.inboundSpis).toBe(1);
    sim.run(1_500);
    expect(a.inbound[0]!.spi).toBe(before);
    expectCarrying(sites);
    sim.network.faults.length = 0;
    sim.run(20_000);
    expect(a.inbound[0]!.spi).not.toBe(before);
    expectSettled(sites);
  });

  it("the answer is lost for ever: the peer counts as dead, and everything comes back", () => {
    const sites = up();
    const { sim, a, b } = sites;
    sim.network.faults.push(impair.drop("IKE_FOLLOWUP_KE response"));
    rekeyChild(sites, "A");
    sim.run(31_000);
    expect(a.failures).toMatchObject([{ code: "DPD_TIMEOUT" }]);
    sim.network.faults.length = 0;
    sim.run(60_000);
    expectUp(sites);
    expect(b.gateway.status(sim.now).ike).toMatchObject({ sas: 1, inboundSpis: 1 });
  });
});

describe("collisions of rekeys with additional key exchanges", () => {
  /** Conversations of six datagrams: CREATE_CHILD_SA, IKE_FOLLOWUP_KE, Delete. */
  const orders = schedules(6, 6);
  const quick = { ike: [`${classicIke}-ke1_ecp256`], esp: ["aes128gcm16-x25519-ke1_ecp256"] };
  const kinds = [
    "both rekey the CHILD_SA",
    "both rekey the IKE SA",
    "A rekeys the IKE SA, B the CHILD_SA",
    "A rekeys the CHILD_SA, B deletes it",
  ] as const;

  it.each(kinds)("%s, in a part of all orders of arrival, whichever nonce is the lowest", (name) => {
    const kind = collisionKinds[name];
    const options: Parameters<typeof twoSites>[0] = "options" in kind ? kind.options : {};
    const both = { ...quick, ...options?.both };
    expect(orders).toHaveLength(924);
    for (const [i, schedule] of orders.entries()) {
      if (i % 23 !== 0) continue;
      const lowest = lowestNonces[i % 4]!;
      const mishap = i % 3 === 0 ? undefined : ({ step: i % 12, kind: i % 2 ? "lost" : "twice" } as const);
      const collision = {
        lowest,
        schedule,
        kind: { ...kind, options: { ...options, both } },
        traffic: i % 5 === 0,
      };
      try {
        (i % 2 ? collide : collideAndGoOn)(mishap ? { ...collision, mishap } : collision);
      } catch (error) {
        const where = JSON.stringify({ lowest, schedule, mishap, traffic: collision.traffic });
        throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
});

const INTERMEDIATE_EXCHANGE_SUPPORTED = 16438;

/** Gives a notification a type that nobody knows. */
function hide(datagram: Uint8Array, type: number): void {
  const { payloads } = decodeMessage(datagram);
  expect(findPayload(payloads, "SA")).toBeDefined();
  expect(findNotify(payloads, type)).toBeDefined();
  for (let at = 28; at + 8 <= datagram.length; at++)
    if (datagram[at] === type >> 8 && datagram[at + 1] === (type & 0xff) && datagram[at - 1] === 0)
      datagram[at] = 0xff;
}
