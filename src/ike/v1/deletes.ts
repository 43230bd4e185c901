/**
 * What a peer says about IPsec SAs outside of quick mode (RFC 2408 §5.15, RFC 2407 §4.6.3): that some are gone. Only
 * authentic messages come here. Repetitions and SPIs of nobody change nothing.
 */
import type { Instant } from "../../core/time.ts";
import { IsakmpProtocol } from "../../registry/index.ts";
import { espSpiFrom } from "../../wire/index.ts";
import type { IsakmpDeletePayload } from "../../wire/v1/index.ts";
import { failureOf, refusedSa } from "../common/failures.ts";
import {
  childByOutboundSpi,
  confirm,
  type IpsecSa,
  informDelete,
  isInUse,
  outboundOrder,
  retire,
  twinsOf,
  uninstall,
} from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import { rekeyChildNow } from "./rekey.ts";
import { handOverMs, promoteTwin } from "./settle.ts";

/** A Delete of the peer, whatever it is about: only what it says of IPsec SAs is done here. */
export function onDelete(sa: IsakmpSa, now: Instant, { protocol, spis }: IsakmpDeletePayload): void {
  if (protocol !== IsakmpProtocol.code.PROTO_IPSEC_ESP) return;
  const owner = sa.holder;
  for (const bytes of spis) {
    const spi = espSpiFrom(bytes);
    if (spi === undefined) continue;
    const child = childByOutboundSpi(owner, spi);
    if (child) onDeleted(owner, now, child);
    // Message 2 of our quick mode may come after it: what it makes is gone already.
    else if (sa.negotiations > 0) rememberEarly(owner, spi);
  }
}

function rememberEarly({ deletedEarly }: IsakmpSa, spi: number): void {
  deletedEarly.add(spi);
  const [oldest] = deletedEarly;
  if (deletedEarly.size > maxDeletedEarly) deletedEarly.delete(oldest!);
}

/** INVALID-SPI (RFC 2408 §3.14.1): the peer gets packets on an SA that it does not have. As good as its Delete. */
export function onInvalidSpi(sa: IsakmpSa, now: Instant, spi: Uint8Array): void {
  const number = espSpiFrom(spi);
  const child = number === undefined ? undefined : childByOutboundSpi(sa.holder, number);
  if (child) onDeleted(sa.holder, now, child);
}

/** The peer no longer receives on `child`. */
function onDeleted(owner: IsakmpSa, now: Instant, child: IpsecSa): void {
  if (child.state.name === "AWAITED") {
    child.unwanted = true;
    uninstall(owner, now, child, "deleted-by-peer");
    return;
  }
  // Whoever deletes what is in use has what takes its place, whatever became of message 3.
  const awaited = twinsOf(owner, child).find(({ state }) => state.name === "AWAITED");
  if (awaited && child.state.name === "INSTALLED" && !hasOlder(owner, now, child, awaited))
    confirm(owner, now, awaited);
  if (standing(owner, child).length > 0) {
    retire(owner, now, child, false);
    promoteTwin(owner, now, child);
    return;
  }
  if (owner.established && outboundOrder(owner).length === 1) {
    const difference = "the peer sent a Delete for the IPsec SA";
    const record = failureOf(owner, "PEER_DELETED", { theirs: ["D"], difference });
    owner.host.emit({ kind: "failure", sa: owner, record });
  }
  uninstall(owner, now, child, "deleted-by-peer");
}

/**
 * The peer, which deletes `child`, has an older one in its place, on which the two sides did not agree: it did not have
 * `awaited` a moment ago, when it still asked for it, or sends on the older one.
 */
function hasOlder(owner: IsakmpSa, now: Instant, child: IpsecSa, awaited: IpsecSa): boolean {
  const older = standing(owner, child);
  if (older.length > 0 && now - awaited.askedAt < handOverMs) return true;
  return older.some((twin) => isInUse(owner, now, twin));
}

/** What carries the same as `child`. */
const standing = (owner: IsakmpSa, child: IpsecSa): IpsecSa[] =>
  twinsOf(owner, child).filter(({ state }) => carrying.has(state.name));

/** The data plane no longer has `direction` of `child`, and the key is gone too: another pair takes its place. */
export function onLost(
  owner: IsakmpSa,
  now: Instant,
  child: IpsecSa,
  direction: "inbound" | "outbound",
): void {
  child.refused.add(direction);
  rekeyChildNow(owner, now, child);
  owner.host.touch(owner);
}

/** The data plane did not take half of `child`: the peer is told that it is none. */
export function onRefusedByDataPlane(
  owner: IsakmpSa,
  now: Instant,
  child: IpsecSa,
  direction: "inbound" | "outbound",
  reason: string,
): void {
  if (child.refused.has(direction)) return;
  child.refused.add(direction);
  owner.host.emit({ kind: "failure", sa: owner, record: refusedSa(owner, child, direction, reason) });
  informDelete(owner, now, [child.spiIn]);
  uninstall(owner, now, child, "failed");
  // What one SA lacks the next one will lack: the owner comes back to it after a pause.
  if (outboundOrder(owner).length === 0) owner.requestDelete(now, "failed");
}

const carrying: ReadonlySet<string> = new Set(["INSTALLED", "REKEYED", "SUPERSEDED"]);
/** Room for a peer that deletes what never was. */
const maxDeletedEarly = 16;
