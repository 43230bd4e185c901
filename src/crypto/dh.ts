/**
 * Key exchange: one key pair per exchange, never reused. The groups' facts are columns of the registry; how to
 * compute is one implementation per kind of group.
 */
import type { Secret } from "../core/secret.ts";
import { DhGroup, type DhRow, dhById } from "../registry/index.ts";
import { type CurveArithmetic, curveKeyPair } from "./dh-curves.ts";
import { ecpKeyPair } from "./dh-ecp.ts";
import { modpKeyPair } from "./dh-modp.ts";
import { x25519KeyPair } from "./dh-x25519.ts";

export interface KeyPair {
  readonly group: number;
  /** Key Exchange Data to send. */
  readonly publicValue: Uint8Array;
  /**
   * g^ir, of the group's fixed length. Throws PeerMisbehaved when `peerPublic` is not a public value of the group:
   * wrong length, out of range, not on the curve, or one that makes the secret predictable. Once only: in a group with
   * small subgroups the private key is gone with the first secret.
   */
  computeSharedSecret(peerPublic: Uint8Array): Secret;
  /** The private key is gone. Absent where that is of no interest. */
  readonly spent?: boolean;
  /** Forgets the private key; the pair computes nothing any more. */
  wipe(): void;
}

/**
 * A fresh key pair from the system's randomness, on curves by `arithmetic` where one is given. RangeError for a group
 * that this build cannot run.
 */
export function generateKeyPair(group: number, arithmetic?: CurveArithmetic): KeyPair {
  return keyPair(runnableGroup(group), undefined, arithmetic);
}

/**
 * The key pair of a known private key, big-endian for modp and ecp, as RFC 7748 writes it for x25519. For test
 * vectors and simulations that must repeat; it takes ownership of nothing. RangeError when it is not a private key.
 */
export function keyPairFromPrivate(
  group: number,
  privateKey: Uint8Array,
  arithmetic?: CurveArithmetic,
): KeyPair {
  return keyPair(runnableGroup(group), privateKey, arithmetic);
}

function keyPair(row: DhRow, privateKey: Uint8Array | undefined, arithmetic?: CurveArithmetic): KeyPair {
  return arithmetic && row.kind !== "modp"
    ? curveKeyPair(row, privateKey, arithmetic)
    : implementations[row.kind](row, privateKey);
}

function runnableGroup(group: number): DhRow {
  const row = dhById.get(group);
  if (!row?.implemented.ike) throw new RangeError(`${DhGroup.nameOf(group)} is not implemented`);
  return row;
}

const implementations: Readonly<
  Record<DhRow["kind"], (row: DhRow, privateKey: Uint8Array | undefined) => KeyPair>
> = { modp: modpKeyPair, ecp: ecpKeyPair, x25519: x25519KeyPair };
