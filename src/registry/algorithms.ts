/**
 * Algorithm rows: everything code needs to know about an algorithm is a column here, so that nothing switches on its
 * name. A row exists for each algorithm an operator can write, whether or not this build can run it: `implemented`
 * says where it runs today.
 */
import { DhGroup, EncryptionAlgorithm, IntegrityAlgorithm, PRF } from "./transforms.ts";

interface AlgorithmRow {
  /** IANA transform ID. */
  readonly id: number;
  readonly rfc: string;
  /** Why the algorithm is in no default; undefined when it is sound. */
  readonly weak: string | undefined;
  /** Where the specifications allow it. */
  readonly ike: boolean;
  readonly esp: boolean;
  /** Where this build runs it. */
  readonly implemented: { readonly ike: boolean; readonly esp: boolean };
}

/** A keyword and the Key Length attribute that it stands for; undefined where the key length is fixed. */
export type KeywordRow = Readonly<Record<string, number | undefined>>;

export interface EncryptionRow extends AlgorithmRow {
  readonly mode: "aead" | "cbc" | "ctr" | "null";
  /** Key lengths, ascending, without the salt. */
  readonly keyBits: readonly number[];
  /** RFC 7296 §3.3.5: whether proposals carry the Key Length attribute (never with a fixed-length key). */
  readonly keyLengthAttribute: boolean;
  /** Implicit part of the nonce, cut from KEYMAT after the key. */
  readonly saltBytes: number;
  /** Explicit IV on the wire. */
  readonly ivBytes: number;
  /** 0 unless `aead`. */
  readonly icvBytes: number;
  /** What the plaintext is padded to. */
  readonly block: number;
  /** swanctl's word per key length. */
  readonly keywords: KeywordRow;
  readonly synonyms: KeywordRow;
}

export interface PrfRow extends AlgorithmRow {
  readonly hash: HashName;
  /** Preferred key length and output length: the same for every HMAC (RFC 7296 §2.13, RFC 4868). */
  readonly keyBytes: number;
  readonly keywords: readonly string[];
  readonly synonyms: readonly string[];
}

export interface IntegrityRow extends AlgorithmRow {
  readonly hash: HashName;
  readonly keyBytes: number;
  /** What of the MAC travels. */
  readonly icvBytes: number;
  /** RFC 7296 §2.13 habit of every implementation: the PRF of the same hash. */
  readonly prf: number;
  readonly keywords: readonly string[];
  readonly synonyms: readonly string[];
}

export interface DhRow extends AlgorithmRow {
  readonly kind: "modp" | "ecp" | "x25519";
  /** Key Exchange Data length. */
  readonly publicBytes: number;
  readonly sharedSecretBytes: number;
  /** Estimated strength against the best known attack, RFC 3526 §8 and RFC 5903. */
  readonly strengthBits: number;
  readonly keywords: readonly string[];
  readonly synonyms: readonly string[];
}

export type HashName = "md5" | "sha1" | "sha256" | "sha384" | "sha512";

const ENCR = EncryptionAlgorithm.code;
const AUTH = IntegrityAlgorithm.code;
const DH = DhGroup.code;

const nowhere = { ike: false, esp: false };
const ikeOnly = { ike: true, esp: false };
const everywhere = { ike: true, esp: true };

const aes = {
  keyBits: [128, 192, 256],
  keyLengthAttribute: true,
  weak: undefined,
  ike: true,
  esp: true,
} as const;

