import { describe, expect, it } from "vitest";
import { natDetectionHash } from "../../src/crypto/index.ts";
import { notify as n } from "../../src/ike/v2/notify.ts";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import { decodeMessage, type PlainPayload } from "../../src/wire/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import type { Packet } from "./network.ts";
import { endpoint, type Node, type Simulation } from "./simulation.ts";
import { addressA, addressB, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const { INFORMATIONAL } = ExchangeType.code;
const victim = "203.0.113.50";
const secondA = "203.0.113.9";

const pathOf = (node: Node) =>
  [...new Set(node.installed.map((sa) => `${sa.local} ${sa.remote} ${sa.encapsulation.kind}`))].join(", ");

/** What a node sends to one address: all that somebody there gets to see. */
function arrivalsAt(sim: Simulation, address: string): Uint8Array[] {
  const seen: Uint8Array[] = [];
  sim.network.faults.unshift((packet: Packet) => {
    if (`${packet.destination.address}` === address) seen.push(packet.datagram);
    return "pass";
  });
  return seen;
}

const isRequest = (datagram: Uint8Array) => !decodeMessage(datagram).header.response;
const cookieOf = (said: readonly PlainPayload[]) =>
  said.filter((p) => p.kind === "N" && p.type === N.COOKIE2);

describe("an authenticated peer that says that it lives at a victim's address (RFC 4555 §3.7)", () => {
  /** B answers a peer of ours at A's address, which can send with any source address and receives at A's only. */
  function answering() {
    const sites = twoSites();
    const seen = arrivalsAt(sites.sim, addressA);
    const peer = new CraftedPeer(sites.sim, sites.b, { own: addressA, node: addressB });
    sites.sim.start(sites.b);
    peer.init();
    peer.auth((p) => [...p, n(N.MOBIKE_SUPPORTED)]);
    const home = `${addressB} ${addressA} esp`;
    expect(pathOf(sites.b)).toBe(home);
    const update = (from: string) => {
      peer.moveTo(endpoint(from));
      peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES)]);
    };
    /** Answers, in the victim's name, whatever request it got to see. */
    const answerAll = () => {
      peer.moveTo(endpoint(victim));
      for (const request of seen.splice(0).filter(isRequest)) {
        const said = peer.open(request);
        if (said) peer.answer(request, cookieOf(said));
      }
    };
    seen.length = 0;
    return { ...sites, peer, seen, home, update, answerAll };
  }

  it("never sees the COOKIE2 that was sent there, however long it waits", () => {
    const { sim, b, home, seen, update, answerAll } = answering();
    update(victim);
    for (let i = 0; i < 20; i++) {
      sim.run(1000);
      expect(seen.filter(isRequest).length).toBe(0);
      answerAll();
      expect([home, ""]).toContain(pathOf(b));
    }
  });

  it("learns a COOKIE2 by coming home, and cannot use it for the victim's address", () => {
    const { sim, b, home, update, answerAll } = answering();
    update(victim);
    update(addressA);
    update(victim);
    for (let i = 0; i < 5; i++) {
      answerAll();
      sim.run(300);
      expect(pathOf(b)).toBe(home);
    }
  });

  it("an honest peer that comes home while it is asked is believed there at once", () => {
    const { sim, b, peer, home, seen, update } = answering();
    update(victim);
    update(addressA);
    const request = seen.splice(0).filter(isRequest).at(-1)!;
    peer.answer(request, cookieOf(peer.open(request)!));
    sim.run(100);
    expect(pathOf(b)).toBe(home);
  });
});

describe("an authenticated responder that names a victim's address as its own", () => {
  function moved() {
    const id = { kind: "fqdn", fqdn: "a.example" } as const;
    const sites = twoSites({ a: { addresses: [addressA, secondA], localId: id } });
    const seen = arrivalsAt(sites.sim, addressB);
    const peer = new CraftedPeer(sites.sim, sites.a, { own: addressB, node: addressA });
    sites.sim.start(sites.a);
    peer.answerInit((p) => {
      const ids = [peer.spiInitiator, peer.spiResponder] as const;
      return [
        ...p,
        n(N.NAT_DETECTION_SOURCE_IP, natDetectionHash(...ids, endpoint(addressB))),
        n(N.NAT_DETECTION_DESTINATION_IP, natDetectionHash(...ids, endpoint(addressA))),
      ];
    });
    peer.moveTo(endpoint(addressB, 4500), endpoint(addressA, 4500));
    peer.answerAuth((p) => [
      ...p,
      n(N.MOBIKE_SUPPORTED),
      n(N.ADDITIONAL_IP4_ADDRESS, endpoint(victim).address.bytes),
    ]);
    seen.length = 0;
    return { ...sites, peer, seen };
  }

  it("cannot prove it with the COOKIE2 of an update that was tried on its own address too (§3.7, §3.10)", () => {
    const { sim, a, peer, seen } = moved();
    peer.moveTo(endpoint(victim, 4500), endpoint(addressA, 4500));
    sim.setAddresses(a, secondA);
    for (let i = 0; i < 30; i++) {
      // Silent until the paths are suspect, and then the answers have the victim's address as their source.
      sim.run(1000);
      peer.moveTo(endpoint(victim, 4500), endpoint(secondA, 4500));
      if (i >= 4)
        for (const request of seen.splice(0).filter(isRequest)) {
          const said = peer.open(request);
          if (said) peer.answer(request, cookieOf(said));
        }
      const remotes = a.installed.filter((sa) => sa.direction === "outbound").map((sa) => `${sa.remote}`);
      expect(remotes).not.toContain(victim);
    }
  });

  it("is not followed for ever from one invented address to the next", () => {
    const { sim, a, peer } = moved();
    sim.setAddresses(a, secondA);
    const asked = new Set<string>();
    let destination = addressB;
    sim.network.faults.unshift((packet: Packet) => {
      if (packet.from === a.name) {
        destination = `${packet.destination.address}`;
        asked.add(destination);
      }
      return "pass";
    });
    for (let i = 0; i < 300; i++) {
      const request = peer.received
        .splice(0)
        .filter((r) => isRequest(r) && peer.open(r))
        .at(-1);
      if (!request) break;
      const at = destination;
      peer.moveTo(endpoint(at, 4500), endpoint(secondA, 4500));
      // The peer lists other addresses each time before it refuses the one that was tried.
      const further = Array.from({ length: 8 }, (_, k) =>
        n(N.ADDITIONAL_IP4_ADDRESS, Uint8Array.of(100, i >> 8, i & 255, k + 1)),
      );
      peer.request(INFORMATIONAL, further);
      peer.answer(request, [n(N.UNACCEPTABLE_ADDRESSES)]);
    }
    expect(asked.size).toBeLessThan(40);
  });
});
