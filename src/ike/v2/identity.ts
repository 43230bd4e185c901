/** Identities (RFC 7296 §3.5) as payloads. */
import type { IdPayload } from "../../wire/index.ts";
import { encodeIdentity } from "../common/identity.ts";
import type { Identity } from "../common/settings.ts";

export function identityPayload<K extends "IDi" | "IDr">(kind: K, id: Identity): IdPayload<K> {
  const { idType, data } = encodeIdentity(id);
  return { kind, idType, data };
}
