/**
 * The test network: two hosts, two gateways, four network namespaces.
 *
 *     hA ──────────── gA ═══════════════ gB ──────────── hB
 *     10.1.0.2   10.1.0.1 192.0.2.1   192.0.2.2 10.2.0.1   10.2.0.2
 *     fd00:1::2  fd00:1::1 2001:db8::1 2001:db8::2 fd00:2::1 fd00:2::2
 *
 * With NAT a fifth namespace stands on the left of the outer link: gA is 198.51.100.2 behind `nat`, which masquerades
 * as 192.0.2.1. With NAT on both sides a sixth one stands on the right: gB is 203.0.113.2 behind `natB`, which masquerades
 * as 192.0.2.2 and forwards UDP 500 and 4500 of that address to gB. The gateways know no route to each other's inner network: what arrives, came through a tunnel.
 */
import { must, run } from "./exec.ts";
import type { Testbed } from "./testbed.ts";

export type Side = "a" | "b";

export interface Site {
  /** Namespaces of the inner host and of the gateway. */
  readonly host: string;
  readonly gateway: string;
  readonly hostAddress: string;
  readonly hostAddress6: string;
  readonly innerAddress: string;
  readonly subnet: string;
  readonly subnet6: string;
  /** The gateway's own outer address, and the one under which its peer sees it (differs behind NAT). */
  readonly outerAddress: string;
  readonly seenAddress: string;
  readonly outerAddress6: string;
}

export interface Topology {
  readonly a: Site;
  readonly b: Site;
  /** The NAT routers' namespaces, when there are any. */
  readonly nat: string | undefined;
  readonly natB: string | undefined;
}

export interface TopologyOptions {
  readonly nat?: boolean | "both";
}

/** Builds the network in `bed`; it goes away with the bed. */
export async function buildTopology(bed: Testbed, options: TopologyOptions = {}): Promise<Topology> {
  const nat = options.nat === true || options.nat === "both";
  const both = options.nat === "both";
  const a = site("a", await bed.namespace("hA"), await bed.namespace("gA"), nat);
  const b = site("b", await bed.namespace("hB"), await bed.namespace("gB"), both);
  const router = nat ? await bed.namespace("nat") : undefined;
  const routerB = both ? await bed.namespace("natB") : undefined;
  for (const { host, gateway, ...address } of [a, b]) {
    await connect([host, "eth0"], [gateway, "lan"]);
    await configure(host, "eth0", [`${address.hostAddress}/24`, `${address.hostAddress6}/64`]);
    await configure(gateway, "lan", [
      `${address.innerAddress}/24`,
      `${address.subnet6.replace("/64", "1/64")}`,
    ]);
    await must(["ip", "-n", host, "route", "add", "default", "via", address.innerAddress]);
    const inner6 = address.subnet6.replace("/64", "1");
    await must(["ip", "-n", host, "-6", "route", "add", "default", "via", inner6]);
    await forwarding(gateway);
  }
  if (router === undefined) {
    await connect([a.gateway, "wan"], [b.gateway, "wan"]);
    await configure(a.gateway, "wan", [`${a.outerAddress}/24`, `${a.outerAddress6}/64`]);
  } else {
    await connect([a.gateway, "wan"], [router, "left"]);
    await connect([router, "right"], routerB ? [routerB, "left"] : [b.gateway, "wan"]);
    await configure(a.gateway, "wan", [`${a.outerAddress}/24`]);
    await configure(router, "left", ["198.51.100.1/24"]);
    await configure(router, "right", [`${a.seenAddress}/24`]);
    await must(["ip", "-n", a.gateway, "route", "add", "192.0.2.0/24", "via", "198.51.100.1"]);
    await forwarding(router);
    await must(["nft", "-f", "-"], { netns: router, input: masquerade });
  }
  if (routerB === undefined) {
    await configure(b.gateway, "wan", [`${b.outerAddress}/24`, `${b.outerAddress6}/64`]);
  } else {
    await connect([routerB, "right"], [b.gateway, "wan"]);
    await configure(routerB, "left", [`${b.seenAddress}/24`]);
    await configure(routerB, "right", ["203.0.113.1/24"]);
    await configure(b.gateway, "wan", [`${b.outerAddress}/24`]);
    await must(["ip", "-n", b.gateway, "route", "add", "192.0.2.0/24", "via", "203.0.113.1"]);
    await forwarding(routerB);
    await must(["nft", "-f", "-"], { netns: routerB, input: portForward(b.outerAddress) });
  }
  return { a, b, nat: router, natB: routerB };
}

/** Gives the gateways plain routes to each other's inner network: the unencrypted limit of a benchmark. */
export async function routeInTheClear(topology: Topology, verb: "add" | "del"): Promise<void> {
  const { a, b } = topology;
  await must(["ip", "-n", a.gateway, "route", verb, b.subnet, "via", b.outerAddress]);
  await must(["ip", "-n", b.gateway, "route", verb, a.subnet, "via", a.outerAddress]);
}

async function connect(left: readonly [string, string], right: readonly [string, string]): Promise<void> {
  const [leftNamespace, leftName] = left;
  const [rightNamespace, rightName] = right;
  await must([
    ...["ip", "link", "add", leftName, "netns", leftNamespace, "type", "veth"],
    ...["peer", "name", rightName, "netns", rightNamespace],
  ]);
}

async function configure(netns: string, device: string, addresses: readonly string[]): Promise<void> {
  for (const address of addresses) await must(["ip", "-n", netns, "address", "add", address, "dev", device]);
  await must(["ip", "-n", netns, "link", "set", device, "up"]);
}

async function forwarding(netns: string): Promise<void> {
  const keys = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
  // Answers may come back on another device than the kernel would choose: a tunnel does that by nature.
  keys.push("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0");
  for (const key of keys) {
    const set = await run(["sysctl", "-qw", key], { netns });
    if (set.code !== 0) throw new Error(`sysctl ${key}: ${set.stderr.trim()}`);
  }
}

function site(side: Side, host: string, gateway: string, behindNat: boolean): Site {
  const n = side === "a" ? 1 : 2;
  return {
    host,
    gateway,
    hostAddress: `10.${n}.0.2`,
    hostAddress6: `fd00:${n}::2`,
    innerAddress: `10.${n}.0.1`,
    subnet: `10.${n}.0.0/24`,
    subnet6: `fd00:${n}::/64`,
    outerAddress: behindNat ? { a: "198.51.100.2", b: "203.0.113.2" }[side] : `192.0.2.${n}`,
    seenAddress: `192.0.2.${n}`,
    outerAddress6: `2001:db8::${n}`,
  };
}

/**
 * The masquerading router forgets every mapping and gives other ports from now on, as after a reboot: the kernel drops
 * the mappings of a device that goes down.
 */
export async function rebindNat(router: string | undefined, ports: string): Promise<void> {
  if (router === undefined) throw new Error("there is no NAT to rebind");
  const rules = `flush table ip nat
${masquerade.replace(/masquerade$/m, `meta l4proto udp masquerade to :${ports}`)}`;
  await must(["nft", "-f", "-"], { netns: router, input: rules });
  await must(["ip", "-n", router, "link", "set", "right", "down"]);
  await must(["ip", "-n", router, "link", "set", "right", "up"]);
}

const portForward = (inside: string): string => `
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100;
    iifname "left" udp dport { 500, 4500 } dnat to ${inside}
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "left" masquerade
  }
}
`;

const masquerade = `
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "right" masquerade
  }
}
`;
