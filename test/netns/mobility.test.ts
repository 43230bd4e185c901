import { expect, it } from "vitest";
import type { ConnectionStatus } from "../../src/gateway/contract.ts";
import { Culvert, type CulvertOptions } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import type { StrongSwan, StrongSwanOptions } from "../../testbed/strongswan.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import { rebindNat, type Site } from "../../testbed/topology.ts";
import { type PingResult, ping, waitForPing } from "../../testbed/traffic.ts";
import {
  describeInNamespaces,
  espProposal,
  gatewayOn,
  ikeProposal,
  network,
  strongSwanOn,
} from "./support.ts";

const secondA = "192.0.2.11";
const secondB = "192.0.2.12";
const ids = { a: "a.example.net", b: "b.example.net" };

describeInNamespaces("MOBIKE between two culverts (RFC 4555)", [], () => {
  it("goes on from another address when the initiator's is deleted, and back", async () => {
    const { bed, a, b } = await network();
    await addAddress(a, secondA);
    const responder = await Culvert.start(bed, culvertOn(b, a, "b", { start: "passive" }));
    const initiator = await Culvert.start(
      bed,
      culvertOn(a, b, "a", { gateway: { addresses: [a.outerAddress, secondA] } }),
    );
    const before = await up(initiator, a, b);
    const away = await during(a, b, () => deleteAddress(a, a.outerAddress));
    await expectSame(initiator, before, { local: `${secondA}:4500` });
    await expectSameIke(responder, before, { remote: `${secondA}:4500` });
    const back = await during(a, b, async () => {
      await addAddress(a, a.outerAddress);
      await delay(600);
      await deleteAddress(a, secondA);
    });
    await expectSame(initiator, before, { local: `${a.outerAddress}:4500` });
    report("culvert moves, culvert follows", away, back);
  });

  it("goes to the responder's other address when the responder's is deleted", async () => {
    const { bed, a, b } = await network();
    await addAddress(b, secondB);
    const responder = await Culvert.start(
      bed,
      culvertOn(b, a, "b", { start: "passive", gateway: { addresses: [b.outerAddress, secondB] } }),
    );
    const initiator = await Culvert.start(bed, culvertOn(a, b, "a"));
    const before = await up(initiator, a, b);
    const lost = await during(a, b, () => deleteAddress(b, b.outerAddress));
    await expectSame(initiator, before, { remote: `${secondB}:4500` });
    await expectSameIke(responder, before, { local: `${secondB}:4500` });
    report("culvert responder moves, culvert initiator follows", lost);
  });
});

describeInNamespaces("MOBIKE between culvert and strongSwan (RFC 4555)", ["strongswan"], () => {
  it("follows strongSwan, the initiator, to another address", async () => {
    const { bed, a, b } = await network();
    await addAddress(b, secondB);
    const culvert = await Culvert.start(bed, culvertOn(a, b, "a", { start: "passive" }));
    const peer = await namedStrongSwanOn(bed, b, a, { localAddress: "%any" });
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const before = await up(culvert, a, b);
    expect(before.tunnels[0]!.remote).toBe(`${b.outerAddress}:4500`);
    const lost = await during(a, b, () => deleteAddress(b, b.outerAddress));
    await expectSameIke(culvert, before, { remote: `${secondB}:4500` });
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    report("strongSwan moves, culvert follows", lost);
  });

  it("tells strongSwan, the responder, of another address of its own", async () => {
    const { bed, a, b } = await network();
    await addAddress(a, secondA);
    const peer = await namedStrongSwanOn(bed, b, a, { remoteAddress: "%any" });
    const culvert = await Culvert.start(
      bed,
      culvertOn(a, b, "a", {
        forceEncapsulation: true,
        gateway: { addresses: [a.outerAddress, secondA] },
      }),
    );
    const before = await up(culvert, a, b);
    const lost = await during(a, b, () => deleteAddress(a, a.outerAddress));
    await expectSameIke(culvert, before, { local: `${secondA}:4500` });
    expect(await peer.sas()).toContain(secondA);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    report("culvert moves, strongSwan follows", lost);
  });
});

