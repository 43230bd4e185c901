/** Diffie-Hellman on the NIST curves (RFC 5903). */
import { createECDH } from "node:crypto";
import { PeerMisbehaved } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { DhGroup, type DhRow } from "../registry/index.ts";
import type { KeyPair } from "./dh.ts";

const curves: ReadonlyMap<number, string> = new Map([
  [DhGroup.code.ECP_256, "prime256v1"],
  [DhGroup.code.ECP_384, "secp384r1"],
  [DhGroup.code.ECP_521, "secp521r1"],
]);

/** SEC 1 §2.3.3: the octet before x | y of an uncompressed point. RFC 5903 §7 sends x | y alone. */
const UNCOMPRESSED = 4;

export function ecpKeyPair(row: DhRow, given: Uint8Array | undefined): KeyPair {
  const ecdh = createECDH(curves.get(row.id)!);
  if (given) ecdh.setPrivateKey(given);
  else ecdh.generateKeys();
  let wiped = false;
  return {
    group: row.id,
    publicValue: Uint8Array.from(ecdh.getPublicKey().subarray(1)),
    computeSharedSecret(peerPublic) {
      if (wiped) throw new RangeError("the private key was wiped");
      const group = DhGroup.nameOf(row.id);
      if (peerPublic.length !== row.publicBytes)
        throw new PeerMisbehaved(
          `KE data for ${group} has ${peerPublic.length} octets, not ${row.publicBytes}`,
        );
      const point = new Uint8Array(1 + peerPublic.length);
      point[0] = UNCOMPRESSED;
      point.set(peerPublic, 1);
      try {
        return new Secret(ecdh.computeSecret(point));
      } catch (error) {
        // RFC 5903 §9: a receiver checks that the point is on the curve. OpenSSL does, and says it like this.
        if ((error as { code?: string }).code === "ERR_CRYPTO_ECDH_INVALID_PUBLIC_KEY")
          throw new PeerMisbehaved(`KE data for ${group} is not a point on the curve`);
        throw error;
      }
    },
    wipe() {
      // Overwrites the key inside OpenSSL; the object itself is the garbage collector's.
      wiped = true;
      const one = new Uint8Array(row.sharedSecretBytes);
      one[one.length - 1] = 1;
      ecdh.setPrivateKey(one);
    },
  };
}
