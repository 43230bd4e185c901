/** The decoders that `wire-mutate.ts` fuzzes. */
import fc from "fast-check";
import {
  decodeMessage,
  decodePayloads,
  encodeMessage,
  encodePayloads,
  type Payload,
  type PlainPayload,
} from "../../src/wire/index.ts";
import {
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  type IsakmpCipher,
  isIsakmpFragment,
  openIsakmp,
  sealIsakmp,
} from "../../src/wire/v1/index.ts";
import { isakmpHeader, isakmpPayloads } from "../property/isakmp-arbitraries.ts";
import { header, payloads } from "../property/wire-arbitraries.ts";
import type { FuzzTarget } from "./wire-mutate.ts";

export const ikev2: FuzzTarget = {
  corpus(seed) {
    const messages = fc.sample(fc.tuple(header, payloads), { numRuns: 200, seed });
    return messages.map(([h, chain]) => encodeMessage({ header: h, payloads: chain }));
  },
  check(input) {
    const plain = decodeMessage(input).payloads.filter(isPlain);
    const { first, bytes } = encodePayloads(plain);
    // Without what encoding drops on purpose: the RESERVED octets of ID payloads.
    expectSame(decodePayloads(first, bytes), plain, "reserved");
  },
  /** The rest of the datagram as the inside of SK, as a peer that knows the key could send it. */
  checkRefused: (input) => void decodePayloads(input[16] ?? 0, input.subarray(28)),
};

export const ikev1: FuzzTarget = {
  corpus(seed) {
    const messages = fc.sample(fc.tuple(isakmpHeader, isakmpPayloads, fc.boolean()), { numRuns: 200, seed });
    return messages.map(([h, chain, sealed]) =>
      sealed ? sealIsakmp(h, chain, noCipher, noIv).datagram : encodeIsakmp(h, chain),
    );
  },
  check(input) {
    const h = decodeIsakmpHeader(input);
    const { payloads: chain } =
      h.encrypted && !isIsakmpFragment(h) ? openIsakmp(input, h, noCipher, noIv) : decodeIsakmp(input, h);
    // Without the octets as they came: RESERVED fields and flags that mean nothing are among them.
    expectSame(decodeIsakmp(encodeIsakmp(h, chain)).payloads, chain, "body");
  },
  checkRefused(input) {
    if (input.length < 20) return;
    const other = Uint8Array.from(input);
    other[17] = 0x10;
    other[19]! ^= 1;
    this.check(other);
  },
};

/** The damage is to get behind the cipher: there is none. */
const noCipher: IsakmpCipher = {
  block: 8,
  encrypt: (_, text) => Uint8Array.from(text),
  decrypt: (_, text) => Uint8Array.from(text),
};
const noIv = new Uint8Array(8);

const isPlain = (payload: Payload): payload is PlainPayload =>
  payload.kind !== "SK" && payload.kind !== "SKF";

/** `without`: a field that need not be the same. */
function expectSame(again: readonly unknown[], before: readonly unknown[], without: string): void {
  const comparable = (key: string, value: unknown): unknown => {
    if (key === without) return undefined;
    return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
  };
  if (JSON.stringify(again, comparable) !== JSON.stringify(before, comparable))
    throw new Error("a decoded message changes when it is encoded and decoded again");
}
