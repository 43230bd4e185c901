/**
 * Messages that come in fragments ([MS-IKEE] §3.3.5.1). Nothing in a fragment is authenticated: what is put together is a
 * datagram like any other, and is trusted as little.
 *
 * Invariants: one message for each ISAKMP SA, and one for each address that is about to begin one, the latest of them
 * only; each of at most MAX_ISAKMP_FRAGMENTS fragments and `reassemblyBytes` octets, for at most
 * `reassemblyMs`.
 */

import type { IpAddress } from "../../core/address.ts";
import { attemptDecode } from "../../core/errors.ts";
import type { Instant } from "../../core/time.ts";
import {
  type DecodedIsakmpHeader,
  decodeIsakmp,
  decodeIsakmpHeader,
  findIsakmpPayload,
  type IsakmpFragmentPayload,
  isIsakmpFragment,
  MAX_ISAKMP_FRAGMENTS,
} from "../../wire/v1/index.ts";
import type { IkeDrop } from "../common/drops.ts";
import type { EndpointLimits } from "../common/settings.ts";

/** A whole message, as if it had come in one datagram. */
export interface Reassembled {
  readonly header: DecodedIsakmpHeader;
  readonly datagram: Uint8Array;
}

/** `incomplete`: a fragment was kept, and others are missing. */
export type Reassembling = Reassembled | { readonly drop: IkeDrop } | "incomplete";

interface Collection {
  readonly expiresAt: Instant;
  readonly id: number;
  readonly pieces: Map<number, Uint8Array>;
  bytes: number;
  /** The number of the last fragment, once it is here. */
  total: number | undefined;
}

/** All fragments of an endpoint. */
export class IsakmpReassembly {
  readonly #limits: Pick<EndpointLimits, "reassemblyBytes" | "reassemblyMs">;
  readonly #most: { readonly sas: number; readonly strangers: number };
  /** The oldest first, as all live for the same time. */
  readonly #ofSas = new Map<string, Collection>();
  readonly #ofStrangers = new Map<string, Collection>();

  constructor(
    limits: Pick<EndpointLimits, "reassemblyBytes" | "reassemblyMs">,
    most = { sas: 1024, strangers: 32 },
  ) {
    this.#limits = limits;
    this.#most = most;
  }

  /** When the oldest of what was collected is given up. */
  get deadline(): Instant | undefined {
    const [a, b] = [oldest(this.#ofSas)?.expiresAt, oldest(this.#ofStrangers)?.expiresAt];
    return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
  }

  /** Messages that are incomplete. */
  get size(): number {
    return this.#ofSas.size + this.#ofStrangers.size;
  }

  handleTimeout(now: Instant): void {
    for (const table of [this.#ofSas, this.#ofStrangers])
      for (const [key, { expiresAt }] of table) {
        if (expiresAt > now) break;
        table.delete(key);
      }
  }

  /** The ISAKMP SA is gone. */
  forget(spis: Spis): void {
    this.#ofSas.delete(keyOf(spis));
  }

  /** One datagram whose header says that it is a fragment. `ofSa`: an ISAKMP SA has its SPIs. */
  collect(
    now: Instant,
    source: IpAddress,
    header: DecodedIsakmpHeader,
    datagram: Uint8Array,
    ofSa: boolean,
  ): Reassembling {
    this.handleTimeout(now);
    const message = attemptDecode(() => decodeIsakmp(datagram, header));
    const fragment = message && findIsakmpPayload(message.payloads, "FRAGMENT");
    if (!fragment) return { drop: "malformed" };
    if (fragment.number > MAX_ISAKMP_FRAGMENTS) return { drop: "fragment" };
    const table = ofSa ? this.#ofSas : this.#ofStrangers;
    // A stranger's SPI is its own choice and costs it nothing, another address less so.
    const key = ofSa ? keyOf(header) : source.toString();
    const joins = table.get(key);
    if (joins?.pieces.has(fragment.number) && fits(joins, fragment)) return { drop: "fragment_repeated" };
    const collection = joins && fits(joins, fragment) ? joins : this.#begin(now, table, key, fragment.id);
    if (collection.bytes + fragment.data.length > this.#limits.reassemblyBytes) {
      table.delete(key);
      return { drop: "fragment" };
    }
    collection.pieces.set(fragment.number, Uint8Array.from(fragment.data));
    collection.bytes += fragment.data.length;
    if (fragment.last) collection.total = fragment.number;
    if (collection.pieces.size !== collection.total) return "incomplete";
    table.delete(key);
    return complete(header, collection);
  }

  #begin(now: Instant, table: Map<string, Collection>, key: string, id: number): Collection {
    // Deleted first: the table's order is that of age.
    table.delete(key);
    const most = table === this.#ofSas ? this.#most.sas : this.#most.strangers;
    if (table.size >= most) table.delete(table.keys().next().value!);
    const expiresAt = now + this.#limits.reassemblyMs;
    const collection = { expiresAt, id, pieces: new Map<number, Uint8Array>(), bytes: 0, total: undefined };
    table.set(key, collection);
    return collection;
  }
}

type Spis = Pick<DecodedIsakmpHeader, "spiInitiator" | "spiResponder">;

const keyOf = ({ spiInitiator, spiResponder }: Spis): string => `${spiInitiator} ${spiResponder}`;
const oldest = (table: ReadonlyMap<string, Collection>): Collection | undefined =>
  table.values().next().value;

/**
 * Whether a fragment can belong to what is there. What contradicts it begins another message, for some peers give all
 * messages one ID, and a fragment that was left over must not spoil the next message.
 */
function fits({ id, pieces, total }: Collection, fragment: IsakmpFragmentPayload): boolean {
  if (fragment.id !== id) return false;
  const before = pieces.get(fragment.number);
  if (before && !sameOctets(before, fragment.data)) return false;
  if (total !== undefined) return fragment.last ? fragment.number === total : fragment.number < total;
  return !fragment.last || Math.max(...pieces.keys()) <= fragment.number;
}

function complete(fragment: DecodedIsakmpHeader, { pieces, bytes, total }: Collection): Reassembling {
  const datagram = new Uint8Array(bytes);
  let at = 0;
  for (let number = 1; number <= total!; number++) {
    const piece = pieces.get(number)!;
    datagram.set(piece, at);
    at += piece.length;
  }
  const header = attemptDecode(() => decodeIsakmpHeader(datagram));
  if (!header || isIsakmpFragment(header)) return { drop: "malformed" };
  // The rest of a fragment's header is the sender's taste: some say main mode and message ID 0 in all of them.
  if (keyOf(header) !== keyOf(fragment)) return { drop: "fragment" };
  return { header, datagram };
}

function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