export const encr = {
  ENCR_AES_GCM_16: {
    ...aes,
    id: ENCR.ENCR_AES_GCM_16,
    rfc: "RFC 4106, RFC 5282",
    mode: "aead",
    saltBytes: 4,
    ivBytes: 8,
    icvBytes: 16,
    block: 1,
    keywords: { aes128gcm16: 128, aes192gcm16: 192, aes256gcm16: 256 },
    synonyms: {
      aes128gcm128: 128,
      aes192gcm128: 192,
      aes256gcm128: 256,
      aes128gcm: 128,
      aes192gcm: 192,
      aes256gcm: 256,
    },
    implemented: everywhere,
  },
  ENCR_CHACHA20_POLY1305: {
    id: ENCR.ENCR_CHACHA20_POLY1305,
    rfc: "RFC 7634",
    mode: "aead",
    keyBits: [256],
    keyLengthAttribute: false,
    saltBytes: 4,
    ivBytes: 8,
    icvBytes: 16,
    block: 1,
    keywords: { chacha20poly1305: undefined },
    synonyms: { chacha20: undefined },
    weak: undefined,
    ike: true,
    esp: true,
    implemented: nowhere,
  },
  ENCR_AES_CBC: {
    ...aes,
    id: ENCR.ENCR_AES_CBC,
    rfc: "RFC 3602",
    mode: "cbc",
    saltBytes: 0,
    ivBytes: 16,
    icvBytes: 0,
    block: 16,
    keywords: { aes128: 128, aes192: 192, aes256: 256 },
    synonyms: { aes: 128 },
    implemented: ikeOnly,
  },
  ENCR_AES_CTR: {
    ...aes,
    id: ENCR.ENCR_AES_CTR,
    rfc: "RFC 3686, RFC 5930",
    mode: "ctr",
    saltBytes: 4,
    ivBytes: 8,
    icvBytes: 0,
    block: 1,
    keywords: { aes128ctr: 128, aes192ctr: 192, aes256ctr: 256 },
    synonyms: {},
    implemented: nowhere,
  },
  ENCR_3DES: {
    id: ENCR.ENCR_3DES,
    rfc: "RFC 2451",
    mode: "cbc",
    keyBits: [192],
    keyLengthAttribute: false,
    saltBytes: 0,
    ivBytes: 8,
    icvBytes: 0,
    block: 8,
    keywords: { "3des": undefined },
    synonyms: {},
    weak: "64-bit blocks: collisions leak plaintext after a few gigabytes (RFC 8221)",
    ike: true,
    esp: true,
    implemented: nowhere,
  },
  ENCR_DES: {
    id: ENCR.ENCR_DES,
    rfc: "RFC 2405",
    mode: "cbc",
    keyBits: [64],
    keyLengthAttribute: false,
    saltBytes: 0,
    ivBytes: 8,
    icvBytes: 0,
    block: 8,
    keywords: { des: undefined },
    synonyms: {},
    weak: "a 56-bit key can be searched (RFC 8247)",
    ike: true,
    esp: true,
    implemented: nowhere,
  },
  ENCR_NULL: {
    id: ENCR.ENCR_NULL,
    rfc: "RFC 2410",
    mode: "null",
    keyBits: [0],
    keyLengthAttribute: false,
    saltBytes: 0,
    ivBytes: 0,
    icvBytes: 0,
    block: 1,
    keywords: { null: undefined },
    synonyms: {},
    weak: "nothing is encrypted",
    ike: false,
    esp: true,
    implemented: nowhere,
  },
} as const satisfies Record<string, EncryptionRow>;

const sha1Weak = "SHA-1 is obsolete (RFC 8247 allows its HMAC for old peers only)";
const md5Weak = "MD5 is broken (RFC 8247)";

