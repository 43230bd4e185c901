/**
 * The responder's answer to selectors (RFC 7296 §2.9): the part of a request that is permitted here, in one CHILD_SA,
 * or, where the policy is one CHILD_SA for each pair, the pair that the request is about.
 */

import { err, ok, type Result } from "../../core/result.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import { NotifyType } from "../../registry/index.ts";
import { narrow } from "../common/selectors.ts";

/** As seen from here. */
interface Ends {
  readonly local: readonly TrafficSelector[];
  readonly remote: readonly TrafficSelector[];
}

interface Own {
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
}

export interface Narrowed extends Own {
  /** More of what was asked for is possible in another CHILD_SA. */
  readonly additional: boolean;
}

interface Unacceptable {
  readonly notify: number;
  readonly difference: string;
  readonly remedy?: string;
}

/** `onePair`: a CHILD_SA has one pair of ours. */
export function narrowRequest(own: Own, onePair: boolean, theirs: Ends): Result<Narrowed, Unacceptable> {
  const all = ofCommonFamilies(
    narrow(own.localSelectors, theirs.local),
    narrow(own.remoteSelectors, theirs.remote),
  );
  if (all.localSelectors.length === 0) {
    const apart = (["local", "remote"] as const).filter(
      (end) => narrow(own[`${end}Selectors`], theirs[end]).length === 0,
    );
    const difference = `the ${apart.length === 1 ? `${apart} ` : ""}selectors have nothing in common`;
    return err({ notify: NotifyType.code.TS_UNACCEPTABLE, difference });
  }
  const pairs = onePair ? pairsIn(own, theirs) : [];
  if (pairs.length < 2) return ok({ ...all, additional: false });
  const packet = packetOf(theirs);
  const first = packet && pairs.find((pair) => pairsIn(pair, packet).length > 0);
  if (first) return ok({ ...first, additional: true });
  // A request for one wide pair cannot be put more narrowly than its sender knows how to: it gets one of ours.
  if (theirs.local.length === 1 && theirs.remote.length === 1) return ok({ ...pairs[0]!, additional: true });
  return err({
    notify: NotifyType.code.SINGLE_PAIR_REQUIRED,
    difference: "the peer asks for several pairs of subnets in one CHILD_SA, and here each has its own",
    remedy: "set ipsec.perSubnetPair here to auto or false, or let the peer ask for one pair at a time",
  });
}

/** Each pair of ours with the part of it that the request has. */
function pairsIn(own: Own, theirs: Ends): Own[] {
  // Each end once: the peer may ask for 255 selectors where we have many.
  const locals = own.localSelectors.map((local) => narrow([local], theirs.local));
  const remotes = own.remoteSelectors.map((remote) => narrow([remote], theirs.remote));
  return locals.flatMap((local) =>
    remotes.map((remote) => ofCommonFamilies(local, remote)).filter((pair) => pair.localSelectors.length > 0),
  );
}

/** Without selectors whose family the other end lacks: nothing could pass between them. Both empty, or none. */
function ofCommonFamilies(local: readonly TrafficSelector[], remote: readonly TrafficSelector[]): Own {
  const both = (ends: readonly TrafficSelector[], others: readonly TrafficSelector[]) =>
    ends.filter((a) => others.some((b) => b.startAddress.family === a.startAddress.family));
  return { localSelectors: both(local, remote), remoteSelectors: both(remote, local) };
}

/** §2.9: the first selectors are those of the packet that made the initiator ask, when both name a single address. */
function packetOf({ local, remote }: Ends): Ends | undefined {
  const [a, b] = [local[0], remote[0]];
  const single = (ts: TrafficSelector | undefined) => ts?.startAddress.equals(ts.endAddress) === true;
  if (local.length + remote.length < 3 || !single(a) || !single(b)) return undefined;
  return { local: [a!], remote: [b!] };
}
