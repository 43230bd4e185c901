/** Readers of single values: text in, value or broken rule out. Nothing here looks at another value. */
import { type Endpoint, IpAddress, Prefix } from "../core/address.ts";
import {
  dh,
  encr,
  integ,
  type ParsedProposal,
  ProposalError,
  parseProposal,
  prf,
} from "../registry/index.ts";
import { accept, type Read, refuse } from "./leaf.ts";
import type { Identity, PeerAddress } from "./model.ts";
import { suggestion } from "./suggest.ts";

export function readName(text: string): Read<string> {
  // As a key of an object this one would be lost.
  if (text === "__proto__") return refuse("another name");
  return /^[A-Za-z0-9._-]{1,100}$/.test(text) ? accept(text) : refuse();
}

/** Linux: IFNAMSIZ is 16 with the terminator; `.` and `..` are not names in sysfs. */
export function readInterfaceName(text: string): Read<string> {
  return /^[A-Za-z0-9._-]{1,15}$/.test(text) && !/^\.{1,2}$/.test(text) ? accept(text) : refuse();
}

export function readSecretPath(text: string): Read<string> {
  // A NUL would end the path early in the kernel: the file checked would not be the file named.
  return text.length >= 1 && text.length <= 4096 && !text.includes("\0") ? accept(text) : refuse();
}

export function readIp(text: string): Read<IpAddress> {
  const address = IpAddress.tryParse(text);
  return address === undefined ? refuse() : accept(address);
}

/** Metrics are for this host's own Prometheus or a proxy that authenticates: no other address may be listened on. */
export function readLoopbackListen(text: string): Read<Endpoint> {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([1-9]\d{0,4})$/.exec(text);
  if (match === null) return refuse();
  const address = IpAddress.tryParse(match[1] ?? match[2]!);
  const port = Number(match[3]);
  if (address === undefined || port > 65_535 || !loopback.some((prefix) => prefix.contains(address)))
    return refuse();
  return accept({ address, port });
}

const loopback = [Prefix.parse("127.0.0.0/8"), Prefix.parse("::1/128")];

/** Host bits must be zero: `10.1.0.1/16` is a mistake more often than it is a network. */
export function readPrefix(text: string): Read<Prefix> {
  const [addressText, lengthText, ...rest] = text.split("/");
  const address = IpAddress.tryParse(addressText!);
  if (address === undefined || rest.length > 0) return refuse();
  const bits = address.bytes.length * 8;
  if (lengthText !== undefined && !/^(0|[1-9]\d{0,2})$/.test(lengthText)) return refuse();
  const length = lengthText === undefined ? bits : Number(lengthText);
  if (length > bits) return refuse(`a prefix length of at most ${bits}`);
  const prefix = new Prefix(address, length);
  if (!prefix.address.equals(address)) return refuse(`a prefix whose host bits are zero, here ${prefix}`);
  return accept(prefix);
}

/** 1 to 2^32 − 1, also as two 16-bit numbers (RFC 5396 asdot+). */
export function readAsn(text: string): Read<number> {
  const match = /^(?:(\d{1,5})\.)?(\d{1,10})$/.exec(text);
  if (match === null) return refuse();
  const high = Number(match[1] ?? 0);
  const low = Number(match[2]);
  if (match[1] !== undefined && (high > 0xffff || low > 0xffff)) return refuse();
  const asn = high * 65536 + low;
  return asn >= 1 && asn <= 0xffffffff ? accept(asn) : refuse();
}

/** An outer address of this gateway: one that packets can be sent from. */
export function readGatewayAddress(text: string): Read<IpAddress> {
  const address = IpAddress.tryParse(text);
  if (address === undefined) return refuse();
  const bad = notUnicast.find((range) => range.contains(address));
  return bad === undefined ? accept(address) : refuse(`an address of this host, not in ${bad}`);
}

/** Ranges are judged here, except 100.64.0.0/10, which the customer gateway may allow. */
export function readPeer(text: string): Read<PeerAddress> {
  if (text === "any") return accept({ kind: "any" });
  const address = IpAddress.tryParse(text);
  if (address !== undefined) {
    const bad = notAPeer.find((range) => range.contains(address));
    return bad === undefined
      ? accept({ kind: "ip", address })
      : refuse(`an address that a peer can have: not in ${bad}`);
  }
  return isDnsName(text) ? accept({ kind: "dns", name: text }) : refuse();
}

