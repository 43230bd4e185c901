/** Keys of an IPsec SA that quick mode makes (RFC 2409 §5.5). */
import { Secret, secretMemory } from "../core/secret.ts";
import { type EspSuite, IsakmpProtocol } from "../registry/index.ts";
import type { ChildSaKeys } from "./child-keys.ts";
import { hmacInto } from "./hmac.ts";
import { encrKeymatBytes, integKeyBytes } from "./ike-keys.ts";
import { cut, prfRow } from "./prf.ts";

/**
 * The keys of one direction, whose SPI is the receiver's choice:
 *
 *   KEYMAT = K1 | K2 | K3 | ...
 *   K1 = prf(SKEYID_d, [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
 *   K2 = prf(SKEYID_d, K1 | [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
 *
 * `prfId` is the ISAKMP SA's; `gxy` is present with PFS only. No secret is wiped. Encryption comes before integrity
 * (RFC 2401 §4.5 by way of RFC 2407), the salt behind the key (RFC 4106 §8.1).
 */
export function keymat(
  prfId: number,
  SKEYID_d: Secret,
  suite: Pick<EspSuite, "encr" | "keyBits" | "integ">,
  spi: number,
  Ni_b: Uint8Array,
  Nr_b: Uint8Array,
  gxy?: Secret,
): ChildSaKeys {
  const lengths = [encrKeymatBytes(suite), integKeyBytes(suite.integ)] as const;
  const out = secretMemory(lengths[0] + lengths[1]);
  const protocolAndSpi = new Uint8Array(5);
  protocolAndSpi[0] = IsakmpProtocol.code.PROTO_IPSEC_ESP;
  new DataView(protocolAndSpi.buffer).setUint32(1, spi);
  const seed = [...(gxy ? [gxy.reveal()] : []), protocolAndSpi, Ni_b, Nr_b];
  const { hash, keyBytes } = prfRow(prfId);
  const block = secretMemory(keyBytes);
  for (let at = 0; at < out.length; at += keyBytes) {
    hmacInto(block, hash, SKEYID_d.reveal(), at === 0 ? seed : [block, ...seed]);
    out.set(block.subarray(0, out.length - at), at);
  }
  block.fill(0);
  const [encrKey, integKey] = cut(new Secret(out), lengths) as [Secret, Secret];
  return { encrKey, integKey };
}
