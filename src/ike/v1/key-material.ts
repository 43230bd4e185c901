/** The keys of one ISAKMP SA, and the sealing and opening of messages with them (RFC 2409 §5, appendix B). */
import { attemptDecode } from "../../core/errors.ts";
import type { Secret } from "../../core/secret.ts";
import {
  exchangeIv,
  type IsakmpKeys,
  type IsakmpSpis,
  isakmpCipher,
  isakmpKeys,
  messageHash1,
  messageHash2,
  messageHash3,
  phase1Iv,
  skeyidPsk,
  verifyIsakmpHash,
  wipeIsakmpKeys,
} from "../../crypto/index.ts";
import type { IkeSuite } from "../../registry/index.ts";
import {
  type DecodedIsakmpHeader,
  decodeIsakmp,
  findIsakmpPayload,
  type IsakmpCipher,
  type IsakmpHeader,
  type IsakmpPayload,
  openIsakmp,
  type ReceivedPayload,
  type SealedIsakmp,
  sealIsakmp,
  sealIsakmpWithHash,
} from "../../wire/v1/index.ts";
import type { Datagram } from "./phase1.ts";

/** What phase 1 has established between two who both know the pre-shared key. */
export interface Secured {
  readonly suite: IkeSuite;
  readonly keys: IsakmpKeys;
  readonly cipher: IsakmpCipher;
  /** Ni_b and Nr_b of phase 1. */
  readonly Ni: Uint8Array;
  readonly Nr: Uint8Array;
  /** The last block of ciphertext of phase 1, or what it begins with: the IV of its next message. */
  iv: Uint8Array;
  wipe(): void;
}

/** What a key exchange of phase 1 yields, before a pre-shared key comes into it. */
export interface KeySeed extends IsakmpSpis {
  readonly suite: IkeSuite;
  readonly gxi: Uint8Array;
  readonly gxr: Uint8Array;
  readonly gxy: Secret;
  readonly Ni: Uint8Array;
  readonly Nr: Uint8Array;
}

/** `seed.gxy` stays its owner's. */
export function secure(seed: KeySeed, psk: Secret): Secured {
  const { suite, gxi, gxr, gxy, Ni, Nr, spiInitiator, spiResponder } = seed;
  const SKEYID = skeyidPsk(suite.prf, psk, Ni, Nr);
  const keys = isakmpKeys(suite, SKEYID, gxy, { spiInitiator, spiResponder });
  const cipher = isakmpCipher(suite, keys.Ka);
  const iv = phase1Iv(suite.prf, gxi, gxr, cipher.block);
  return { suite, keys, cipher, Ni, Nr, iv, wipe: () => wipeIsakmpKeys(keys) };
}

/** The payloads of a message of phase 1 that is not encrypted; undefined when it is none. */
export function inTheClear({ header, datagram }: Datagram): readonly ReceivedPayload[] | undefined {
  return attemptDecode(() => decodeIsakmp(datagram, header))?.payloads;
}

/** An encrypted message of phase 1; undefined when what comes out is no message. The chain does not go on by itself. */
export function openPhase1(
  { cipher, iv }: Secured,
  header: DecodedIsakmpHeader,
  datagram: Uint8Array,
): { readonly payloads: readonly ReceivedPayload[]; readonly nextIv: Uint8Array } | undefined {
  return attemptDecode(() => openIsakmp(datagram, header, cipher, iv));
}

/** Seals our next message of phase 1, and goes on with the chain. */
export function sealPhase1(
  secured: Secured,
  header: IsakmpHeader,
  payloads: readonly IsakmpPayload[],
): Uint8Array {
  const { datagram, nextIv } = sealIsakmp(header, payloads, secured.cipher, secured.iv);
  secured.iv = nextIv;
  return datagram;
}

/** The IV with which an exchange of phase 2 begins. */
export function phase2Iv({ suite, iv }: Secured, messageId: number): Uint8Array {
  return exchangeIv(suite.prf, iv, messageId);
}

/** Which message of its exchange one is, and the nonces of those before it: what its HASH covers. */
export type HashInput =
  /** The first: of quick mode, or informational. */
  | { readonly number: 1 }
  | { readonly number: 2; readonly Ni: Uint8Array }
  | { readonly number: 3; readonly Ni: Uint8Array; readonly Nr: Uint8Array };

/** Seals a message of phase 2: `HDR*, HASH(n), payloads`. */
export function sealPhase2(
  secured: Secured,
  header: IsakmpHeader,
  payloads: readonly IsakmpPayload[],
  input: HashInput,
  iv: Uint8Array,
): SealedIsakmp {
  const hash = (afterHash: Uint8Array) => messageHash(secured, header.messageId, afterHash, input);
  const hashBytes = messageHash1(secured.suite.prf, secured.keys.SKEYID_a, 0, new Uint8Array(0)).length;
  return sealIsakmpWithHash(header, payloads, hashBytes, hash, secured.cipher, iv);
}

/** The payloads behind an authentic HASH(n); undefined when it is not. */
export function openPhase2(
  secured: Secured,
  header: DecodedIsakmpHeader,
  datagram: Uint8Array,
  input: HashInput,
  iv: Uint8Array,
): { readonly payloads: readonly ReceivedPayload[]; readonly nextIv: Uint8Array } | undefined {
  const opened = attemptDecode(() => openIsakmp(datagram, header, secured.cipher, iv));
  const hash = opened?.payloads[0];
  if (!opened || hash?.kind !== "HASH") return undefined;
  const expected = messageHash(secured, header.messageId, opened.afterHash, input);
  if (!verifyIsakmpHash(expected, hash.data)) return undefined;
  return { payloads: opened.payloads.slice(1), nextIv: opened.nextIv };
}

/** The nonce of a message, which the hashes of later ones cover. */
export function nonceOf(payloads: readonly IsakmpPayload[]): Uint8Array | undefined {
  const nonce = findIsakmpPayload(payloads, "NONCE")?.nonce;
  return nonce && Uint8Array.from(nonce);
}

function messageHash(
  { suite, keys }: Secured,
  messageId: number,
  afterHash: Uint8Array,
  input: HashInput,
): Uint8Array {
  switch (input.number) {
    case 1:
      return messageHash1(suite.prf, keys.SKEYID_a, messageId, afterHash);
    case 2:
      return messageHash2(suite.prf, keys.SKEYID_a, messageId, input.Ni, afterHash);
    case 3:
      return messageHash3(suite.prf, keys.SKEYID_a, messageId, input.Ni, input.Nr);
  }
}
