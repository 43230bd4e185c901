/**
 * The native tables as TypeScript sees them. The rows have one home, `native/tables/*.def`, and reach us through the
 * addon; the union types below are checked against them by `test/addon/tables.test.ts`.
 */
import { addon, type NativeTables } from "./native.ts";

/** Why a packet died: the names of native/tables/drops.def, without `none`. */
export const dropReasons = [
  "truncated",
  "unknown_spi",
  "replayed",
  "sequence_zero",
  "bad_icv",
  "bad_alignment",
  "bad_padding",
  "bad_next_header",
  "dummy",
  "bad_inner",
  "selector_mismatch",
  "fragment_refused",
  "fragment_orphan",
  "fragment_tiny",
  "fragment_overlap",
  "ecn_not_supported",
  "wrong_encapsulation",
  "no_route",
  "link_scope",
  "no_sa",
  "not_ip",
  "malformed",
  "too_big",
  "sequence_exhausted",
  "lifetime",
  "ttl_expired",
  "send_failed",
  "tun_write_failed",
  "handoff_full",
  "event_ring_full",
  "bad_ike",
  "keepalive",
] as const;
export type DropReason = (typeof dropReasons)[number];

/** What an operator should make of a drop that counts up. */
export type DropSeverity = "info" | "warn" | "error";

/** The rows of all native tables. Loads the addon. */
export function nativeTables(): NativeTables {
  return addon().tables;
}