export const integ = {
  AUTH_HMAC_SHA2_256_128: {
    id: AUTH.AUTH_HMAC_SHA2_256_128,
    rfc: "RFC 4868",
    hash: "sha256",
    keyBytes: 32,
    icvBytes: 16,
    prf: PRF.code.PRF_HMAC_SHA2_256,
    keywords: ["sha256"],
    synonyms: ["sha2_256"],
    weak: undefined,
    ike: true,
    esp: true,
    implemented: ikeOnly,
  },
  AUTH_HMAC_SHA2_384_192: {
    id: AUTH.AUTH_HMAC_SHA2_384_192,
    rfc: "RFC 4868",
    hash: "sha384",
    keyBytes: 48,
    icvBytes: 24,
    prf: PRF.code.PRF_HMAC_SHA2_384,
    keywords: ["sha384"],
    synonyms: ["sha2_384"],
    weak: undefined,
    ike: true,
    esp: true,
    implemented: ikeOnly,
  },
  AUTH_HMAC_SHA2_512_256: {
    id: AUTH.AUTH_HMAC_SHA2_512_256,
    rfc: "RFC 4868",
    hash: "sha512",
    keyBytes: 64,
    icvBytes: 32,
    prf: PRF.code.PRF_HMAC_SHA2_512,
    keywords: ["sha512"],
    synonyms: ["sha2_512"],
    weak: undefined,
    ike: true,
    esp: true,
    implemented: ikeOnly,
  },
  AUTH_HMAC_SHA1_96: {
    id: AUTH.AUTH_HMAC_SHA1_96,
    rfc: "RFC 2404",
    hash: "sha1",
    keyBytes: 20,
    icvBytes: 12,
    prf: PRF.code.PRF_HMAC_SHA1,
    keywords: ["sha1"],
    synonyms: ["sha"],
    weak: sha1Weak,
    ike: true,
    esp: true,
    implemented: ikeOnly,
  },
  AUTH_HMAC_MD5_96: {
    id: AUTH.AUTH_HMAC_MD5_96,
    rfc: "RFC 2403",
    hash: "md5",
    keyBytes: 16,
    icvBytes: 12,
    prf: PRF.code.PRF_HMAC_MD5,
    keywords: ["md5"],
    synonyms: [],
    weak: md5Weak,
    ike: true,
    esp: true,
    implemented: nowhere,
  },
} as const satisfies Record<string, IntegrityRow>;

export const prf = {
  PRF_HMAC_SHA2_256: {
    id: PRF.code.PRF_HMAC_SHA2_256,
    rfc: "RFC 4868",
    hash: "sha256",
    keyBytes: 32,
    keywords: ["prfsha256"],
    synonyms: [],
    weak: undefined,
    ike: true,
    esp: false,
    implemented: ikeOnly,
  },
  PRF_HMAC_SHA2_384: {
    id: PRF.code.PRF_HMAC_SHA2_384,
    rfc: "RFC 4868",
    hash: "sha384",
    keyBytes: 48,
    keywords: ["prfsha384"],
    synonyms: [],
    weak: undefined,
    ike: true,
    esp: false,
    implemented: ikeOnly,
  },
  PRF_HMAC_SHA2_512: {
    id: PRF.code.PRF_HMAC_SHA2_512,
    rfc: "RFC 4868",
    hash: "sha512",
    keyBytes: 64,
    keywords: ["prfsha512"],
    synonyms: [],
    weak: undefined,
    ike: true,
    esp: false,
    implemented: ikeOnly,
  },
  PRF_HMAC_SHA1: {
    id: PRF.code.PRF_HMAC_SHA1,
    rfc: "RFC 2104",
    hash: "sha1",
    keyBytes: 20,
    keywords: ["prfsha1"],
    synonyms: [],
    weak: sha1Weak,
    ike: true,
    esp: false,
    implemented: ikeOnly,
  },
  PRF_HMAC_MD5: {
    id: PRF.code.PRF_HMAC_MD5,
    rfc: "RFC 2104",
    hash: "md5",
    keyBytes: 16,
    keywords: ["prfmd5"],
    synonyms: [],
    weak: md5Weak,
    ike: true,
    esp: false,
    implemented: nowhere,
  },
} as const satisfies Record<string, PrfRow>;

const shortModp = "the discrete logarithm is within reach of a rich attacker (RFC 8247)";
const group = { ike: true, esp: true, implemented: everywhere } as const;
const modp = (bits: number) =>
  ({ kind: "modp", publicBytes: bits / 8, sharedSecretBytes: bits / 8 }) as const;
// RFC 5903 §7: the public value is x | y, the shared secret is x alone.
const ecp = (bytes: number) => ({ kind: "ecp", publicBytes: 2 * bytes, sharedSecretBytes: bytes }) as const;

