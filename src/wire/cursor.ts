/**
 * Checked cursors over bytes. Every read names its field, so an error says where it happened
 * (`SA > Proposal > Transform > Transform Length`). Reads return views of the datagram, never copies.
 */
import { WireError } from "../core/errors.ts";

export class Reader {
  readonly bytes: Uint8Array;
  #at: number;
  readonly #end: number;
  readonly #name: string;
  readonly #parent: Reader | undefined;

  /** Reads `bytes` from `start` to `end`; `name` is this structure's part of the error path. */
  constructor(bytes: Uint8Array, name: string, start = 0, end = bytes.length, parent?: Reader) {
    this.bytes = bytes;
    this.#name = name;
    this.#at = start;
    this.#end = end;
    this.#parent = parent;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  /** Offset in `bytes` of the next unread octet. */
  get offset(): number {
    return this.#at;
  }

  u8(field: string): number {
    return this.bytes[this.#take(1, field)]!;
  }

  u16(field: string): number {
    const at = this.#take(2, field);
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }

  u24(field: string): number {
    const at = this.#take(3, field);
    return (this.bytes[at]! << 16) | (this.bytes[at + 1]! << 8) | this.bytes[at + 2]!;
  }

  u32(field: string): number {
    const at = this.#take(4, field);
    return (
      this.bytes[at]! * 2 ** 24 +
      ((this.bytes[at + 1]! << 16) | (this.bytes[at + 2]! << 8) | this.bytes[at + 3]!)
    );
  }

  u64(field: string): bigint {
    if (this.remaining < 8) this.#short(8, field);
    return (BigInt(this.u32(field)) << 32n) | BigInt(this.u32(field));
  }

  /** A view of the next `length` octets. */
  view(length: number, field: string): Uint8Array {
    const at = this.#take(length, field);
    return this.bytes.subarray(at, at + length);
  }

  /** A view of everything left, possibly empty. */
  rest(field: string): Uint8Array {
    return this.view(this.remaining, field);
  }

  /** A reader of the next `length` octets, which this reader skips. */
  sub(length: number, name: string): Reader {
    const at = this.#take(length, name);
    return new Reader(this.bytes, name, at, at + length, this);
  }

  /** Refuses octets that nothing has read. */
  end(): void {
    if (this.remaining > 0) throw new WireError(this.#path(), `${this.remaining} octets after the end`);
  }

  fail(field: string, problem: string): never {
    throw new WireError(`${this.#path()} > ${field}`, problem);
  }

  #take(length: number, field: string): number {
    if (length > this.remaining) this.#short(length, field);
    const at = this.#at;
    this.#at += length;
    return at;
  }

  #short(length: number, field: string): never {
    this.fail(field, `needs ${length} octets, ${this.remaining} are left`);
  }

  #path(): string {
    return this.#parent ? `${this.#parent.#path()} > ${this.#name}` : this.#name;
  }
}

/** Grows as it is written. A value that does not fit its field is our own bug: RangeError. */
export class Writer {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 512) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    return this.#integer(value, 1);
  }

  u16(value: number): this {
    return this.#integer(value, 2);
  }

  u24(value: number): this {
    return this.#integer(value, 3);
  }

  u32(value: number): this {
    return this.#integer(value, 4);
  }

  u64(value: bigint): this {
    if (value < 0n || value >= 1n << 64n) throw new RangeError("not a 64-bit unsigned integer");
    return this.u32(Number(value >> 32n)).u32(Number(value & 0xffffffffn));
  }

  bytes(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  zeros(length: number): this {
    const at = this.#room(length);
    this.#bytes.fill(0, at, at + length);
    return this;
  }

  /** Overwrites an earlier 16-bit field: a length that is known only after what it measures. */
  patchU16(at: number, value: number): void {
    this.#store(at, checked(value, 2), 2);
  }

  patchU8(at: number, value: number): void {
    this.#store(at, checked(value, 1), 1);
  }

  patchU32(at: number, value: number): void {
    this.#store(at, checked(value, 4), 4);
  }

  /** What was written, a view of the writer's own memory. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #integer(value: number, width: number): this {
    // Reserve first: `this.#bytes` evaluated before growth would be the old array.
    const at = this.#room(width);
    this.#store(at, checked(value, width), width);
    return this;
  }

  #store(at: number, value: number, width: number): void {
    for (let i = width - 1, rest = value; i >= 0; i--, rest = Math.floor(rest / 256))
      this.#bytes[at + i] = rest;
  }

  #room(length: number): number {
    const at = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    return at;
  }
}

function checked(value: number, width: number): number {
  if (!Number.isInteger(value) || value < 0 || value >= 256 ** width)
    throw new RangeError(`${value} does not fit in ${width} octets`);
  return value;
}

/** Both directions of one structure. `decode` gets a reader limited to the structure. */
export interface Codec<T> {
  decode(r: Reader): T;
  encode(w: Writer, value: T): void;
}
