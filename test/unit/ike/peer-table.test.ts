import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { mayExpect, PeerTable } from "../../../src/ike/common/peer-table.ts";
import { SaTable } from "../../../src/ike/common/sa-table.ts";
import type { Identity, PeerSettings } from "../../../src/ike/common/settings.ts";
import { identityPayload } from "../../../src/ike/v2/identity.ts";
import type { IkeSa } from "../../../src/ike/v2/ike-sa.ts";

const ip = IpAddress.parse;
const here = ip("192.0.2.1");

describe("the peers that may be calling", () => {
  const fixed = peer("fixed", { remote: [ip("198.51.100.1")] });
  const twice = peer("twice", { remote: [ip("198.51.100.1"), ip("198.51.100.1")] });
  const named = peer("named", { remote: [ip("198.51.100.2")], roaming: true });
  const anywhere = peer("anywhere", { roaming: true });
  const elsewhere = peer("elsewhere", { local: [ip("192.0.2.9")], roaming: true });
  const table = new PeerTable([anywhere, fixed, named, elsewhere, twice]);
  const ids = (local: string, remote: string) => table.candidates(ip(local), ip(remote)).map((p) => p.id);

  it("are those at its address, each once, and then those that can be anywhere", () => {
    expect(ids("192.0.2.1", "198.51.100.1")).toEqual(["fixed", "twice", "anywhere", "named"]);
    expect(ids("192.0.2.1", "198.51.100.2")).toEqual(["named", "anywhere"]);
    expect(ids("192.0.2.1", "203.0.113.7")).toEqual(["anywhere", "named"]);
  });

  it("have the address that was called", () => {
    expect(ids("192.0.2.9", "198.51.100.1")).toEqual(["elsewhere"]);
    expect(ids("192.0.2.3", "198.51.100.1")).toEqual([]);
  });

  it("follow a peer whose name leads elsewhere, which others do not notice", () => {
    const moving = new PeerTable([anywhere, fixed, named]);
    const at = (remote: string) => moving.candidates(here, ip(remote)).map((p) => p.id);
    expect(at("198.51.100.2")).toEqual(["named", "anywhere"]);
    const moved = peer("named", { remote: [ip("198.51.100.1"), ip("198.51.100.9")], roaming: true });
    moving.update(moved);
    expect(moving.get("named")).toBe(moved);
    expect(at("198.51.100.2")).toEqual(["anywhere", "named"]);
    expect(at("198.51.100.9")).toEqual(["named", "anywhere"]);
    expect(at("198.51.100.1")).toEqual(["fixed", "named", "anywhere"]);
    moving.update(peer("stranger", { remote: [ip("198.51.100.3")] }));
    expect(moving.get("stranger")).toBeUndefined();
    expect(at("198.51.100.3")).toEqual(["anywhere", "named"]);
  });

  it("are one list for all strangers", () => {
    expect(table.candidates(here, ip("203.0.113.1"))).toBe(table.candidates(here, ip("203.0.113.2")));
  });
});

describe("the peers that may expect an identity", () => {
  const fqdn = (name: string): Identity => ({ kind: "fqdn", fqdn: name });
  const peers = [
    ...Array.from({ length: 100 }, (_, i) => peer(`p${i}`, { remoteId: fqdn(`P${i % 50}.example`) })),
    peer("whoever has the key", { roaming: true }),
    peer("keyed", { remoteId: { kind: "keyId", keyId: new TextEncoder().encode("p7.example") } }),
  ];
  const ids = (id: Identity) => mayExpect(peers, identityPayload("IDi", id)).map((p) => p.id);

  it("are those with that name in any case, and those that expect no certain one, in order", () => {
    expect(ids(fqdn("p7.EXAMPLE"))).toEqual(["p7", "p57", "whoever has the key"]);
    expect(ids(fqdn("stranger.example"))).toEqual(["whoever has the key"]);
  });

  it("are told apart by the kind of the identity", () => {
    const keyId = { kind: "keyId", keyId: new TextEncoder().encode("p7.example") } as const;
    expect(ids(keyId)).toEqual(["whoever has the key", "keyed"]);
  });

  it("are all of a few", () => {
    const few = peers.slice(0, 3);
    expect(mayExpect(few, identityPayload("IDi", fqdn("p7.example")))).toEqual(few);
  });
});

describe("the table of IKE SAs", () => {
  const ikeSa = (spiLocal: bigint, id: string | undefined, createdAt: number) => {
    const state = { name: "ESTABLISHED" };
    const is = (name: string) => state.name === name;
    return {
      spiLocal,
      peer: id === undefined ? undefined : { id },
      createdAt,
      state,
      is,
    } as unknown as IkeSa;
  };

  it("finds them by SPI and by peer, the newest last, and forgets the closed ones of a peer first", () => {
    const table = new SaTable<IkeSa>((sa) => sa.is("ESTABLISHED", "CONTENDING"));
    const late = ikeSa(1n, "a", 20);
    const early = ikeSa(2n, undefined, 10);
    for (const sa of [late, early]) table.add(sa);
    expect(table.ofPeer("a")).toEqual([late]);
    early.peer = { id: "a" } as PeerSettings;
    table.onPeerKnown(early);
    expect(table.ofPeer("a")).toEqual([early, late]);

    table.onClosed(early);
    expect(table.ofPeer("a")).toEqual([late]);
    expect(table.get(2n)).toBe(early);
    table.delete(early);
    table.delete(late);
    expect([table.size, table.get(2n), table.has(late), table.ofPeer("a")]).toEqual([
      0,
      undefined,
      false,
      [],
    ]);
  });

  it("are found by their identity where many share a connection, from the moment that it is proven", () => {
    const table = new SaTable<IkeSa>((sa) => sa.is("ESTABLISHED", "CONTENDING"));
    const roaming = (spi: bigint, remoteId: string, state = "ESTABLISHED") =>
      Object.assign(ikeSa(spi, "a", Number(spi)), {
        peer: { id: "a", roaming: true } as PeerSettings,
        remoteId,
        is: (...names: string[]) => names.includes(state),
      }) as IkeSa;
    const [x1, x2, y, begun] = [
      roaming(1n, "x"),
      roaming(2n, "x"),
      roaming(3n, "y"),
      roaming(4n, "x", "INIT_SENT"),
    ];
    for (const sa of [x2, x1, y, begun]) table.add(sa);
    expect(table.alike(x1)).toEqual([x1, x2]);
    expect(table.alike(y)).toEqual([y]);
    table.onClosed(x1);
    table.delete(y);
    expect([table.alike(x2), table.alike(y)]).toEqual([[x2], []]);
  });
});

function peer(id: string, over: Partial<PeerSettings>): PeerSettings {
  return { id, local: [here], remote: [], roaming: false, remoteId: undefined, ...over } as PeerSettings;
}
