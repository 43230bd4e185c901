/** Vendor IDs: how IKEv1 peers tell each other what they can do beyond RFC 2409. */

export interface VendorIdRow {
  readonly name: string;
  /** Where it is defined. */
  readonly source: string;
  /** What a peer's payload begins with, in hexadecimal; what follows is a version or flags. */
  readonly prefix: string;
  /** What we send, in hexadecimal; undefined for what we only recognise. */
  readonly sent: string | undefined;
  /** The text whose MD5 the prefix is, where it is one. */
  readonly md5Of?: string;
}

export const vendorIds = {
  RFC_3947: {
    name: "NAT-T (RFC 3947)",
    source: "RFC 3947 §3.1",
    prefix: "4a131c81070358455c5728f20e95452f",
    sent: "4a131c81070358455c5728f20e95452f",
    md5Of: "RFC 3947",
  },
  NAT_T_03: {
    name: "NAT-T (draft 03)",
    source: "draft-ietf-ipsec-nat-t-ike-03 §3.1",
    prefix: "7d9419a65310ca6f2c179d9215529d56",
    sent: "7d9419a65310ca6f2c179d9215529d56",
    md5Of: "draft-ietf-ipsec-nat-t-ike-03",
  },
  NAT_T_02: {
    name: "NAT-T (draft 02)",
    source: "draft-ietf-ipsec-nat-t-ike-02 §3.1",
    prefix: "cd60464335df21f87cfdb2fc68b6a448",
    sent: "cd60464335df21f87cfdb2fc68b6a448",
    md5Of: "draft-ietf-ipsec-nat-t-ike-02",
  },
  // The draft gave the hash of its own name with a newline behind it, and both are in use.
  NAT_T_02_NEWLINE: {
    name: "NAT-T (draft 02, with newline)",
    source: "draft-ietf-ipsec-nat-t-ike-02 §3.1",
    prefix: "90cb80913ebb696e086381b5ec427b1f",
    sent: "90cb80913ebb696e086381b5ec427b1f",
    md5Of: "draft-ietf-ipsec-nat-t-ike-02\n",
  },
  NAT_T_00: {
    name: "NAT-T (draft 00)",
    source: "draft-ietf-ipsec-nat-t-ike-00 §3.1",
    prefix: "4485152d18b6bbcd0be8a8469579ddcc",
    sent: undefined, // No change of ports: an older protocol, not to be mixed with the others.
    md5Of: "draft-ietf-ipsec-nat-t-ike-00",
  },
  DPD: {
    name: "DPD",
    source: "RFC 3706 §5.1",
    prefix: "afcad71368a1f1c96b8696fc7757",
    sent: "afcad71368a1f1c96b8696fc77570100", // major version 1, minor version 0
  },
  FRAGMENTATION: {
    name: "fragmentation",
    source: "[MS-IKEE] §1.7",
    prefix: "4048b7d56ebce88525e7de7f00d6c2d3",
    // The four octets of capabilities that most peers add; this bit: fragments of main mode and all that follows.
    sent: "4048b7d56ebce88525e7de7f00d6c2d380000000",
    md5Of: "FRAGMENTATION",
  },
  XAUTH: {
    name: "XAUTH",
    source: "draft-ietf-ipsec-isakmp-xauth-06 §2",
    prefix: "09002689dfd6b712",
    sent: undefined,
  },
  CISCO_UNITY: {
    name: "Cisco Unity",
    source: "observed",
    prefix: "12f5f28c457168a9702d9fe274cc",
    sent: undefined,
  },
  STRONGSWAN: {
    name: "strongSwan",
    source: "observed",
    prefix: "882fe56d6fd20dbc2251613b2ebe5beb",
    sent: undefined,
    md5Of: "strongSwan",
  },
  MICROSOFT: {
    name: "Microsoft",
    source: "[MS-IKEE] §1.7",
    prefix: "1e2b516905991c7d7c96fcbfb587e461",
    sent: undefined,
    md5Of: "MS NT5 ISAKMPOAKLEY",
  },
} as const satisfies Record<string, VendorIdRow>;

export type VendorIdName = keyof typeof vendorIds;

/** The row whose prefix `data` begins with; undefined for what nobody here knows. */
export function vendorIdOf(data: Uint8Array): VendorIdName | undefined {
  return prefixes.find(({ prefix }) => startsWith(data, prefix))?.name;
}

/** What to send for a row. RangeError for one that we only recognise. */
export function vendorIdBytes(name: VendorIdName): Uint8Array {
  const { sent } = vendorIds[name];
  if (sent === undefined) throw new RangeError(`${name} is not ours to send`);
  return fromHex(sent);
}

function startsWith(data: Uint8Array, prefix: Uint8Array): boolean {
  return data.length >= prefix.length && prefix.every((octet, i) => data[i] === octet);
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g)!, (pair) => Number.parseInt(pair, 16));
}

const prefixes = Object.entries(vendorIds).map(([name, row]) => ({
  name: name as VendorIdName,
  prefix: fromHex(row.prefix),
}));