describeInNamespaces("a NAT that gives another port (RFC 7296 §2.23)", ["strongswan"], () => {
  it.each([true, false])("two culverts, MOBIKE %s: the same SAs go on", async (mobike) => {
    const { bed, a, b, nat } = await network({ nat: true });
    const ike = { connection: { dpd: { intervalSeconds: 1 } } };
    const off = { connection: { ...ike.connection, ike: { mobike } } };
    const responder = await Culvert.start(bed, culvertOn(b, a, "b", { start: "passive" }, off));
    const initiator = await Culvert.start(bed, culvertOn(a, b, "a", {}, off));
    const before = await up(initiator, a, b);
    const lost = await during(a, b, () => rebindNat(nat, "30000-30099"));
    const moved = ({ remote }: ConnectionStatus["tunnels"][number]) => /:300\d\d$/.test(`${remote}`);
    await responder.waitFor("moved", ({ tunnels }) => moved(tunnels[0]!));
    await expectSame(initiator, before, {});
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    report(`culvert behind a NAT that rebinds, culvert follows, MOBIKE ${mobike}`, lost);
  });

  it("strongSwan behind it, culvert follows", async () => {
    const { bed, a, b, nat } = await network({ nat: true });
    const culvert = await Culvert.start(bed, culvertOn(b, a, "b", { start: "passive" }));
    const peer = await namedStrongSwanOn(bed, a, b);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const before = await up(culvert, a, b);
    const lost = await during(a, b, () => rebindNat(nat, "30000-30099"));
    await expectSame(culvert, before, {});
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    // strongSwan has not said that it moved, so IKE still looks for it on the old port: it is found by its ESP.
    expect(await culvert.cli(["rekey", "peer"])).toMatchObject({ code: 0 });
    const { spiIn } = before.tunnels[0]!.children[0]!;
    await culvert.waitFor("rekeyed", ({ tunnels }) => tunnels[0]!.children.every((c) => c.spiIn !== spiIn));
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    report("strongSwan behind a NAT that rebinds, culvert follows", lost);
  });

  it("culvert behind it, strongSwan follows", async () => {
    const { bed, a, b, nat } = await network({ nat: true });
    await namedStrongSwanOn(bed, b, a);
    const dpd = { connection: { dpd: { intervalSeconds: 1 } } };
    const culvert = await Culvert.start(bed, culvertOn(a, b, "a", {}, dpd));
    const before = await up(culvert, a, b);
    const lost = await during(a, b, () => rebindNat(nat, "30000-30099"));
    await waitForPing(a.host, b.hostAddress);
    await expectSameIke(culvert, before, {});
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    report("culvert behind a NAT that rebinds, strongSwan follows", lost);
  });
});

describeInNamespaces("NAT on both sides, with ports forwarded to the responder", ["strongswan"], () => {
  it("two culverts; the initiator's NAT gives another port, and the same SAs go on", async () => {
    const { bed, a, b, nat } = await network({ nat: "both" });
    const dpd = { connection: { dpd: { intervalSeconds: 1 } } };
    const responder = await Culvert.start(bed, culvertOn(b, a, "b", { start: "passive" }, dpd));
    const initiator = await Culvert.start(bed, culvertOn(a, b, "a", {}, dpd));
    const before = await up(initiator, a, b);
    expect(before.tunnels[0]!.ike!.nat).toBe("both");
    expect((await responder.waitUp()).tunnels[0]!.ike!.nat).toBe("both");
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    const lost = await during(a, b, () => rebindNat(nat, "30000-30099"));
    await responder.waitFor("moved", ({ tunnels }) => /:300\d\d$/.test(`${tunnels[0]!.remote}`));
    await waitForPing(a.host, b.hostAddress);
    await expectSame(initiator, before, {});
    report("NAT on both sides, the initiator's rebinds", lost);
  });

  it("strongSwan initiates, and culvert answers", async () => {
    const { bed, a, b } = await network({ nat: "both" });
    const culvert = await Culvert.start(bed, culvertOn(b, a, "b", { start: "passive" }));
    const peer = await namedStrongSwanOn(bed, a, b);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const before = await up(culvert, a, b);
    expect(before.tunnels[0]!.ike!.nat).toBe("both");
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });
});

