/**
 * What IKEv1 calls the algorithms of the other tables, whose rows are known by their IKEv2 transform IDs. An algorithm
 * without a row here has no number in IKEv1 and cannot be negotiated with it.
 */
import { EspTransform, IpsecAuthentication, Phase1Encryption, Phase1Hash } from "./ikev1.ts";
import { DhGroup, EncryptionAlgorithm, IntegrityAlgorithm, PRF } from "./transforms.ts";

export interface Ikev1EncryptionRow {
  /** IKEv2's number, the key of `encrById`. */
  readonly encr: number;
  /** ENCRYPTION_ALGORITHM of phase 1; undefined where there is none: there is no AEAD and no counter mode. */
  readonly phase1: number | undefined;
  /** The ESP transform of phase 2. */
  readonly esp: number;
}

export interface Ikev1HashRow {
  /** HASH_ALGORITHM of phase 1. */
  readonly hash: number;
  /** IKEv2's integrity and PRF with the same hash, keys of `integById` and `prfById`. */
  readonly integ: number;
  readonly prf: number;
  /** AUTHENTICATION_ALGORITHM of phase 2. */
  readonly authentication: number;
}

const ENCR = EncryptionAlgorithm.code;
const AUTH = IntegrityAlgorithm.code;
const ESP = EspTransform.code;

export const ikev1Encryption: readonly Ikev1EncryptionRow[] = [
  { encr: ENCR.ENCR_AES_CBC, phase1: Phase1Encryption.code.AES_CBC, esp: ESP.ESP_AES_CBC },
  { encr: ENCR.ENCR_3DES, phase1: Phase1Encryption.code["3DES_CBC"], esp: ESP.ESP_3DES },
  { encr: ENCR.ENCR_DES, phase1: Phase1Encryption.code.DES_CBC, esp: ESP.ESP_DES },
  { encr: ENCR.ENCR_AES_GCM_16, phase1: undefined, esp: ESP.ESP_AES_GCM_16 },
  { encr: ENCR.ENCR_AES_CTR, phase1: undefined, esp: ESP.ESP_AES_CTR },
  { encr: ENCR.ENCR_NULL, phase1: undefined, esp: ESP.ESP_NULL },
];

export const ikev1Hashes: readonly Ikev1HashRow[] = [
  {
    hash: Phase1Hash.code.SHA2_256,
    integ: AUTH.AUTH_HMAC_SHA2_256_128,
    prf: PRF.code.PRF_HMAC_SHA2_256,
    authentication: IpsecAuthentication.code.HMAC_SHA2_256,
  },
  {
    hash: Phase1Hash.code.SHA2_384,
    integ: AUTH.AUTH_HMAC_SHA2_384_192,
    prf: PRF.code.PRF_HMAC_SHA2_384,
    authentication: IpsecAuthentication.code.HMAC_SHA2_384,
  },
  {
    hash: Phase1Hash.code.SHA2_512,
    integ: AUTH.AUTH_HMAC_SHA2_512_256,
    prf: PRF.code.PRF_HMAC_SHA2_512,
    authentication: IpsecAuthentication.code.HMAC_SHA2_512,
  },
  {
    hash: Phase1Hash.code.SHA,
    integ: AUTH.AUTH_HMAC_SHA1_96,
    prf: PRF.code.PRF_HMAC_SHA1,
    authentication: IpsecAuthentication.code.HMAC_SHA,
  },
  {
    hash: Phase1Hash.code.MD5,
    integ: AUTH.AUTH_HMAC_MD5_96,
    prf: PRF.code.PRF_HMAC_MD5,
    authentication: IpsecAuthentication.code.HMAC_MD5,
  },
];

/**
 * Groups that GROUP_DESCRIPTION can name: IANA gives them the same numbers in both versions. Curve25519 and ML-KEM have
 * none in IKEv1.
 */
export const ikev1Groups: ReadonlySet<number> = new Set([
  DhGroup.code.MODP_768,
  DhGroup.code.MODP_1024,
  DhGroup.code.MODP_1536,
  DhGroup.code.MODP_2048,
  DhGroup.code.MODP_3072,
  DhGroup.code.MODP_4096,
  DhGroup.code.ECP_256,
  DhGroup.code.ECP_384,
  DhGroup.code.ECP_521,
  DhGroup.code.MODP_2048_256,
]);

const index = <R, K extends number | undefined>(rows: readonly R[], key: (row: R) => K) =>
  new Map(rows.flatMap((row) => (key(row) === undefined ? [] : [[key(row) as number, row] as const])));

/** Rows by IKEv2's transform ID. */
export const ikev1EncryptionByEncr: ReadonlyMap<number, Ikev1EncryptionRow> = index(
  ikev1Encryption,
  (row) => row.encr,
);
export const ikev1HashByInteg: ReadonlyMap<number, Ikev1HashRow> = index(ikev1Hashes, (row) => row.integ);
export const ikev1HashByPrf: ReadonlyMap<number, Ikev1HashRow> = index(ikev1Hashes, (row) => row.prf);

/** Rows by the numbers on the wire. */
export const ikev1EncryptionByPhase1: ReadonlyMap<number, Ikev1EncryptionRow> = index(
  ikev1Encryption,
  (row) => row.phase1,
);
export const ikev1EncryptionByEsp: ReadonlyMap<number, Ikev1EncryptionRow> = index(
  ikev1Encryption,
  (row) => row.esp,
);
export const ikev1HashByPhase1: ReadonlyMap<number, Ikev1HashRow> = index(ikev1Hashes, (row) => row.hash);
export const ikev1HashByAuthentication: ReadonlyMap<number, Ikev1HashRow> = index(
  ikev1Hashes,
  (row) => row.authentication,
);
