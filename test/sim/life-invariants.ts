/** What holds after every step of any life, and what holds when it has become quiet. */
import assert from "node:assert/strict";
import { isSubset } from "../../src/ike/common/selectors.ts";
import type { InstalledSa, Node } from "./simulation.ts";

/**
 * More than any order of events can need at once: an IKE SA and its successors of both sides, and closed ones that
 * keep an answer; the CHILD_SA, the successors of both sides, and replaced ones that still receive.
 */
const mostInIkev2 = { ikeSas: 16, installed: 16, backlog: 8, requests: 8, deadlines: 68, offers: 8 };

/** A Delete has no answer in IKEv1: pairs that were replaced go one after the other, each when it is no longer used. */
const mostInIkev1 = { ...mostInIkev2, installed: 56 };

/** One gateway, at any time. What the fake data plane checks by itself is not repeated here. */
export function checkStep(node: Node): void {
  const { ike } = node.gateway;
  let inbound = 0;
  let outbound = 0;
  const sas = ike.sas();
  for (const sa of sas) {
    if (sa.backlog > mostInIkev2.backlog) fail(node, `has ${sa.backlog} exchanges waiting`);
    for (const child of sa.children.values()) {
      inbound++;
      if (!find(node, "inbound", child.spiIn)) fail(node, `owns inbound SPI ${child.spiIn}, not installed`);
      if (child.state.name === "LINGERING") continue;
      outbound++;
      if (!find(node, "outbound", child.spiOut))
        fail(node, `owns outbound SPI ${child.spiOut}, not installed`);
    }
  }
  const { length } = node.installed;
  if (length !== inbound + outbound) fail(node, `has ${length} SAs installed and owns ${inbound + outbound}`);
  const { requests, deadlines, offers } = ike.kept;
  const now = { ikeSas: sas.length, installed: length, backlog: 0, requests, deadlines, offers };
  const most = sas.some((sa) => sa.version === 1) ? mostInIkev1 : mostInIkev2;
  for (const key of Object.keys(most) as (keyof typeof most)[])
    if (now[key] > most[key]) fail(node, `keeps ${now[key]} ${key}`);
}

/** One gateway, at any time: an SPI is in use for each CHILD_SA, and for each that an exchange under way may make. */
export function checkSpis(node: Node, now: number): void {
  const { ike } = node.gateway;
  const { inboundSpis } = node.gateway.status(now).ike;
  let owned = 0;
  let asking = 0;
  for (const sa of ike.sas()) {
    owned += sa.children.size;
    asking += sa.negotiations;
  }
  if (inboundSpis < owned || inboundSpis > owned + asking)
    fail(
      node,
      `has ${inboundSpis} SPIs in use, ${owned} CHILD_SAs and ${asking} exchanges that may make one`,
    );
}

/** Each has something to send with, for each pair of subnets, and what it prefers the other can open. */
export function isWell(a: Node, b: Node): boolean {
  return opens(a, b) && opens(b, a);
}

function opens(from: Node, to: Node): boolean {
  for (const spi of preferred(from))
    if (spi === undefined || find(to, "inbound", spi)?.key !== find(from, "outbound", spi)?.key) return false;
  return true;
}

/** What a packet of each pair of subnets would go out on; at least one. */
export function preferred(from: Node): readonly (number | undefined)[] {
  const outbound = from.plan?.connections[0]?.outbound ?? [];
  if (!from.severalPairs) return [outbound[0]?.spi];
  const pairs = from.gateway.ike.sas().find((sa) => sa.peer)?.peer?.pairs;
  if (!pairs) return [undefined];
  return pairs.map(({ local, remote }) => {
    const carries = (sa: InstalledSa | undefined) =>
      sa && isSubset([local], sa.localSelectors) && isSubset([remote], sa.remoteSelectors);
    return outbound.find(({ spi }) => carries(find(from, "outbound", spi)))?.spi;
  });
}

/** One IKE SA on each side, the same; its CHILD_SA, the same; and nothing else. */
export function isSettled(a: Node, b: Node): boolean {
  return isWell(a, b) && [a, b].every(isAlone) && theOne(a).spiLocal === theOne(b).spiRemote;
}

function isAlone(node: Node): boolean {
  const { ike } = node.gateway;
  return (
    ike.kept.sas === 1 &&
    ike.halfOpen === 0 &&
    ike.kept.requests <= 1 &&
    theOne(node).established &&
    theOne(node).idle &&
    node.installed.length === 2 * (theOne(node).version === 1 ? theOne(node).peer!.pairs.length : 1)
  );
}

const theOne = (node: Node) => node.gateway.ike.sas()[0]!;

export function expectGone(node: Node, now: number): void {
  const { ike } = node.gateway;
  const { inboundSpis } = node.gateway.status(now).ike;
  const { sas, requests, offers } = ike.kept;
  const left = {
    sas,
    requests,
    offers,
    halfOpen: ike.halfOpen,
    inboundSpis,
    installed: node.installed.length,
  };
  assert.deepEqual(
    left,
    { sas: 0, requests: 0, offers: 0, halfOpen: 0, inboundSpis: 0, installed: 0 },
    node.name,
  );
  assert.deepEqual(node.plan?.connections.flatMap((c) => c.outbound) ?? [], []);
}

export const inboundOf = (node: Node, spi: number): InstalledSa | undefined => find(node, "inbound", spi);

function find(node: Node, direction: InstalledSa["direction"], spi: number): InstalledSa | undefined {
  for (const sa of node.installed) if (sa.spi === spi && sa.direction === direction) return sa;
  return undefined;
}

function fail(node: Node, what: string): never {
  throw new Error(`${node.name} ${what}`);
}
