/**
 * The peer deletes the pair that is in use here while its quick mode for another one is under way (lives 2659, 3608,
 * 41288, 211694): what does it send on, and expect packets on, from now on? Or the peer repeats message 2, for message 3
 * was lost, of a pair that is gone since (life 305106).
 */
import { describe, expect, it } from "vitest";
import { IsakmpExchangeType } from "../../src/registry/index.ts";
import { decodeIsakmpHeader } from "../../src/wire/v1/index.ts";
import { type Datagram, expectCarrying, expectOnePair, Lab, type LabOptions } from "./quick-lab.ts";

const stepMs = 200;

/**
 * A has replaced the first pair, B that one at once. A took the two for crossed, and prefers its own, for it has the
 * higher nonces; B knew that one already, and prefers the later one.
 */
function disagreeing(limits: LabOptions["limits"]): Lab {
  const nonce = (_side: string, drawn: number) => (drawn === 1 ? 0x80 : drawn === 2 ? 0x01 : 0x40);
  const lab = new Lab({
    limits: { inboundLingerMs: 1_000, rekeyedMs: 12_000, ...limits },
    nonce,
  });
  lab.a.start();
  lab.settle();
  lab.a.rekey();
  lab.run(50);
  lab.b.rekey();
  lab.settle();
  pass(lab, 2_000, () => true);
  const [own, later] = lab.a.children.slice(-2);
  expect([lab.a.sendsOn, lab.b.sendsOn]).toEqual([own!.spiOut, later!.spiIn]);
  return lab;
}

/** What `arrives` is delivered, and packets go both ways if `packets`; each side can open what the other one sends. */
function pass(lab: Lab, ms: number, arrives: (datagram: Datagram) => boolean, packets = true): void {
  for (let left = ms; left > 0; left -= stepMs) {
    lab.run(stepMs, false);
    for (let next = lab.wire.shift(); next; next = lab.wire.shift()) if (arrives(next)) lab.deliver(next);
    expectCarrying(lab);
    if (packets) expect(lab.traffic()).toBe(true);
  }
}

const { QUICK_MODE, INFORMATIONAL } = IsakmpExchangeType.code;
const isQuick = ({ bytes }: Datagram) => decodeIsakmpHeader(bytes).exchangeType === QUICK_MODE;
const isInformational = ({ bytes }: Datagram) => decodeIsakmpHeader(bytes).exchangeType === INFORMATIONAL;
const idOf = ({ bytes }: Datagram) => decodeIsakmpHeader(bytes).messageId;

describe("two sides that prefer different ones of two pairs, and a third that one of them asks for in vain", () => {
  it.each([
    ["the request came a moment ago, for the twentieth time", 500, false],
    ["the request came some seconds ago, and packets come on the older pair", 8_000, true],
  ] as const)("the peer deletes one of the two: %s", (_, retransmitMaxMs, packets) => {
    const lab = disagreeing({ retransmitMaxMs });
    const { a, b } = lab;
    const [older, deleted] = [a.sendsOn, b.sendsOn];
    a.rekey(a.children.find((child) => child.spiOut === older));
    pass(lab, 10_500, (datagram) => !(datagram.from === b && isQuick(datagram)), packets);
    expect(b.sendsOn).not.toBe(deleted);
    expect(a.inbound.map((sa) => sa.spi)).toContain(b.sendsOn);
    pass(lab, 60_000, () => true);
    expectOnePair(lab);
  });
});

describe("a pair that is replaced before message 3 of it arrives", () => {
  /** A has another pair in its place, and B, which got nothing of `isLost` meanwhile, still waits for message 3. */
  function replaced(isLost: (datagram: Datagram) => boolean): { lab: Lab; ofExchange: typeof isLost } {
    const lab = new Lab({ limits: { inboundLingerMs: 1_000, rekeyedMs: 60_000 } });
    const { a } = lab;
    a.start();
    lab.settle();
    pass(lab, 2_000, () => true);
    a.rekey();
    const messageId = idOf(lab.wire[0]!);
    const ofExchange = (datagram: Datagram) => isQuick(datagram) && idOf(datagram) === messageId;
    lab.deliver(lab.wire.shift()!);
    lab.deliver(lab.wire.shift()!);
    const [made] = a.children.slice(-1);
    pass(lab, 200, () => false);
    a.rekey(made);
    // Without packets: one on it would show B that A has it.
    const arrives = (datagram: Datagram) =>
      datagram.from !== a || !(ofExchange(datagram) || isLost(datagram));
    pass(lab, 18_000, arrives, false);
    expect(a.children).not.toContain(made);
    return { lab, ofExchange };
  }

  it("the peer asks for message 3 again, and hears once more that the pair is gone", () => {
    const { lab } = replaced(isInformational);
    expect(lab.b.children.map(({ state }) => state.name)).toContain("AWAITED");
    pass(lab, 60_000, () => true);
    expectOnePair(lab);
    expect(lab.b.events.filter((event) => event === "childUp")).toHaveLength(2);
  });

  it("the peer, which heard of it, does not repeat its answer", () => {
    const { lab, ofExchange } = replaced(() => false);
    expect(lab.b.children.map(({ state }) => state.name)).not.toContain("AWAITED");
    const sent = lab.sent.length;
    pass(lab, 60_000, () => true);
    expectOnePair(lab);
    expect(lab.sent.slice(sent).filter(ofExchange)).toEqual([]);
  });
});
