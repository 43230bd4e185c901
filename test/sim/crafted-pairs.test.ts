import { describe, expect, it } from "vitest";
import { Prefix } from "../../src/core/address.ts";
import { selectorFromPrefix, type TrafficSelector } from "../../src/core/traffic-selector.ts";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import { decodeHeader, findPayload, type PlainPayload } from "../../src/wire/index.ts";
import type { SiteOptions } from "./config.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { acquire, allPairs, childrenOf, flow, flowSites } from "./pairs.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB } from "./two-sites.ts";

const N = NotifyType.code;
const X = ExchangeType.code;
const notification = (type: number): PlainPayload => {
  const nothing = new Uint8Array(0);
  return { kind: "N", protocolId: 0, spi: nothing, type, data: nothing };
};
const selectors = (...prefixes: string[]) => prefixes.map((p) => selectorFromPrefix(Prefix.parse(p)));

type Ends = { readonly local: readonly TrafficSelector[]; readonly remote: readonly TrafficSelector[] };

/** A initiates; the crafted peer answers each request for a CHILD_SA as `answer` says: with selectors, or a refusal. */
function against(answer: (asked: Ends, i: number) => Ends | number, options: SiteOptions = {}) {
  const sites = flowSites({ a: options });
  const { sim, a } = sites;
  const peer = new CraftedPeer(sim, a, { own: addressB, node: addressA });
  const asked: string[] = [];
  let spi = 0xc0ffee00;
  const answered = (payloads: readonly PlainPayload[]): PlainPayload[] => {
    const ends = {
      local: findPayload(payloads, "TSi")!.selectors,
      remote: findPayload(payloads, "TSr")!.selectors,
    };
    const list = (ts: readonly TrafficSelector[]) =>
      ts.map((t) => `${t.startAddress}-${t.endAddress}`).join(" ");
    asked.push(`${list(ends.local)} === ${list(ends.remote)}`);
    const said = answer(ends, asked.length - 1);
    if (typeof said === "number") return [notification(said)];
    return [
      { kind: "SA", proposals: [peer.espProposal(++spi)] },
      { kind: "TSi", selectors: said.local },
      { kind: "TSr", selectors: said.remote },
    ];
  };
  /** Answers whatever waits, for `ms`. */
  const serve = (ms: number) => {
    for (let left = ms; left > 0; left -= 50) {
      sim.run(50);
      for (const request of peer.received.splice(0)) {
        const header = decodeHeader(request);
        const payloads = peer.open(request);
        if (!payloads || header.response) continue;
        if (header.exchangeType !== X.CREATE_CHILD_SA) peer.answer(request, []);
        else {
          const said = answered(payloads);
          const nonce = { kind: "Nonce", nonce: sim.random.bytes(32) } as const;
          peer.answer(request, said[0]!.kind === "SA" ? [said[0]!, nonce, ...said.slice(1)] : said);
        }
      }
    }
  };
  sim.start(a);
  peer.answerInit();
  const request = peer.received.at(-1)!;
  const said = answered(peer.open(request)!);
  peer.answerAuth((p) => [...p.slice(0, 2), ...said]);
  return { ...sites, peer, asked, serve };
}

const onlyFirst = ({ local, remote }: Ends): Ends => ({
  local: local.slice(0, 1),
  remote: remote.slice(0, 1),
});
const pairs = allPairs.map((pair) => pair.replace(" ", " === "));

