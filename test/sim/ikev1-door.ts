/** A responder, or what an IKEv1 peer made by hand meets at its door; and the words that tests have for what it says. */
import { expect } from "vitest";
import { IsakmpDoi, IsakmpProtocol } from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import type { IsakmpAttribute, IsakmpPayload } from "../../src/wire/v1/index.ts";
import {
  CraftedIsakmpPeer,
  type IsakmpAnswer,
  type IsakmpChange,
  ikeAttributes,
} from "./crafted-isakmp-peer.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectCarrying, expectNothingLeft, twoSites } from "./two-sites.ts";

export const nothing = new Uint8Array(0);

export type Options = NonNullable<Parameters<typeof twoSites>[0]>;

/** B answers; A is the crafted peer. */
export function atTheDoor(options: Options = {}, group?: number) {
  const sites = twoSites({ ...options, both: { version: "ikev1", ...options.both } });
  sites.sim.start(sites.b);
  const ends = { own: addressA, node: addressB };
  const peer = new CraftedIsakmpPeer(sites.sim, sites.b, { ...ends, ...(group && { group }) });
  const status = () => sites.b.gateway.status(sites.sim.now).ike;
  return { ...sites, peer, status };
}
export type Door = ReturnType<typeof atTheDoor>;

/** Phase 1 in the mode of the connection. */
export function authenticate({ peer }: Door, mode: "main" | "aggressive" = "main"): IsakmpAnswer | undefined {
  if (mode === "aggressive") {
    peer.aggressive1();
    return peer.aggressive3();
  }
  peer.main1();
  peer.main3();
  return peer.main5();
}

export function established(options: Options = {}) {
  const door = atTheDoor(options);
  authenticate(door, options.both?.mode);
  quick(door, 0xc0ffee00);
  expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  expect(door.b.installed).toHaveLength(2);
  return { ...door, spiB: door.b.inbound[0]!.spi };
}

/** A whole quick mode: the node's SPI. */
export function quick({ peer }: Door, spi: number): IsakmpAnswer {
  const second = peer.quick(peer.quickPayloads(spi))!;
  peer.quick3(second.header.messageId);
  return second;
}

/** Whatever happened: an honest peer is served. */
export function stillServes(door: Door): void {
  const { sim, a, b } = door;
  sim.command(b, "down");
  sim.run(200_000);
  expectNothingLeft(b);
  expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0, inboundSpis: 0 });
  sim.network.faults.length = 0;
  sim.command(b, "up");
  sim.start(a);
  // Both may have called: then there are two pairs of SAs, and what one side sends with the other has.
  sim.runUntil(() => [a, b].every((node) => tunnelStatus(sim, node).state === "up"), 120_000);
  sim.run(1000);
  expectCarrying(door);
}

export const notification = (type: number, over: Record<string, unknown> = {}): IsakmpPayload => ({
  kind: "N",
  doi: IsakmpDoi.code.IPSEC,
  protocol: IsakmpProtocol.code.PROTO_ISAKMP,
  spi: nothing,
  type,
  data: nothing,
  ...over,
});
export const raw = (type: number, data: Uint8Array = nothing): IsakmpPayload => ({
  kind: "unknown",
  type,
  data,
});
export const spisOf = ({ peer }: Door): Uint8Array => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, peer.spiInitiator);
  new DataView(bytes.buffer).setBigUint64(8, peer.spiResponder);
  return bytes;
};
export const deletion = (spi: number): IsakmpPayload => ({
  kind: "D",
  doi: IsakmpDoi.code.IPSEC,
  protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
  spis: [espSpiBytes(spi)],
});
export const replace =
  (kind: IsakmpPayload["kind"], by: IsakmpPayload): IsakmpChange =>
  (payloads) =>
    payloads.map((p) => (p.kind === kind ? by : p));
export const withAttribute = (type: number, value: IsakmpAttribute["value"]): IsakmpAttribute[] =>
  ikeAttributes(19).map((a) => (a.type === type ? { type, value } : a));
