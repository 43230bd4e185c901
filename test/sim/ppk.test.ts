/** Postquantum preshared keys (RFC 8784). */
import { describe, expect, it } from "vitest";
import { rekeyChild } from "./collision.ts";
import { impair } from "./network.ts";
import { expectNothingLeft, expectUp, twoSites } from "./two-sites.ts";

const secret = "a postquantum preshared key, long enough";
const needed = { id: "one", secret, required: true };
const wanted = { ...needed, required: false };
type Ppk = typeof needed | undefined;

function meet(a: Ppk, b: Ppk, ike = "aes128gcm16-prfsha256-x25519") {
  const sites = twoSites({
    both: { ike: [ike] },
    a: { ...(a && { ppk: a }) },
    b: { ...(b && { ppk: b }) },
    sim: { exportKeys: true },
  });
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(1000);
  return sites;
}

describe("both have the PPK (RFC 8784 §3)", () => {
  it.each([
    ["both insist", needed, needed],
    ["only the initiator insists", needed, wanted],
    ["only the responder insists", wanted, needed],
    ["nobody insists", wanted, wanted],
  ])("%s: comes up, and rekeys", (_, a, b) => {
    const sites = meet(a, b);
    expectUp(sites);
    for (const node of ["A", "B"] as const) {
      rekeyChild(sites, node);
      sites.sim.run(8_000);
      expectUp(sites);
    }
    expect([...sites.a.failures, ...sites.b.failures]).toEqual([]);
  });

  it("beside additional key exchanges", () => {
    expectUp(meet(needed, needed, "aes128gcm16-prfsha256-x25519-ke1_mlkem768"));
  });

  it("its bytes go into the keys of the CHILD_SA: another one under the same seed gives others", () => {
    const keysWith = (ppk: Ppk) => meet(ppk, ppk).a.inbound.map((sa) => sa.key);
    const other = { ...needed, secret: `${secret}!` };
    expect(keysWith(needed)).toEqual(keysWith(needed));
    expect(keysWith(needed)).not.toEqual(keysWith(other));
    expect(keysWith(needed)).not.toEqual(keysWith(undefined));
  });
});

describe("one side has none, or another", () => {
  it.each([
    ["the responder has none", wanted, undefined],
    ["the initiator has none", undefined, wanted],
    ["they have different ones", wanted, { ...wanted, id: "two" }],
  ])("%s and nobody insists: comes up without", (_, a, b) => {
    const sites = meet(a, b);
    expectUp(sites);
    expect([...sites.a.failures, ...sites.b.failures]).toEqual([]);
  });

  it.each<[string, Ppk, Ppk, "a" | "b"]>([
    ["the initiator insists, the responder has none", needed, undefined, "a"],
    ["the responder insists, the initiator has none", undefined, needed, "b"],
    ["the initiator insists, the responder has another", needed, { ...wanted, id: "two" }, "b"],
    ["the responder insists, the initiator has another", wanted, { ...needed, id: "two" }, "b"],
    ["the same id names different keys", wanted, { ...wanted, secret: `${secret}!` }, "b"],
  ])("%s: refused, and the record says so", (_, a, b, who) => {
    const sites = meet(a, b);
    sites.sim.run(4_000);
    expectNothingLeft(sites.a);
    expectNothingLeft(sites.b);
    expect(sites[who].failures[0]).toMatchObject({ code: "PPK_MISMATCH" });
  });

  it("the same id names different keys, and both insist: nothing tells that from a wrong pre-shared key", () => {
    const { a, b } = meet(needed, { ...needed, secret: `${secret}!` });
    expect(b.failures[0]).toMatchObject({ code: "AUTHENTICATION_FAILED" });
    for (const node of [a, b]) expectNothingLeft(node);
  });

  it("a wrong pre-shared key stays what it is", () => {
    const sites = twoSites({ a: { psk: "not this one", ppk: wanted }, b: { ppk: wanted } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expect(sites.b.failures[0]).toMatchObject({ code: "AUTHENTICATION_FAILED" });
    expectNothingLeft(sites.b);
  });

  it("whoever takes USE_PPK out of IKE_SA_INIT gets no tunnel without it: AUTH covers the message", () => {
    const sites = twoSites({ a: { ppk: wanted }, b: { ppk: wanted } });
    sites.sim.network.faults.push(
      impair.replace(
        "IKE_SA_INIT response",
        (packet) => {
          const datagram = Uint8Array.from(packet.datagram);
          const at = datagram.findIndex((byte, i) => byte === 0x40 && datagram[i + 1] === 0x33);
          expect(at).toBeGreaterThan(28);
          datagram[at + 1] = 0xff;
          return [{ ...packet, datagram }];
        },
        1_000,
      ),
    );
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(5_000);
    expectNothingLeft(sites.a);
    expectNothingLeft(sites.b);
  });
});
