/**
 * Algorithm rows: everything code needs to know about an algorithm is a column here, so that nothing switches on its
 * name. A row exists for each algorithm an operator can write, whether or not this build can run it: `implemented`
 * says where it runs today.
 */
export interface AlgorithmRow {
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

/** A key encapsulation mechanism. The initiator's KE payload holds the encapsulation key, the answer the ciphertext. */
export interface KemRow extends AlgorithmRow {
  readonly encapsulationKeyBytes: number;
  readonly ciphertextBytes: number;
  readonly sharedSecretBytes: number;
  /** FIPS 203 §8: claimed security category, as the strength of the AES key that it compares with. */
  readonly strengthBits: number;
  readonly keywords: readonly string[];
  readonly synonyms: readonly string[];
}

export type HashName = "md5" | "sha1" | "sha256" | "sha384" | "sha512";

/** Values of the `implemented` column. */
export const ikeOnly = { ike: true, esp: false };
export const espOnly = { ike: false, esp: true };
export const everywhere = { ike: true, esp: true };
