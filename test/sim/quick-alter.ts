/** Quick mode between two sides of which one says what it should not, and what they say about it. */
import { openPhase2, phase2Iv, sealPhase2 } from "../../src/ike/v1/key-material.ts";
import { IsakmpExchangeType, IsakmpNotifyType } from "../../src/registry/index.ts";
import {
  decodeIsakmpHeader,
  findIsakmpPayload,
  type IsakmpAttribute,
  type IsakmpPayload,
  numberAttribute,
} from "../../src/wire/v1/index.ts";
import { type Datagram, Lab, type LabOptions, type Side, sharedKeys } from "./quick-lab.ts";

const keys = sharedKeys();

export function run(options: LabOptions = {}): Lab {
  const lab = new Lab(options);
  lab.a.start();
  lab.settle();
  return lab;
}

/** What `side` reports of IPsec SAs: that the ISAKMP SA goes with the last one is another test's. */
export const codes = (side: Side) =>
  side.failures.filter((f) => !f.difference.includes("ISAKMP SA")).map((f) => f.code);

/** The payloads of a first message, and what the next one is sealed with. */
export function open({ bytes }: Datagram) {
  const header = decodeIsakmpHeader(bytes);
  const opened = openPhase2(keys, header, bytes, { number: 1 }, phase2Iv(keys, header.messageId));
  if (!opened) throw new Error("not authentic");
  return { header, ...opened };
}

/** The next datagram of `from` says something else than it would. */
export function alter(
  lab: Lab,
  change: (payloads: readonly IsakmpPayload[]) => readonly IsakmpPayload[],
  second = false,
): void {
  const at = lab.wire[0]!;
  if (!second) {
    const { header, payloads } = open(at);
    const { datagram } = sealPhase2(
      keys,
      header,
      change(payloads),
      { number: 1 },
      phase2Iv(keys, header.messageId),
    );
    lab.wire[0] = { ...at, bytes: datagram };
    return;
  }
  const first = open(lab.sent.at(-2)!);
  const Ni = Uint8Array.from(findIsakmpPayload(first.payloads, "NONCE")!.nonce);
  const header = decodeIsakmpHeader(at.bytes);
  const opened = openPhase2(keys, header, at.bytes, { number: 2, Ni }, first.nextIv)!;
  const { datagram } = sealPhase2(keys, header, change(opened.payloads), { number: 2, Ni }, first.nextIv);
  lab.wire[0] = { ...at, bytes: datagram };
}

/** What `side` has sent in informational messages. */
export const told = (lab: Lab, side: Side): IsakmpPayload[] =>
  lab.sent
    .filter(
      ({ from, bytes }) =>
        from === side && decodeIsakmpHeader(bytes).exchangeType === IsakmpExchangeType.code.INFORMATIONAL,
    )
    .flatMap((datagram) => open(datagram).payloads);
export const toldOf = (lab: Lab, side: Side) =>
  told(lab, side).map((p) => (p.kind === "N" ? IsakmpNotifyType.nameOf(p.type) : p.kind));

/** With some attributes of every transform replaced. */
export const attributes =
  (changes: Readonly<Record<number, number | undefined>>, id?: number) =>
  (payloads: readonly IsakmpPayload[]): readonly IsakmpPayload[] =>
    payloads.map((p) => {
      if (p.kind !== "SA") return p;
      const transforms = p.proposals[0]!.transforms.map((t) => ({
        ...t,
        id: id ?? t.id,
        attributes: [
          ...t.attributes.filter(({ type }) => !(type in changes)),
          ...Object.entries(changes).flatMap(([type, value]): IsakmpAttribute[] =>
            value === undefined ? [] : [numberAttribute(Number(type), value)],
          ),
        ],
      }));
      return { ...p, proposals: [{ ...p.proposals[0]!, transforms }] };
    });