export const dh = {
  CURVE25519: {
    ...group,
    id: DH.CURVE25519,
    rfc: "RFC 8031",
    kind: "x25519",
    publicBytes: 32,
    sharedSecretBytes: 32,
    strengthBits: 128,
    keywords: ["x25519"],
    synonyms: ["curve25519", "group31"],
    weak: undefined,
  },
  ECP_256: {
    ...group,
    ...ecp(32),
    id: DH.ECP_256,
    rfc: "RFC 5903",
    strengthBits: 128,
    keywords: ["ecp256"],
    synonyms: ["group19"],
    weak: undefined,
  },
  ECP_384: {
    ...group,
    ...ecp(48),
    id: DH.ECP_384,
    rfc: "RFC 5903",
    strengthBits: 192,
    keywords: ["ecp384"],
    synonyms: ["group20"],
    weak: undefined,
  },
  ECP_521: {
    ...group,
    ...ecp(66),
    id: DH.ECP_521,
    rfc: "RFC 5903",
    strengthBits: 256,
    keywords: ["ecp521"],
    synonyms: ["group21"],
    weak: undefined,
  },
  MODP_4096: {
    ...group,
    ...modp(4096),
    id: DH.MODP_4096,
    rfc: "RFC 3526",
    strengthBits: 150,
    keywords: ["modp4096"],
    synonyms: ["group16"],
    weak: undefined,
  },
  MODP_3072: {
    ...group,
    ...modp(3072),
    id: DH.MODP_3072,
    rfc: "RFC 3526",
    strengthBits: 130,
    keywords: ["modp3072"],
    synonyms: ["group15"],
    weak: undefined,
  },
  MODP_2048: {
    ...group,
    ...modp(2048),
    id: DH.MODP_2048,
    rfc: "RFC 3526",
    strengthBits: 110,
    keywords: ["modp2048"],
    synonyms: ["group14"],
    weak: undefined,
  },
  MODP_2048_256: {
    ...group,
    ...modp(2048),
    id: DH.MODP_2048_256,
    rfc: "RFC 5114",
    strengthBits: 110,
    keywords: ["modp2048s256"],
    synonyms: ["group24"],
    weak: "where its prime came from is unexplained (RFC 8247)",
    implemented: nowhere,
  },
  MODP_1536: {
    ...group,
    ...modp(1536),
    id: DH.MODP_1536,
    rfc: "RFC 3526",
    strengthBits: 90,
    keywords: ["modp1536"],
    synonyms: ["group5"],
    weak: shortModp,
  },
  MODP_1024: {
    ...group,
    ...modp(1024),
    id: DH.MODP_1024,
    rfc: "RFC 2409",
    strengthBits: 80,
    keywords: ["modp1024"],
    synonyms: ["group2"],
    weak: shortModp,
  },
  MODP_768: {
    ...group,
    ...modp(768),
    id: DH.MODP_768,
    rfc: "RFC 2409",
    strengthBits: 66,
    keywords: ["modp768"],
    synonyms: ["group1"],
    weak: shortModp,
  },
} as const satisfies Record<string, DhRow>;

const byId = <R extends AlgorithmRow>(rows: Readonly<Record<string, R>>): ReadonlyMap<number, R> =>
  new Map(Object.values(rows).map((row) => [row.id, row]));

/** Rows by IANA transform ID. A missing row: an algorithm this program cannot name, so never choose it. */
export const encrById: ReadonlyMap<number, EncryptionRow> = byId<EncryptionRow>(encr);
export const integById: ReadonlyMap<number, IntegrityRow> = byId<IntegrityRow>(integ);
export const prfById: ReadonlyMap<number, PrfRow> = byId<PrfRow>(prf);
export const dhById: ReadonlyMap<number, DhRow> = byId<DhRow>(dh);

/** Key length of an encryption transform in bits; `keyBits` is its Key Length attribute. RangeError if impossible. */
export function encrKeyBits(row: EncryptionRow, keyBits: number | undefined): number {
  const bits = row.keyLengthAttribute ? keyBits : row.keyBits[0];
  if (bits === undefined || !row.keyBits.includes(bits) || (!row.keyLengthAttribute && keyBits !== undefined))
    throw new RangeError(`${EncryptionAlgorithm.nameOf(row.id)} has no key length ${keyBits}`);
  return bits;
}
