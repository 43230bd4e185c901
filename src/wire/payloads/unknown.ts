/**
 * A payload of a type that this program does not know. RFC 7296 §2.5: skipped, unless its critical bit is set; then
 * the whole message is rejected with UNSUPPORTED_CRITICAL_PAYLOAD.
 */
export interface UnknownPayload {
  readonly kind: "unknown";
  readonly type: number;
  readonly critical: boolean;
  readonly body: Uint8Array;
}