describe("perSubnetPair: auto finds out what the peer takes", () => {
  it("a peer that narrows to the first pair without a word is asked for the others", () => {
    const sites = against(onlyFirst);
    sites.serve(5_000);
    expect(childrenOf(sites, sites.a)).toEqual(pairs);
    expect(sites.asked).toHaveLength(4);
    expect(sites.a.failures).toEqual([]);
  });

  it("so is one that says SINGLE_PAIR_REQUIRED", () => {
    const sites = against((ends) => (ends.local.length > 1 ? N.SINGLE_PAIR_REQUIRED : ends));
    sites.serve(5_000);
    expect(childrenOf(sites, sites.a)).toEqual(pairs);
    expect(sites.asked).toHaveLength(5);
    expect(sites.a.failures).toEqual([]);
  });

  it("so is one that refuses all together with TS_UNACCEPTABLE, which is on record", () => {
    const sites = against((ends) => (ends.local.length > 1 ? N.TS_UNACCEPTABLE : ends));
    sites.serve(5_000);
    expect(childrenOf(sites, sites.a)).toEqual(pairs);
    expect(sites.a.failures.map((f) => f.code)).toEqual(["TS_UNACCEPTABLE"]);
  });

  it("one that refuses a pair has the others", () => {
    const sites = against((ends, i) => (i === 2 ? N.TS_UNACCEPTABLE : onlyFirst(ends)));
    sites.serve(10_000);
    expect(tunnelStatus(sites.sim, sites.a)).toMatchObject({ state: "up", pairs: { total: 4, up: 3 } });
    expect(sites.a.failures).toHaveLength(1);
    sites.serve(60_000);
    expect(childrenOf(sites, sites.a)).toEqual(pairs);
  });

  it("one that takes no more SAs is not asked again for a while, by any pair", () => {
    const sites = against((ends, i) => (i < 2 ? onlyFirst(ends) : N.NO_ADDITIONAL_SAS));
    sites.serve(20_000);
    expect(sites.asked).toHaveLength(3);
    expect(sites.a.failures.map((f) => f.code)).toEqual(["PEER_REFUSED_CHILD"]);
    expect(tunnelStatus(sites.sim, sites.a).pairs).toMatchObject({ total: 4, up: 2 });
  });

  it("false leaves it at what the peer made of the one request", () => {
    const sites = against(onlyFirst, { perSubnetPair: false });
    sites.serve(30_000);
    expect(childrenOf(sites, sites.a)).toEqual(pairs.slice(0, 1));
    expect(sites.asked).toHaveLength(1);
    expect(tunnelStatus(sites.sim, sites.a).pairs).toMatchObject({ total: 4, up: 1 });
  });

  it("many pairs that are refused are asked for slowly", () => {
    const many = Array.from({ length: 20 }, (_, i) => `10.1.${i}.0/24`);
    const sites = against((ends, i) => (i === 0 ? onlyFirst(ends) : N.TS_UNACCEPTABLE), {
      localSubnets: many,
    });
    sites.serve(25_000);
    expect(sites.asked).toHaveLength(1 + 16);
    sites.serve(60_000);
    expect(sites.asked.length).toBeLessThan(1 + 16 + 4);
  });

  it("when nothing at all is permitted, 16 pairs have shown it", () => {
    const many = Array.from({ length: 20 }, (_, i) => `10.1.${i}.0/24`);
    const sites = against(() => N.TS_UNACCEPTABLE, { localSubnets: many });
    sites.serve(900);
    expect(sites.asked).toHaveLength(1 + 16);
    expect(tunnelStatus(sites.sim, sites.a).ike).toBeUndefined();
  });
});

describe("a CHILD_SA of several", () => {
  it("that the peer deletes is asked for again, and no other", () => {
    const sites = against((ends) => onlyFirst(ends));
    sites.serve(5_000);
    const { a, peer } = sites;
    const spi = a.outbound.find((sa) => `${sa.remoteSelectors[0]!.startAddress}` === "10.2.1.0")!.spi;
    const kept = a.inbound.length - 1;
    peer.deleteChild(spi);
    expect(a.inbound).toHaveLength(kept);
    sites.serve(5_000);
    expect(childrenOf(sites, a)).toEqual(pairs);
    expect(sites.asked).toHaveLength(5);
    expect(a.failures).toEqual([]);
  });
});

describe("on traffic", () => {
  it("the first selectors are the packet's, with its protocol and ports (RFC 7296 §2.9)", () => {
    const sites = against(() => ({ local: selectors("10.1.0.0/25"), remote: selectors("10.2.0.0/24") }), {
      localSubnets: ["10.1.0.0/24"],
      remoteSubnets: ["10.2.0.0/24"],
    });
    sites.serve(1_000);
    acquire(sites, sites.a, flow("10.1.0.200", "10.2.0.9", { sourcePort: 1234, destinationPort: 443 }));
    sites.serve(200);
    expect(sites.asked).toEqual([
      "10.1.0.0-10.1.0.255 === 10.2.0.0-10.2.0.255",
      "10.1.0.200-10.1.0.200 10.1.0.0-10.1.0.255 === 10.2.0.9-10.2.0.9 10.2.0.0-10.2.0.255",
    ]);
    // What the peer already carries is not asked for.
    acquire(sites, sites.a, flow("10.1.0.5", "10.2.0.9"));
    sites.serve(5_000);
    expect(sites.asked).toHaveLength(2);
  });
});
