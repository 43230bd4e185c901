import { beforeEach, describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { BothVersions, closeOtherVersion } from "../../../src/gateway/ike.ts";
import type { EndpointDeps, IkeEngine } from "../../../src/ike/common/engine.ts";
import type { PeerSettings } from "../../../src/ike/common/settings.ts";
import type { ChildSaView, IkeSaView } from "../../../src/ike/common/views.ts";

const here = { address: IpAddress.parse("192.0.2.1"), port: 500 };
const there = { address: IpAddress.parse("198.51.100.7"), port: 500 };
const remote = there.address;

/** What the engines were told, as `v1 handleDatagram`. */
let calls: string[] = [];
let sas: Record<"v1" | "v2", IkeSaView[]>;
let shared: NonNullable<EndpointDeps["children"]>;
let both: BothVersions;
let othersOf: Record<"v1" | "v2", NonNullable<EndpointDeps["otherVersion"]>>;

beforeEach(() => {
  calls = [];
  sas = { v1: [], v2: [] };
  othersOf = { v1: () => [], v2: () => [] };
  both = new BothVersions(engine("v1", 1), engine("v2", 10), {} as EndpointDeps);
});

/** Counts `n` of everything that can be counted. */
function engine(name: "v1" | "v2", n: number) {
  const counts: Readonly<Record<string, unknown>> = {
    size: n,
    halfOpen: n,
    silent: n === 1,
    drops: n === 1 ? { malformed: n } : { malformed: n, fragment: n },
    kept: { sas: n, requests: n, deadlines: n, offers: n },
    sasOf: (id: string) => sas[name].filter((sa) => sa.peer?.id === id),
    sas: () => sas[name],
    pollTimeout: () => 100 - n,
  };
  return ({ children, otherVersion }: EndpointDeps): IkeEngine => {
    shared = children!;
    othersOf[name] = otherVersion!;
    const get = (_: object, key: string) =>
      counts[key] ??
      ((...args: readonly unknown[]) => {
        const ids = Array.isArray(args[0]) ? ` ${args[0].map(({ id }) => id)}` : "";
        calls.push(`${name} ${key}${ids}`);
        if (key === "close") calls.push(`  because ${args[2]}`);
      });
    return new Proxy({}, { get }) as IkeEngine;
  };
}

const peer = (id: string, version: PeerSettings["version"]) =>
  ({ id, version, roaming: false, local: [here.address], remote: [remote] }) as unknown as PeerSettings;
const ikeSa = (version: 1 | 2, createdAt: number, more: Partial<IkeSaView> = {}) => {
  const sa = { version, createdAt, peer: peer("a/0", "auto"), established: true, ...more } as IkeSaView;
  sas[`v${version}`].push(sa);
  return sa;
};

describe("both versions of IKE on one gateway", () => {
  it("a datagram goes by the major version of its header, and what is too short for one to IKEv2", () => {
    const datagram = new Uint8Array(28);
    for (const version of [0x10, 0x1f, 0x20, 0x30, 0x00]) {
      datagram[17] = version;
      both.handleDatagram(0, here, there, datagram);
    }
    both.handleDatagram(0, here, there, new Uint8Array(17).fill(0x10));
    const to = (name: string) => `${name} handleDatagram`;
    expect(calls).toEqual(["v1", "v1", "v2", "v2", "v2", "v2"].map(to));
  });

  it("each engine knows the peers that may speak it, and auto begins with IKEv2", () => {
    const [old, current, either] = [peer("o", "ikev1"), peer("c", "ikev2"), peer("e", "auto")];
    both.setPeers([old, current, either]);
    expect(calls.splice(0)).toEqual(["v1 setPeers o,e", "v2 setPeers c,e"]);
    for (const p of [old, current, either]) both.initiate(0, p, remote);
    expect(calls.splice(0)).toEqual(["v1 initiate", "v2 initiate", "v2 initiate"]);
    for (const p of [old, current, either]) both.updatePeer(p);
    expect(calls).toEqual(["v1 updatePeer", "v2 updatePeer", "v1 updatePeer", "v2 updatePeer"]);
  });

  it("each engine can tell who speaks the other version alone", () => {
    both.setPeers([peer("o", "ikev1"), peer("c", "ikev2"), peer("e", "auto")]);
    const ids = (name: "v1" | "v2") => othersOf[name](here.address, remote).map(({ id }) => id);
    expect([ids("v1"), ids("v2")]).toEqual([["c"], ["o"]]);
    both.updatePeer({ ...peer("c", "ikev2"), remote: [IpAddress.parse("203.0.113.9")] });
    expect([ids("v1"), ids("v2")]).toEqual([[], ["o"]]);
  });

  it("an SA goes back to the engine that made it", () => {
    const [old, current] = [ikeSa(1, 0), ikeSa(2, 0)];
    for (const sa of [old, current]) both.requestChild(0, sa);
    expect(calls).toEqual(["v1 requestChild", "v2 requestChild"]);
  });

  it("what the data plane says of an SA reaches its owner only, also where two peers chose the same SPI", () => {
    const elsewhere = IpAddress.parse("203.0.113.9");
    const child = (spiIn: number, to: IpAddress) =>
      ({
        spiIn,
        spiOut: 7,
        remote: to,
        refused: new Set(),
        state: { name: "INSTALLED" },
      }) as unknown as ChildSaView;
    shared.own(ikeSa(1, 0), child(1, remote));
    shared.own(ikeSa(2, 0), child(2, elsewhere));
    both.handleLifetime(0, { kind: "hardLifetime", direction: "outbound", spi: 7, remote });
    both.handleLifetime(0, { kind: "softLifetime", direction: "outbound", spi: 7, remote: elsewhere });
    both.handleSaInUse(0, 1);
    both.handlePeerMoved(0, 2, there);
    both.handleRefusedSa(0, { direction: "inbound", spi: 1, remote, reason: "full" });
    both.handleSaInUse(0, 3);
    expect(calls).toEqual([
      "v1 handleLifetime",
      "v2 handleLifetime",
      "v1 handleSaInUse",
      "v2 handlePeerMoved",
      "v1 handleRefusedSa",
    ]);
  });

  it("counts both, lists a peer's IKE SAs by age, and wakes for the earlier", () => {
    const [second, first, third] = [ikeSa(1, 2), ikeSa(2, 1), ikeSa(2, 3)];
    ikeSa(2, 0, { peer: peer("b/0", "auto") });
    expect(both.sasOf("a/0")).toEqual([first, second, third]);
    expect(both.sas()).toHaveLength(4);
    expect([both.size, both.halfOpen, both.silent, both.pollTimeout()]).toEqual([11, 11, false, 90]);
    expect(both.drops).toEqual({ malformed: 11, fragment: 10 });
    expect(both.kept).toEqual({ sas: 11, requests: 11, deadlines: 11, offers: 11 });
  });

  it("the version that carries packets ends the other one with the same peer, and with nobody else", () => {
    const carries = ikeSa(2, 5);
    ikeSa(2, 4);
    ikeSa(1, 3);
    ikeSa(1, 6, { established: false, connecting: true });
    ikeSa(1, 7, { peer: peer("b/0", "auto") });
    closeOtherVersion(both, 0, carries);
    expect(calls.splice(0)).toEqual(["v1 close", "  because superseded", "v1 close", "  because duplicate"]);
    const roaming = { ...peer("r/0", "auto"), roaming: true };
    const road = ikeSa(1, 8, { peer: roaming, remoteId: "road" });
    ikeSa(2, 8, { peer: roaming, remoteId: "rail" });
    closeOtherVersion(both, 0, road);
    closeOtherVersion(both, 0, ikeSa(1, 9, { peer: peer("a/0", "ikev1") }));
    expect(calls).toEqual([]);
  });
});
