/**
 * Encrypted payload (RFC 7296 §3.14), still closed: `openSk` opens it. Always the last payload of its message.
 */
export interface SkPayload {
  readonly kind: "SK";
  /** Type of the first payload inside. */
  readonly firstPayload: number;
  /** IV, ciphertext and ICV. */
  readonly body: Uint8Array;
  /** Offset of `body` in the datagram; what precedes it is the additional authenticated data (RFC 5282 §5.1). */
  readonly bodyOffset: number;
}

/**
 * Encrypted Fragment payload (RFC 7383 §2.5), still closed.
 *
 * |        Fragment Number        |        Total Fragments        |
 */
export interface SkfPayload {
  readonly kind: "SKF";
  /** Type of the first payload inside; 0 in every fragment but the first. */
  readonly firstPayload: number;
  /** 1 to `totalFragments`. */
  readonly fragmentNumber: number;
  readonly totalFragments: number;
  readonly body: Uint8Array;
  readonly bodyOffset: number;
}
