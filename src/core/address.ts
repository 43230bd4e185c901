/**
 * IP addresses and prefixes as values. An address is its bytes: 4 for IPv4, 16 for IPv6.
 */
export class IpAddress {
  readonly bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** `bytes`: 4 or 16 of them, copied. */
  static fromBytes(bytes: Uint8Array): IpAddress {
    if (bytes.length !== 4 && bytes.length !== 16)
      throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
    return new IpAddress(new Uint8Array(bytes));
  }

  /** Parses dotted-quad IPv4 or RFC 4291 IPv6 text. Throws RangeError on anything else. */
  static parse(text: string): IpAddress {
    const bytes = text.includes(":") ? parseV6(text) : parseV4(text);
    if (!bytes) throw new RangeError(`not an IP address: ${JSON.stringify(text)}`);
    return new IpAddress(bytes);
  }

  static tryParse(text: string): IpAddress | undefined {
    const bytes = text.includes(":") ? parseV6(text) : parseV4(text);
    return bytes && new IpAddress(bytes);
  }

  get family(): 4 | 6 {
    return this.bytes.length === 4 ? 4 : 6;
  }

  equals(other: IpAddress): boolean {
    return compareBytes(this.bytes, other.bytes) === 0 && this.family === other.family;
  }

  /** RFC 5952 text. */
  toString(): string {
    const { bytes } = this;
    return bytes.length === 4 ? `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` : formatV6(bytes);
  }

  toJSON(): string {
    return this.toString();
  }
}

/** A network: an address whose host bits are zero, and a prefix length. */
export class Prefix {
  readonly address: IpAddress;
  readonly length: number;

  /** Host bits of `address` are cleared. `length`: 0–32 or 0–128. */
  constructor(address: IpAddress, length: number) {
    const bits = address.bytes.length * 8;
    if (!Number.isInteger(length) || length < 0 || length > bits)
      throw new RangeError(`prefix length ${length} is not in 0–${bits}`);
    this.address = IpAddress.fromBytes(masked(address.bytes, length, 0));
    this.length = length;
  }

  /** Parses `10.1.0.0/16`; a bare address is a host prefix. Throws RangeError. */
  static parse(text: string): Prefix {
    const [addressText, lengthText, ...rest] = text.split("/");
    const address = IpAddress.parse(addressText!);
    if (lengthText === undefined) return new Prefix(address, address.bytes.length * 8);
    if (rest.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(lengthText))
      throw new RangeError(`not a prefix: ${JSON.stringify(text)}`);
    return new Prefix(address, Number(lengthText));
  }

  static any(family: 4 | 6): Prefix {
    return new Prefix(IpAddress.fromBytes(new Uint8Array(family === 4 ? 4 : 16)), 0);
  }

  get family(): 4 | 6 {
    return this.address.family;
  }

  /** First address of the range. */
  get first(): IpAddress {
    return this.address;
  }

  /** Last address of the range. */
  get last(): IpAddress {
    return IpAddress.fromBytes(masked(this.address.bytes, this.length, 0xff));
  }

  contains(other: IpAddress | Prefix): boolean {
    const address = other instanceof Prefix ? other.address : other;
    if (other instanceof Prefix && other.length < this.length) return false;
    if (address.family !== this.family) return false;
    return compareBytes(masked(address.bytes, this.length, 0), this.address.bytes) === 0;
  }

  overlaps(other: Prefix): boolean {
    return this.contains(other) || other.contains(this);
  }

  equals(other: Prefix): boolean {
    return this.length === other.length && this.address.equals(other.address);
  }

  toString(): string {
    return `${this.address}/${this.length}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** A UDP endpoint. */
export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
}

export function formatEndpoint(e: Endpoint): string {
  return e.address.family === 4 ? `${e.address}:${e.port}` : `[${e.address}]:${e.port}`;
}

/** Lexicographic order of two byte strings: negative, 0 or positive. Not for secrets. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return a.length - b.length;
}

function masked(bytes: Uint8Array, length: number, fill: number): Uint8Array {
  return bytes.map((b, i) => {
    const keep = Math.max(0, Math.min(8, length - i * 8));
    const mask = (0xff << (8 - keep)) & 0xff;
    return (b & mask) | (fill & ~mask & 0xff);
  });
}

function parseV4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    // No leading zeros: some parsers read them as octal, so the same text would mean two addresses.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[i] = Number(part);
  }
  return bytes;
}

function parseV6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

/** `atEnd`: whether the text ends here, so that RFC 4291 §2.2's dotted quad may stand for the last two groups. */
function groups(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (atEnd && i === parts.length - 1 && part.includes(".")) {
      const v4 = parseV4(part);
      if (!v4) return undefined;
      bytes.push(...v4);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      const group = Number.parseInt(part, 16);
      bytes.push(group >> 8, group & 0xff);
    }
  }
  return bytes;
}

function formatV6(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  // RFC 5952 §4.2: the longest run of two or more zero groups, the first of equals.
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && words[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const hex = (part: number[]) => part.map((w) => w.toString(16)).join(":");
  if (best.at < 0) return hex(words);
  return `${hex(words.slice(0, best.at))}::${hex(words.slice(best.at + best.length))}`;
}
