/** Diffie-Hellman on Curve25519 (RFC 7748, RFC 8031). */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject, randomBytes } from "node:crypto";
import { PeerMisbehaved } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { DhGroup, type DhRow } from "../registry/index.ts";
import type { KeyPair } from "./dh.ts";

export function x25519KeyPair(row: DhRow, given: Uint8Array | undefined): KeyPair {
  let privateKey: KeyObject | undefined = given ? imported(given) : generated();
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

/**
 * Any 32 random octets are a private key (RFC 7748 §5: the curve function clamps them). Not `generateKeyPairSync`: the
 * job it leaves behind locks the key once more when it is collected, and when that happens inside `export`, which holds
 * the lock, Node 20 stands still for ever.
 */
function generated(): KeyObject {
  const octets = randomBytes(32);
  try {
    return imported(octets);
  } finally {
    octets.fill(0);
  }
}

function imported(privateKey: Uint8Array): KeyObject {
  if (privateKey.length !== 32) throw new RangeError("an X25519 private key has 32 octets");
  const d = Buffer.from(privateKey).toString("base64url");
  // OpenSSL derives the public half itself; the member `x` only has to be there. PKCS #8 takes eight times as long.
  return createPrivateKey({ key: { kty: "OKP", crv: "X25519", d, x: ANY_POINT }, format: "jwk" });
}

const ANY_POINT = Buffer.alloc(32).toString("base64url");
