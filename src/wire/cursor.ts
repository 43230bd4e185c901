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
    eight.setUint32(0, this.u32(field));
    eight.setUint32(4, this.u32(field));
    return eight.getBigUint64(0);
  }

  /** A view of the next `length` octets. */
  view(length: number, field: string): Uint8Array {
    const at = this.#take(length, field);
    if (length === 0) return nothing;
    // Not `subarray`: of a Buffer it would make another Buffer, at several times the cost.
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + at, length);
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
    // Reserve first, here and below: `this.#bytes` evaluated before growth would be the old array.
    this.patchU8(this.#room(1), value);
    return this;
  }

  u16(value: number): this {
    this.patchU16(this.#room(2), value);
    return this;
  }

  u24(value: number): this {
    const at = this.#room(3);
    const bytes = this.#bytes;
    bytes[at] = checked(value, 0xffffff) >> 16;
    bytes[at + 1] = value >> 8;
    bytes[at + 2] = value;
    return this;
  }

  u32(value: number): this {
    this.patchU32(this.#room(4), value);
    return this;
  }

  u64(value: bigint): this {
    if (value < 0n || value > 0xffffffffffffffffn) throw new RangeError("not a 64-bit unsigned integer");
    eight.setBigUint64(0, value);
    return this.u32(eight.getUint32(0)).u32(eight.getUint32(4));
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
    const bytes = this.#bytes;
    bytes[at] = checked(value, 0xffff) >> 8;
    bytes[at + 1] = value;
  }

  patchU8(at: number, value: number): void {
    this.#bytes[at] = checked(value, 0xff);
  }

  patchU32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = checked(value, 0xffffffff) >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }

  /** What was written, a view of the writer's own memory. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
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

function checked(value: number, largest: number): number {
  if (!Number.isInteger(value) || value < 0 || value > largest)
    throw new RangeError(`${value} is not an integer from 0 to ${largest}`);
  return value;
}

const nothing = new Uint8Array(0);
/** Between a bigint and two halves, without an object for each. */
const eight = new DataView(new ArrayBuffer(8));

/** Both directions of one structure. `decode` gets a reader limited to the structure. */
export interface Codec<T> {
  decode(r: Reader): T;
  encode(w: Writer, value: T): void;
}
