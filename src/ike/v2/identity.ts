/** Identities (RFC 7296 §3.5): settings ⇄ payloads, comparison, text. */
import { compareBytes, IpAddress } from "../../core/address.ts";
import { IdType } from "../../registry/index.ts";
import type { IdPayload } from "../../wire/index.ts";
import type { Identity } from "./settings.ts";

export function identityPayload<K extends "IDi" | "IDr">(kind: K, id: Identity): IdPayload<K> {
  const { idType, data } = encoded(id);
  return { kind, idType, data };
}

/** Octet comparison, except that domain names do not depend on case (RFC 4343). */
export function identityMatches(id: Identity, payload: IdPayload): boolean {
  const { idType, data } = encoded(id);
  if (idType !== payload.idType) return false;
  if (idType === IdType.code.ID_FQDN || idType === IdType.code.ID_RFC822_ADDR)
    return text(data).toLowerCase() === text(payload.data).toLowerCase();
  return compareBytes(data, payload.data) === 0;
}

export function formatIdentity(id: Identity): string {
  return formatIdPayload({ kind: "IDi", ...encoded(id) });
}

/** Printable whatever the peer sent: other octets than visible ASCII appear as hex. */
export function formatIdPayload(payload: IdPayload): string {
  const { idType, data } = payload;
  switch (idType) {
    case IdType.code.ID_IPV4_ADDR:
    case IdType.code.ID_IPV6_ADDR:
      return IpAddress.fromBytes(data).toString();
    case IdType.code.ID_FQDN:
    case IdType.code.ID_RFC822_ADDR:
      return printable(data) ? text(data) : `${IdType.nameOf(idType)} 0x${hex(data)}`;
    case IdType.code.ID_KEY_ID:
      return `keyid:${printable(data) ? text(data) : `0x${hex(data)}`}`;
    default:
      return `${IdType.nameOf(idType)} 0x${hex(data)}`;
  }
}

function encoded(id: Identity): { idType: number; data: Uint8Array } {
  switch (id.kind) {
    case "address": {
      const { ID_IPV4_ADDR, ID_IPV6_ADDR } = IdType.code;
      return { idType: id.address.family === 4 ? ID_IPV4_ADDR : ID_IPV6_ADDR, data: id.address.bytes };
    }
    case "fqdn":
      return { idType: IdType.code.ID_FQDN, data: new TextEncoder().encode(id.fqdn) };
    case "email":
      return { idType: IdType.code.ID_RFC822_ADDR, data: new TextEncoder().encode(id.email) };
    case "keyId":
      return { idType: IdType.code.ID_KEY_ID, data: id.keyId };
  }
}

const longestShown = 64;
const printable = (data: Uint8Array): boolean =>
  data.length > 0 && data.length <= 255 && data.every((b) => b > 0x20 && b < 0x7f);
const text = (data: Uint8Array): string => new TextDecoder("latin1").decode(data);
const hex = (data: Uint8Array): string => {
  const shown = Array.from(data.subarray(0, longestShown), (b) => b.toString(16).padStart(2, "0")).join("");
  return data.length > longestShown ? `${shown}…` : shown;
};
