/**
 * Traffic that must not stop: numbered datagrams in both directions through a tunnel whose SAs are replaced all the
 * time, and an account of every one that did not arrive.
 */
import type { DaemonStatus } from "../src/api/control-protocol.ts";
import { connectControl } from "../src/cli/client.ts";
import { type Culvert, connectionName } from "./culvert.ts";
import { delay, must, type Program } from "./exec.ts";
import type { StrongSwan } from "./strongswan.ts";
import type { Testbed } from "./testbed.ts";
import type { Topology } from "./topology.ts";
import { type UdpStream, udpStream } from "./udp.ts";

/** Asks for a rekey and does not wait for it; one that is refused, as in a collision, is nobody's failure. */
export type Rekey = (kind: "CHILD_SA" | "IKE SA") => Promise<void>;

export function rekeyByCulvert(culvert: Culvert): Rekey {
  return async (kind) => {
    const client = await connectControl(culvert.controlSocket);
    try {
      await client.ask({ verb: "rekey", connection: connectionName, ike: kind === "IKE SA" });
    } finally {
      client.close();
    }
  };
}

export function rekeyByStrongSwan(peer: StrongSwan): Rekey {
  return async (kind) => {
    await peer.swanctl(["--rekey", ...(kind === "IKE SA" ? ["--ike", "peer"] : ["--child", "net"])]);
  };
}

export interface SteadyOptions {
  readonly seconds: number;
  /** Datagrams per second and direction, with `bytes` of payload. */
  readonly pps: number;
  readonly bytes: number;
  readonly childEveryMs: number;
  readonly ikeEveryMs: number;
  /** In turn: this one, that one, both at once, who then sleep until both have been asked. */
  readonly rekey: { readonly a: Rekey; readonly b: Rekey; readonly freeze: readonly Freeze[] };
}

/** A process, as far as it can be stopped and continued. */
export type Freeze = Pick<Program, "signal">;

export interface Steady {
  readonly toB: UdpStream;
  readonly toA: UdpStream;
  /** How often each kind was asked for, by either side. */
  readonly asked: { readonly children: number; readonly ikeSas: number };
}

/** Sends both ways for `seconds` and has SAs replaced meanwhile. */
export async function steadyTraffic(bed: Testbed, { a, b }: Topology, o: SteadyOptions): Promise<Steady> {
  const asked = { children: 0, ikeSas: 0 };
  let over = false;
  const drive = async (everyMs: number, kind: Parameters<Rekey>[0], count: () => void) => {
    const parties = [[o.rekey.a], [o.rekey.b], [o.rekey.a, o.rekey.b]];
    // On a fast link an exchange takes a few milliseconds: two hardly ever overlap unless both wake up to them.
    const together = async (ask: () => Promise<void>) => {
      for (const program of o.rekey.freeze) program.signal("SIGSTOP");
      try {
        const asked = ask();
        await Promise.race([asked, delay(askedMs)]);
        for (const program of o.rekey.freeze) program.signal("SIGCONT");
        await asked;
      } finally {
        for (const program of o.rekey.freeze) program.signal("SIGCONT");
      }
    };
    const begun = performance.now();
    for (let turn = 0; ; turn++) {
      while (!over && performance.now() < begun + (turn + 1) * everyMs) await delay(10);
      if (over) return;
      const those = parties[turn % parties.length]!;
      const ask = async () => {
        await Promise.all(those.map((rekey) => rekey(kind)));
      };
      for (const _ of those) count();
      await (those.length > 1 ? together(ask) : ask());
    }
  };
  const stream = (from: string, to: string, address: string, port: number) =>
    udpStream(bed, { from, to, address, port, bytes: o.bytes }, o.pps, o.seconds * 1000);
  const drivers = [
    drive(o.childEveryMs, "CHILD_SA", () => asked.children++),
    drive(o.ikeEveryMs, "IKE SA", () => asked.ikeSas++),
  ];
  // One that fails is heard of when the streams have ended.
  for (const driver of drivers) driver.catch(() => {});
  try {
    const [toB, toA] = await Promise.all([
      stream(a.host, b.host, b.hostAddress, 5998),
      stream(b.host, a.host, a.hostAddress, 5999),
    ]);
    return { toB, toA, asked };
  } finally {
    over = true;
    await Promise.all(drivers);
  }
}

/** Everything that counts packets which died, by where: what is zero is left out. */
export async function deaths(
  { a, b }: Topology,
  ...culverts: readonly Culvert[]
): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  const add = (where: string, count: number) => {
    if (count !== 0) found[where] = count;
  };
  for (const culvert of culverts) {
    const { drops } = await culvert.status();
    for (const { reason, packets } of drops) add(`${culvert.name} ${reason}`, packets);
  }
  const names = { hA: a.host, gA: a.gateway, gB: b.gateway, hB: b.host };
  for (const [name, netns] of Object.entries(names)) {
    const links = JSON.parse(await must(["ip", "-n", netns, "-j", "-s", "link"])) as {
      ifname: string;
      stats64: { rx: { dropped: number }; tx: { dropped: number } };
    }[];
    for (const { ifname, stats64 } of links) {
      add(`${name} ${ifname} rx dropped`, stats64.rx.dropped);
      add(`${name} ${ifname} tx dropped`, stats64.tx.dropped);
    }
    const udp = (await must(["cat", "/proc/net/snmp"], { netns }))
      .split("\n")
      .filter((l) => l.startsWith("Udp:"));
    const [keys, values] = udp.map((line) => line.split(" ").slice(1));
    for (const key of ["RcvbufErrors", "SndbufErrors"])
      add(`${name} udp ${key}`, Number(values?.[keys?.indexOf(key) ?? -1] ?? 0));
  }
  return found;
}

/** SAs of a culvert as it stands: in its control plane, and installed. */
export function sasOf({ gateway, traffic }: DaemonStatus): {
  ike: number;
  children: number;
  installed: number;
} {
  const children = gateway.connections.flatMap(({ tunnels }) => tunnels.flatMap((t) => t.children));
  return { ike: gateway.ike.sas, children: children.length, installed: traffic.length };
}

/** By then the question of a command that was just started is at the daemon's socket. */
const askedMs = 60;
