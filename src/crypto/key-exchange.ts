/**
 * Any key exchange method, Diffie-Hellman or key encapsulation: one side starts, the other answers, and both have a
 * secret. A KEM needs to know who starts; with Diffie-Hellman the two sides do the same.
 */
import type { Secret } from "../core/secret.ts";
import { kemById } from "../registry/index.ts";
import { generateKeyPair, type KeyPair } from "./dh.ts";
import { answerMlKem, startMlKem } from "./mlkem.ts";

/** What the initiator of an exchange keeps until the answer is there. */
export interface KeyExchange {
  readonly method: number;
  /** Key Exchange Data to send. */
  readonly publicValue: Uint8Array;
  /** The shared secret. Throws PeerMisbehaved when `answer` is not Key Exchange Data of an answer of this method. */
  complete(answer: Uint8Array): Secret;
  /** Forgets the private key; nothing can be completed any more. */
  wipe(): void;
}

/** What the responder has at once. */
export interface KeyExchangeAnswer {
  /** Key Exchange Data to send. */
  readonly publicValue: Uint8Array;
  readonly shared: Secret;
}

/** `keyPairs` gives the key pairs of Diffie-Hellman, which are then the exchange's. RangeError for an unknown method. */
export function startKeyExchange(method: number, keyPairs: KeyPairSource = generateKeyPair): KeyExchange {
  const kem = kemById.get(method);
  if (kem) return startMlKem(kem);
  const pair = keyPairs(method);
  return {
    method,
    publicValue: pair.publicValue,
    complete: (answer) => pair.computeSharedSecret(answer),
    wipe: () => pair.wipe(),
  };
}

/** Throws PeerMisbehaved when `offered` is not Key Exchange Data that starts this method; RangeError as above. */
export function answerKeyExchange(
  method: number,
  offered: Uint8Array,
  keyPairs: KeyPairSource = generateKeyPair,
): KeyExchangeAnswer {
  const kem = kemById.get(method);
  if (kem) return answerMlKem(kem, offered);
  const pair = keyPairs(method);
  try {
    return { publicValue: Uint8Array.from(pair.publicValue), shared: pair.computeSharedSecret(offered) };
  } finally {
    pair.wipe();
  }
}

export type KeyPairSource = (group: number) => KeyPair;
