/** What a negotiation settles on: one transform of each kind. */

/** The algorithms of one IKE SA. Numbers are IANA transform IDs. */
export interface IkeSuite {
  readonly encr: number;
  /** The Key Length attribute; undefined where the algorithm's key length is fixed. */
  readonly keyBits: number | undefined;
  /** 0 (NONE) when `encr` is AEAD. */
  readonly integ: number;
  readonly prf: number;
  readonly group: number;
  /** RFC 9370; absent when there is none. */
  readonly additional?: readonly AdditionalMethod[];
}

/** The algorithms of one CHILD_SA. */
export interface EspSuite {
  readonly encr: number;
  readonly keyBits: number | undefined;
  readonly integ: number;
  /** 0 (NONE) without PFS. */
  readonly group: number;
  readonly esn: boolean;
  /** RFC 9370; absent when there is none. */
  readonly additional?: readonly AdditionalMethod[];
}

/** An additional key exchange that was agreed on; a list of them is in the order in which they are done. */
export interface AdditionalMethod {
  /** TransformType ADDKE1 to ADDKE7. */
  readonly type: number;
  readonly method: number;
}