export const sharedAddressSpace = Prefix.parse("100.64.0.0/10");

/** An address, `user@fqdn`, or an FQDN; a key ID comes as bytes. */
export function readIdentity(text: string): Read<Identity> {
  const address = IpAddress.tryParse(text);
  if (address !== undefined) return accept({ kind: "address", address });
  if (text.includes("@")) {
    const email = /^[^\s@]{1,64}@[A-Za-z0-9._-]{1,253}$/.test(text) && printable.test(text);
    return email ? accept({ kind: "email", email: text }) : refuse();
  }
  // Digits and dots only is an address with a mistake in it, never a name.
  return /^[A-Za-z0-9._-]{1,253}$/.test(text) && !looksLikeAddress.test(text)
    ? accept({ kind: "fqdn", fqdn: text })
    : refuse();
}

/** `0x` and hex digits are bytes, anything else is its own UTF-8. 1 to 255 bytes. */
export function readKeyId(text: string): Read<Identity> {
  const hex = /^0x((?:[0-9a-fA-F]{2})+)$/.exec(text)?.[1];
  const keyId =
    hex === undefined
      ? new TextEncoder().encode(text)
      : Uint8Array.from(hex.match(/../g)!, (pair) => Number.parseInt(pair, 16));
  return keyId.length >= 1 && keyId.length <= 255
    ? accept({ kind: "keyId", keyId })
    : refuse("a keyId of 1 to 255 bytes, as text or as 0x and hex digits");
}

export const ppkIdRule = "a name of 1 to 64 printable characters";

/** PPK_ID of RFC 8784 §5.1: any octets; printable here, because both sides have to write it down. */
export function readPpkId(text: string): Read<string> {
  return /^[\x20-\x7e]{1,64}$/.test(text) ? accept(text) : refuse();
}

/** A link of BGP: a /30 of link-local addresses, but not the one of the cloud's metadata service. */
export function readLinkCidr(text: string): Read<Prefix> {
  const read = readPrefix(text);
  if (!read.ok) return refuse();
  if (read.value.length !== 30 || !linkLocal.contains(read.value)) return refuse();
  return read.value.contains(metadataService)
    ? refuse(`a /30 that is not in use: ${metadataService} is the cloud's metadata service`)
    : accept(read.value);
}

export function readProposal(use: "ike" | "esp"): (text: string) => Read<ParsedProposal> {
  return (text) => {
    if (!/^[A-Za-z0-9_-]{1,512}$/.test(text)) return refuse();
    try {
      return accept(parseProposal(text, use));
    } catch (error) {
      if (!(error instanceof ProposalError)) throw error;
      return refuse(`${error.message}${suggestion(error.word, keywords)}`);
    }
  };
}

function isDnsName(text: string): boolean {
  // RFC 1123 §2.1: labels of letters, digits and hyphens; a last label of digits only would be an address.
  const labels = text.replace(/\.$/, "").split(".");
  return (
    text.length <= 253 &&
    labels.every((label) => /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label)) &&
    !/^\d+$/.test(labels.at(-1)!)
  );
}

const printable = /^[\x21-\x7e]+$/;
const looksLikeAddress = /^[\d.]+$/;
const linkLocal = Prefix.parse("169.254.0.0/16");
const metadataService = IpAddress.parse("169.254.169.254");
// An IPv6 link-local address needs a zone, which no peer could be told; a mapped one is IPv4 in disguise.
const notUnicast = [
  ...["0.0.0.0/8", "224.0.0.0/4", "255.0.0.0/8"],
  ...["::/128", "fe80::/10", "ff00::/8", "::ffff:0:0/96"],
].map((p) => Prefix.parse(p));
const notAPeer = [...notUnicast, ...["127.0.0.0/8", "169.254.0.0/16", "::1/128"].map((p) => Prefix.parse(p))];
const keywords: readonly string[] = [
  ...Object.values(encr).flatMap((row) => Object.keys(row.keywords)),
  ...[integ, prf, dh].flatMap((rows) => Object.values(rows).flatMap((row) => [...row.keywords])),
];