/** Identities that stay when addresses change. */
function culvertOn(
  own: Site,
  peer: Site,
  name: string,
  overrides: Partial<CulvertOptions> = {},
  { connection }: { connection?: Readonly<Record<string, unknown>> } = {},
): CulvertOptions {
  const base = gatewayOn(own, peer, name, overrides);
  const ike = {
    proposals: [ikeProposal],
    localId: idOf(own),
    remoteId: idOf(peer),
    ...(connection?.["ike"] as object | undefined),
  };
  // A rehearsal would replace the very SAs that are to be seen going on.
  const ipsec = { proposals: [espProposal], rehearseRekey: false };
  return { ...base, connection: { ...base.connection, ipsec, ...connection, ike } };
}

function namedStrongSwanOn(
  bed: Testbed,
  own: Site,
  peer: Site,
  overrides: Partial<StrongSwanOptions> = {},
): Promise<StrongSwan> {
  const ids = { localId: idOf(own), remoteId: idOf(peer) };
  return strongSwanOn(bed, own, peer, { ...ids, extraConnection: ["mobike = yes"], ...overrides });
}

const idOf = (site: Site): string => (site.subnet.startsWith("10.1.") ? ids.a : ids.b);

async function up(culvert: Culvert, a: Site, b: Site): Promise<ConnectionStatus> {
  await culvert.waitUp();
  await waitForPing(a.host, b.hostAddress);
  return culvert.connection();
}

/** Echo requests both ways, one each 10 ms for 1.5 seconds; 300 ms into them `change` happens. */
async function during(a: Site, b: Site, change: () => Promise<void>): Promise<PingResult[]> {
  const steady = { count: 150, intervalMs: 10 };
  const results = Promise.all([
    ping(a.host, b.hostAddress, steady),
    ping(b.host, a.hostAddress, steady),
    delay(300).then(change),
  ]);
  const [there, back] = await results;
  for (const result of [there, back]) expect(result.received).toBeGreaterThan(50);
  return [there, back];
}

interface Ends {
  readonly local?: string;
  readonly remote?: string;
}

/** The IKE SA and the CHILD_SA of before, on another path. */
async function expectSame(culvert: Culvert, before: ConnectionStatus, path: Ends): Promise<void> {
  const is = await expectSameIke(culvert, before, path);
  const spis = ({ children: [child] }: ConnectionStatus["tunnels"][number]) => [child!.spiIn, child!.spiOut];
  expect(spis(is)).toEqual(spis(before.tunnels[0]!));
}

/**
 * The IKE SA of before. Where strongSwan's own address or its peer's changes it rekeys the CHILD_SA afterwards: its
 * kernel-libipsec cannot move one.
 */
async function expectSameIke(
  culvert: Culvert,
  before: ConnectionStatus,
  path: Ends,
): Promise<ConnectionStatus["tunnels"][number]> {
  const now = await culvert.waitFor("moved", ({ tunnels: [tunnel] }) => {
    const { local, remote } = tunnel!;
    return (path.local ?? local) === local && (path.remote ?? remote) === remote;
  });
  const is = now.tunnels[0]!;
  expect(is.ike!.spiInitiator).toBe(before.tunnels[0]!.ike!.spiInitiator);
  return is;
}

function report(what: string, ...runs: readonly PingResult[][]): void {
  const text = runs.map((run) => run.map(({ sent, received }) => `${sent - received}/${sent}`).join(" + "));
  process.stderr.write(`lost echoes (a to b + b to a), ${what}: ${text.join(", then ")}\n`);
}

const addAddress = ({ gateway }: Site, address: string) =>
  must(["ip", "-n", gateway, "address", "add", `${address}/24`, "dev", "wan"]).then(() => {});

/** The kernel would delete the secondary addresses of the subnet with the primary one. */
async function deleteAddress({ gateway }: Site, address: string): Promise<void> {
  await must(["sysctl", "-qw", "net.ipv4.conf.wan.promote_secondaries=1"], { netns: gateway });
  await must(["ip", "-n", gateway, "address", "del", `${address}/24`, "dev", "wan"]);
}
