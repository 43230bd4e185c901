import { describe, expect, it } from "vitest";
import { notify as n } from "../../src/ike/v2/notify.ts";
import { ExchangeType, NotifyType, ProtocolId } from "../../src/registry/index.ts";
import type { NotifyPayload } from "../../src/wire/index.ts";
import { siteConfig } from "./config.ts";
import { type Answer, CraftedPeer } from "./crafted-peer.ts";
import { endpoint, Simulation } from "./simulation.ts";
import { addressB } from "./two-sites.ts";

const N = NotifyType.code;
const { INFORMATIONAL } = ExchangeType.code;
const natAddress = "203.0.113.77";
/** What every crafted peer takes for its inbound SA. */
const spi = 0xc0ffee00;

/** A hub that lets in whoever has the key, and crafted peers that come one after the other with the same SPI. */
function hubOf() {
  const sim = new Simulation({});
  const hub = sim.add("hub", siteConfig({ addresses: [addressB], peers: ["any"], start: "passive" }));
  // As the data plane does: EEXIST.
  hub.refuses = (sa) =>
    sa.direction === "outbound" &&
    hub.installed.some((other) => other.spi === sa.spi && `${other.remote}` === `${sa.remote}`)
      ? "EEXIST"
      : undefined;
  sim.start(hub);
  let entered = 0;
  const enter = (address: string) => {
    const number = ++entered;
    sim.network.faults.length = 0;
    const peer = new CraftedPeer(sim, hub, { own: address, node: addressB });
    peer.spiInitiator = BigInt(number);
    peer.moveTo(endpoint(address, 30_000 + number));
    peer.init();
    const idi = { kind: "IDi", idType: 2, data: new TextEncoder().encode(`peer${number}.example`) } as const;
    const answer = peer.auth((payloads) => [
      ...payloads.map((p) => {
        if (p.kind === "IDi") return idi;
        return p.kind === "AUTH" ? { ...p, data: peer.authFor(idi) } : p;
      }),
      n(N.MOBIKE_SUPPORTED),
    ])!;
    sim.run(100);
    return { peer, answer };
  };
  return { sim, hub, enter };
}

const notifiesOf = ({ payloads }: Answer) =>
  payloads.filter((p): p is NotifyPayload => p.kind === "N").map((p) => p.type);

describe("two peers that chose the same SPI, which only each for itself must not do (RFC 4301 §4.1)", () => {
  it("behind one address: the second is refused its CHILD_SA, and the first one's stays", () => {
    const { sim, hub, enter } = hubOf();
    enter(natAddress);
    const before = hub.installed.map((sa) => sa.spi);
    const { answer } = enter(natAddress);
    expect(notifiesOf(answer)).toContain(N.TEMPORARY_FAILURE);
    sim.run(1000);
    expect(hub.installed.map((sa) => sa.spi)).toEqual(before);
    expect(hub.refused).toBe(false);
  });

  it("at two addresses: what one of them has used up says nothing about the other", () => {
    const { hub, sim, enter } = hubOf();
    enter("203.0.113.1");
    enter("203.0.113.2");
    const [first, second] = hub.installed.filter((sa) => sa.direction === "outbound");
    expect([first!.spi, second!.spi]).toEqual([spi, spi]);
    const about = { kind: "hardLifetime", spi, direction: "outbound" } as const;
    const deletes = () => sim.network.trace.filter((t) => t.startsWith("hub: INFORMATIONAL request")).length;
    sim.event(hub, { ...about, remote: endpoint("203.0.113.9").address });
    expect(deletes()).toBe(0);
    sim.event(hub, { ...about, remote: second!.remote });
    expect(deletes()).toBe(1);
  });

  it("one that moves to the other's address loses its CHILD_SA, and nobody else does", () => {
    const { hub, sim, enter } = hubOf();
    enter("203.0.113.1");
    const { peer } = enter("203.0.113.2");
    const [first] = hub.installed.filter((sa) => sa.direction === "outbound");
    peer.moveTo(endpoint("203.0.113.1", 30_002));
    peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES)]);
    const check = peer.received.at(-1)!;
    peer.answer(check, peer.open(check)!);
    sim.run(100);
    expect(peer.open(peer.received.at(-1)!)).toMatchObject([{ kind: "D", protocolId: ProtocolId.code.ESP }]);
    const outbound = () => hub.installed.filter((sa) => sa.direction === "outbound");
    expect(outbound().filter((sa) => sa.remote.equals(first!.remote))).toEqual([first]);
    peer.answer(peer.received.at(-1)!, []);
    sim.run(100);
    expect(outbound()).toEqual([first]);
  });
});
