/** Identities (RFC 7296 §3.5, RFC 2407 §4.6.2, which number them alike): settings ⇄ octets, comparison, text. */
import { compareBytes, IpAddress } from "../../core/address.ts";
import { IdType } from "../../registry/index.ts";
import type { Identity, PeerSettings } from "./settings.ts";

/** The part of an identity's payload that says who: the same in both versions of IKE. */
export interface EncodedIdentity {
  readonly idType: number;
  readonly data: Uint8Array;
}

/** Octet comparison, except that domain names do not depend on case (RFC 4343). */
export function identityMatches(id: Identity, payload: EncodedIdentity): boolean {
  const { idType, data } = encodeIdentity(id);
  if (idType !== payload.idType) return false;
  if (idType === IdType.code.ID_FQDN || idType === IdType.code.ID_RFC822_ADDR)
    return equalNames(data, payload.data);
  return compareBytes(data, payload.data) === 0;
}

export function formatIdentity(id: Identity): string {
  return formatIdPayload(encodeIdentity(id));
}

/** Our identity towards `peer`: the configured one, else our outer address. */
export function ownIdentity({ localId }: PeerSettings, local: IpAddress): Identity {
  return localId ?? { kind: "address", address: local };
}

/** Whom we expect: the configured identity, else the peer's address, else (roaming) whoever has the key. */
export function expectedIdentity(
  { remoteId, roaming }: PeerSettings,
  remote: IpAddress,
): Identity | undefined {
  if (remoteId) return remoteId;
  return roaming ? undefined : { kind: "address", address: remote };
}

/** Details of a record. */
export function identityMismatch(expected: Identity, got: EncodedIdentity) {
  const ours = [formatIdentity(expected)];
  const theirs = [formatIdPayload(got)];
  return { ours, theirs, difference: `peer identity: expected ${ours}, got ${theirs}` };
}

/** Printable whatever the peer sent: other octets than visible ASCII appear as hex. */
export function formatIdPayload(payload: EncodedIdentity): string {
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

export function encodeIdentity(id: Identity): EncodedIdentity {
  switch (id.kind) {
    case "address": {
      const { ID_IPV4_ADDR, ID_IPV6_ADDR } = IdType.code;
      return { idType: id.address.family === 4 ? ID_IPV4_ADDR : ID_IPV6_ADDR, data: id.address.bytes };
    }
    case "fqdn":
      return { idType: IdType.code.ID_FQDN, data: encoder.encode(id.fqdn) };
    case "email":
      return { idType: IdType.code.ID_RFC822_ADDR, data: encoder.encode(id.email) };
    case "keyId":
      return { idType: IdType.code.ID_KEY_ID, data: id.keyId };
  }
}

/** RFC 4343 §2: the letters A to Z are their small ones, and every other octet is only itself. */
function equalNames(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i] && small(a[i]!) !== small(b[i]!)) return false;
  return true;
}

const small = (octet: number): number => (octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet);
const encoder = new TextEncoder();
const longestShown = 64;
const printable = (data: Uint8Array): boolean =>
  data.length > 0 && data.length <= 255 && data.every((b) => b > 0x20 && b < 0x7f);
const text = (data: Uint8Array): string => String.fromCharCode(...data);
const hex = (data: Uint8Array): string => {
  const shown = Array.from(data.subarray(0, longestShown), (b) => b.toString(16).padStart(2, "0")).join("");
  return data.length > longestShown ? `${shown}…` : shown;
};
