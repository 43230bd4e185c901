/** Diffie-Hellman on Curve25519 (RFC 7748, RFC 8031). */
import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { PeerMisbehaved } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { DhGroup, type DhRow } from "../registry/index.ts";
import type { KeyPair } from "./dh.ts";

/** RFC 8410 §7: what precedes the 32 octets of an X25519 private key in PKCS #8. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");

export function x25519KeyPair(row: DhRow, given: Uint8Array | undefined): KeyPair {
  let privateKey: KeyObject | undefined = given ? imported(given) : generateKeyPairSync("x25519").privateKey;
  // JSON Web Keys (RFC 8037) carry the bare 32 octets, and node reads and writes them far faster than DER.
  const publicValue = Uint8Array.from(
    Buffer.from(createPublicKey(privateKey).export({ format: "jwk" }).x!, "base64url"),
  );
  return {
    group: row.id,
    publicValue,
    computeSharedSecret(peerPublic) {
      if (!privateKey) throw new RangeError("the private key was wiped");
      const group = DhGroup.nameOf(row.id);
      if (peerPublic.length !== row.publicBytes)
        throw new PeerMisbehaved(
          `KE data for ${group} has ${peerPublic.length} octets, not ${row.publicBytes}`,
        );
      const x = Buffer.from(peerPublic).toString("base64url");
      const publicKey = createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
      // RFC 8031 §2.1: refuse the all-zero result of a point of small order.
      let result: Uint8Array;
      try {
        result = diffieHellman({ privateKey, publicKey });
      } catch {
        throw new PeerMisbehaved(`KE data for ${group} is a point of small order`);
      }
      if (result.every((octet) => octet === 0))
        throw new PeerMisbehaved(`KE data for ${group} is a point of small order`);
      return new Secret(result);
    },
    wipe() {
      privateKey = undefined;
    },
  };
}

function imported(privateKey: Uint8Array): KeyObject {
  if (privateKey.length !== 32) throw new RangeError("an X25519 private key has 32 octets");
  const key = Buffer.concat([PKCS8_PREFIX, privateKey]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}
