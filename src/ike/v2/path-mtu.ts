/**
 * Path-MTU discovery of one IKE SA: `path-mtu-search.ts` says what to probe, and here is how. A probe is a liveness
 * check (RFC 7296 §2.4) with padding, which every peer answers; its first copy travels as one datagram that nobody on
 * the way may fragment, and as nothing else does. When that brings no answer in time, the request is repeated without
 * the padding (`Transport`). So the exchange ends, the window is free again, and a lost probe is a lost probe and not a
 * dead peer. Whether the probe arrived is whether the answer came before the repetition.
 */

import type { Instant } from "../../core/time.ts";
import { NotifyType, ProtocolId } from "../../registry/index.ts";
import { contentCapacity, encodePayloads, type NotifyPayload, type PlainPayload } from "../../wire/index.ts";
import { messageOverhead } from "../common/message-size.ts";
import type { PathMtuView } from "../common/views.ts";
import type { InitiatedExchange } from "./exchange.ts";
import { liveness } from "./exchanges/informational.ts";
import { moveSas } from "./follow.ts";
import type { IkeSa } from "./ike-sa.ts";
import { PathMtuSearch, type ProbeSizes } from "./path-mtu-search.ts";

/** Begins to find out what the path of `sa` carries, unless the configuration says it. */
export function startPathMtu(sa: IkeSa, now: Instant): void {
  const { peer, host } = sa;
  if (peer?.pathMtu !== "auto" || !sa.secured || host.unpaddable.has(peer.id)) return;
  const known = host.pathMtus.get(peer.id);
  const same = known?.local.equals(sa.local.address) && known.remote.equals(sa.remote.address);
  const options = {
    family: sa.remote.address.family,
    ceiling: host.limits.pathMtuCeiling,
    remembered: same ? known?.mtu : undefined,
    // Who wants no liveness checks does not want them for another reason.
    watches: peer.livenessIntervalMs !== undefined,
  };
  sa.pathMtu = new PathMtuSearch(now, options, sizesOf(sa));
  sa.host.touch(sa);
}

/** When the next probe of `sa` is due, if the window is free. */
export function pathMtuAt(sa: IkeSa): Instant | undefined {
  return sa.idle ? sa.pathMtu?.dueAt : undefined;
}

/** A question whether the peer lives that also tells whether the size in use gets through, where that matters. */
export function sizedLiveness(sa: IkeSa): InitiatedExchange {
  return sa.pathMtu ? probe(sa, sa.pathMtu) : liveness();
}

/** Somebody says that the path to the peer of `sa` carries only `mtu`. */
export function onPathMtuHint(sa: IkeSa, now: Instant, mtu: number): void {
  if (!sa.established || !sa.pathMtu) return;
  sa.pathMtu.onHint(now, mtu);
  sa.host.touch(sa);
}

/** Lets through so many hints a second, for each of which all IKE SAs are looked at: anybody can send them. */
export class HintGate {
  #since: Instant = Number.NEGATIVE_INFINITY;
  #taken = 0;

  take(now: Instant): boolean {
    if (now - this.#since >= 1_000) {
      this.#since = now;
      this.#taken = 0;
    }
    return this.#taken++ < hintsPerSecond;
  }
}

/** `configured`: nothing is probed. `unsupported`: the peer does not answer probes. */
/** What an operator is told: bytes of outer packet, and how sure that is. */
export function pathMtuOf(sa: IkeSa): PathMtuView {
  const { peer, pathMtu, host } = sa;
  if (pathMtu) return { bytes: pathMtu.effective, state: pathMtu.state };
  if (peer && peer.pathMtu !== "auto") return { bytes: peer.pathMtu, state: "configured" };
  return { bytes: host.limits.pathMtuCeiling, state: "unsupported" };
}

/** `HDR, SK {N(padding)}`, as large as `search` wants it. */
function probe(sa: IkeSa, search: PathMtuSearch): InitiatedExchange {
  search.use(sizesOf(sa));
  const { size, losses } = search;
  const plain = liveness();
  let verdict: "arrived" | "lost" | "unknown" = "arrived";
  return {
    ...plain,
    probe: {
      waitMs: waitMs(sa, losses),
      buildPlain: (own, now) => plain.buildRequest(own, now) ?? [],
      onRepeated(inconclusive) {
        verdict = inconclusive ? "unknown" : "lost";
      },
    },
    buildRequest(own, now) {
      const payloads = plain.buildRequest(own, now);
      return payloads && [...payloads, padding(own, payloads, size)];
    },
    onSpread() {
      verdict = "unknown";
    },
    onResponse(own, now, message) {
      if (own.pathMtu === search) {
        const before = search.effective;
        if (verdict === "arrived") search.onAcked(now, size);
        else if (verdict === "lost") search.onLost(now, size);
        else search.onInconclusive(now);
        if (search.failed) own.pathMtu = undefined;
        if (search.failed) own.host.unpaddable.add(own.peer!.id);
        apply(own, now, before);
      }
      return plain.onResponse(own, now, message);
    },
  };
}

/** The CHILD_SAs of `sa` take the size that is known by now. */
function apply(sa: IkeSa, now: Instant, before: number): void {
  const { bytes } = pathMtuOf(sa);
  if (bytes === before) return;
  const { local, remote } = { local: sa.local.address, remote: sa.remote.address };
  sa.host.pathMtus.set(sa.peer!.id, { local, remote, mtu: bytes });
  moveSas(sa, now);
  sa.host.emit({ kind: "pathMtu", sa, before });
}

function padding(sa: IkeSa, payloads: readonly PlainPayload[], size: number): NotifyPayload {
  const { sealer } = sa.secured!;
  const room = contentCapacity(size - messageOverhead(sa.host, sa), sealer);
  const used = encodePayloads(payloads).bytes.length + notifyHeaderBytes;
  // Types from 40960 on are private, and unknown status types are ignored (RFC 7296 §3.10.1).
  const type = NotifyType.code.CULVERT_PADDING;
  const data = new Uint8Array(Math.max(0, room - used));
  return { kind: "N", protocolId: ProtocolId.code.NONE, spi: new Uint8Array(0), type, data };
}

/** A message is as long as its blocks. */
function sizesOf(sa: IkeSa): ProbeSizes {
  const { ivBytes, icvBytes, block } = sa.secured!.sealer;
  const offset = messageOverhead(sa.host, sa) + ikeAndSkHeaderBytes + ivBytes + icvBytes;
  return { offset, unit: block };
}

/** How long an answer may take before the probe counts as lost: longer each time, in case the path has become slow. */
function waitMs(sa: IkeSa, losses: number): number {
  const firstMs =
    sa.roundTripMs === undefined ? unknownWaitMs : Math.max(leastWaitMs, 2 * sa.roundTripMs + 50);
  return Math.min(firstMs * 2 ** losses, mostWaitMs);
}

const hintsPerSecond = 8;
const notifyHeaderBytes = 8;
const ikeAndSkHeaderBytes = 28 + 4;
const leastWaitMs = 100;
const unknownWaitMs = 500;
const mostWaitMs = 2_000;
