/**
 * Keys in the words of Wireshark's preference files `ikev2_decryption_table`, `ikev1_decryption_table` and `esp_sa`, so that an operator can read
 * a capture of their own tunnel. SOURCE of the names: Wireshark's ISAKMP and ESP dissectors.
 */

import type { Secret } from "../core/secret.ts";
import type { EspKeyLog, IkeKeyLog, IsakmpKeyLog } from "../ike/common/events.ts";
import { EncryptionAlgorithm, IntegrityAlgorithm } from "../registry/index.ts";
import { formatEspSpi, formatIkeSpi } from "../wire/index.ts";

/** `SPIi,SPIr,SK_ei,SK_er,"encryption",SK_ai,SK_ar,"integrity"` */
export function ikeKeyLine({ spiInitiator, spiResponder, suite, ...keys }: IkeKeyLog): string {
  const name = ikeEncryptionNames.get(suite.encr);
  const encryption = name?.(suite.keyBits) ?? EncryptionAlgorithm.nameOf(suite.encr);
  const integrity = ikeIntegrityNames.get(suite.integ) ?? IntegrityAlgorithm.nameOf(suite.integ);
  return [
    formatIkeSpi(spiInitiator),
    formatIkeSpi(spiResponder),
    hex(keys.SK_ei),
    hex(keys.SK_er),
    quoted(encryption),
    hex(keys.SK_ai),
    hex(keys.SK_ar),
    quoted(integrity),
  ].join(",");
}

/** `cookie,key` */
export const isakmpKeyLine = ({ spiInitiator, cipherKey }: IsakmpKeyLog): string =>
  `${formatIkeSpi(spiInitiator)},${hex(cipherKey)}`;

/** `"IPv4","source","destination","0xspi","encryption","0xkey","authentication","0xkey"` */
export function espKeyLine({ source, destination, spi, suite, encrKey, integKey }: EspKeyLog): string {
  return [
    source.family === 4 ? "IPv4" : "IPv6",
    `${source}`,
    `${destination}`,
    `0x${formatEspSpi(spi)}`,
    espEncryptionNames.get(suite.encr) ?? EncryptionAlgorithm.nameOf(suite.encr),
    hexOrNothing(encrKey),
    espIntegrityNames.get(suite.integ) ?? IntegrityAlgorithm.nameOf(suite.integ),
    hexOrNothing(integKey),
  ]
    .map(quoted)
    .join(",");
}

const ENCR = EncryptionAlgorithm.code;
const AUTH = IntegrityAlgorithm.code;

const ikeEncryptionNames: ReadonlyMap<number, (bits: number | undefined) => string> = new Map([
  [ENCR.ENCR_AES_CBC, (bits: number | undefined) => `AES-CBC-${bits} [RFC3602]`],
  [ENCR.ENCR_AES_GCM_16, (bits: number | undefined) => `AES-GCM-${bits} with 16 octet ICV [RFC5282]`],
  [ENCR.ENCR_3DES, () => "3DES [RFC2451]"],
]);

const ikeIntegrityNames: ReadonlyMap<number, string> = new Map([
  [AUTH.NONE, "NONE [RFC4306]"],
  [AUTH.AUTH_HMAC_MD5_96, "HMAC_MD5_96 [RFC2403]"],
  [AUTH.AUTH_HMAC_SHA1_96, "HMAC_SHA1_96 [RFC2404]"],
  [AUTH.AUTH_HMAC_SHA2_256_128, "HMAC_SHA2_256_128 [RFC4868]"],
  [AUTH.AUTH_HMAC_SHA2_384_192, "HMAC_SHA2_384_192 [RFC4868]"],
  [AUTH.AUTH_HMAC_SHA2_512_256, "HMAC_SHA2_512_256 [RFC4868]"],
]);

const espEncryptionNames: ReadonlyMap<number, string> = new Map([
  [ENCR.ENCR_NULL, "NULL"],
  [ENCR.ENCR_DES, "DES-CBC [RFC2405]"],
  [ENCR.ENCR_3DES, "TripleDES-CBC [RFC2451]"],
  [ENCR.ENCR_AES_CBC, "AES-CBC [RFC3602]"],
  [ENCR.ENCR_AES_CTR, "AES-CTR [RFC3686]"],
  [ENCR.ENCR_AES_GCM_16, "AES-GCM with 16 octet ICV [RFC4106]"],
  [ENCR.ENCR_CHACHA20_POLY1305, "ChaCha20 with Poly1305 [RFC7634]"],
]);

const espIntegrityNames: ReadonlyMap<number, string> = new Map([
  [AUTH.NONE, "NULL"],
  [AUTH.AUTH_HMAC_MD5_96, "HMAC-MD5-96 [RFC2403]"],
  [AUTH.AUTH_HMAC_SHA1_96, "HMAC-SHA-1-96 [RFC2404]"],
  [AUTH.AUTH_HMAC_SHA2_256_128, "HMAC-SHA-256-128 [RFC4868]"],
  [AUTH.AUTH_HMAC_SHA2_384_192, "HMAC-SHA-384-192 [RFC4868]"],
  [AUTH.AUTH_HMAC_SHA2_512_256, "HMAC-SHA-512-256 [RFC4868]"],
]);

const quoted = (text: string): string => `"${text}"`;
const hexOrNothing = (key: Secret): string => (key.length === 0 ? "" : `0x${hex(key)}`);

function hex(key: Secret): string {
  const text = Array.from(key.reveal(), (b) => b.toString(16).padStart(2, "0")).join("");
  key.wipe();
  return text;
}
