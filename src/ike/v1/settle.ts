/**
 * Which of several pairs of IPsec SAs for the same traffic stands. A new one takes the place of an old one; of two that
 * crossed, both sides keep the same (the one whose exchange had the lowest nonce goes, as in RFC 7296 §2.8.1, for IKEv1
 * has no rule), and its maker tells the peer. Nothing is deleted that the peer still sends on, and what was to go stands
 * again when the other one does not last.
 */
import { compareBytes } from "../../core/address.ts";
import { randomBelow } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import { hurry, type IpsecSa, supersede, twinsOf } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** `made` may carry packets from now on. Returns what it takes the place of, if anything. */
export function settleTwins(sa: IsakmpSa, now: Instant, made: IpsecSa): IpsecSa | undefined {
  const standing = twinsOf(sa, made).filter(
    ({ state }) => state.name === "INSTALLED" || state.name === "REKEYED",
  );
  // What has been replaced already has had its comparison.
  const rivals = standing.filter(
    ({ state }) => state.name !== "REKEYED" || !standing.some(({ spiIn }) => spiIn === state.successor),
  );
  if (rivals.some((other) => isBetter(sa, other, made))) {
    supersede(sa, now, made, made.role === "initiator");
    return undefined;
  }
  // What was superseded before has two that are better: the peer has one of them at least.
  for (const older of twinsOf(sa, made))
    if (standing.some((other) => other.provenAt !== undefined && other.begunAt > older.begunAt))
      hurry(sa, now, older);
  for (const old of standing) {
    const deleter = hasCrossed(sa, old, made) ? old.role : made.role;
    // The peer installs what we made when it has message 3, if not before: RFC 2409 §5.5 does not say.
    if (made.role === "initiator" && made.provenAt === undefined) handOver(sa, now, old, made);
    else supersede(sa, now, old, deleter === "initiator");
  }
  return standing.at(-1);
}

/** `gone` carries nothing any more. If nothing else carries the same, what was to go stands again, until it is replaced. */
export function promoteTwin(sa: IsakmpSa, now: Instant, gone: IpsecSa): void {
  const twins = twinsOf(sa, gone).filter(({ refused }) => !refused.has("outbound"));
  if (twins.some(({ state }) => state.name === "INSTALLED")) return;
  const heir =
    twins.findLast(({ state }) => state.name === "REKEYED") ??
    twins.findLast(({ state }) => state.name === "SUPERSEDED");
  if (!heir) return;
  heir.state = { name: "INSTALLED" };
  // The peer may think otherwise of it: a new one is certain.
  heir.rekeyAt = now + randomBelow(sa.host.random, soonMs);
  sa.host.emit({ kind: "outboundChanged", sa });
  sa.host.touch(sa);
}

function handOver(sa: IsakmpSa, now: Instant, old: IpsecSa, made: IpsecSa): void {
  const until = old.state.name === "REKEYED" ? old.state.until : now + handOverMs;
  old.state = { name: "REKEYED", until, successor: made.spiIn };
  old.rekeyAt = undefined;
  sa.host.emit({ kind: "outboundChanged", sa });
}

/** Each side made one, and neither could know that the other one does. */
function hasCrossed(sa: IsakmpSa, a: IpsecSa, b: IpsecSa): boolean {
  const [first, second] = a.begunAt <= b.begunAt ? [a, b] : [b, a];
  if (first.role === second.role) return false;
  const done = first.provenAt ?? first.installedAt + sa.host.limits.inboundLingerMs;
  return second.begunAt <= done;
}

/** The later one; message 3 of the earlier one may come last. Of two that crossed, what both sides find. */
function isBetter(sa: IsakmpSa, a: IpsecSa, b: IpsecSa): boolean {
  if (hasCrossed(sa, a, b) || a.begunAt === b.begunAt) return compareBytes(a.lowestNonce, b.lowestNonce) > 0;
  return a.begunAt > b.begunAt;
}

/**
 * How long we send on the old pair after message 3 has left. A peer that installs its half with message 3 has it by then,
 * and whatever it lost of the exchange is repeated.
 */
export const handOverMs = 1_000;
const soonMs = 1_000;
