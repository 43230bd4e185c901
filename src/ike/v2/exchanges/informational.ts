/**
 * INFORMATIONAL (RFC 7296 §1.4): Delete of CHILD_SAs and of the IKE SA, liveness checks, late error notifications.
 *
 *   HDR, SK {[N,] [D,] [CP,] ...} -->
 *                                 <-- HDR, SK {[N,] [D,] [CP], ...}
 */

import type { FailureRecord } from "../../../core/failure.ts";
import type { Instant } from "../../../core/time.ts";
import { ExchangeType, isErrorNotify, NotifyType, ProtocolId } from "../../../registry/index.ts";
import { type DeletePayload, findPayload, type Payload, type PlainPayload } from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import { type ChildSa, childByOutboundSpi, outboundOrder, retire } from "../child-sa.ts";
import { ownToken, takeToken } from "../crash-detection.ts";
import type { Answer, Exchange, InitiatedExchange, Received } from "../exchange.ts";
import { priorities } from "../exchange.ts";
import { codeOfNotify } from "../failures.ts";
import type { IkeSa } from "../ike-sa.ts";
import { notify } from "../notify.ts";
import { honourAuthLifetime } from "../reauthentication.ts";
import { confirmContender, hurryRival, inheritRival } from "../succession.ts";
import { answerMobike, checkMapping, livenessPayloads } from "./update-addresses.ts";

const anything = { required: [], optional: [] };
const type = ExchangeType.code.INFORMATIONAL;
/** One exchange of ours makes one CHILD_SA; the rest is room for a peer that deletes what never was. */
const maxDeletedEarly = 16;

export const informational: Exchange = {
  name: "INFORMATIONAL",
  type,
  rfc: "RFC 7296 §1.4",
  // Never before IKE_AUTH is through: an unauthenticated peer has nothing to inform us of.
  from: ["ESTABLISHED", "REKEYED", "CONTENDING", "DELETING"],
  request: anything,
  onRequest,
};

function onRequest(sa: IkeSa, now: Instant, message: Received): Answer {
  const { payloads } = message;
  const fatal = fatalNotify(payloads);
  if (fatal !== undefined) {
    return { payloads: [], afterwards: () => sa.fail(now, fatalRecord(sa, fatal)) };
  }
  const deletes = payloads.filter((p): p is DeletePayload => p.kind === "D");
  if (deletes.some((d) => d.protocolId === ProtocolId.code.IKE)) {
    // §1.4.1: the answer to the Delete of an IKE SA is empty; its CHILD_SAs go with it.
    if (sa.established && sa.rival) inheritRival(sa, now);
    const why = sa.is("REKEYED", "CONTENDING") ? "rekeyed" : "deleted-by-peer";
    const afterwards = () => {
      if (why === "deleted-by-peer") reportDelete(sa, "the IKE SA");
      sa.end(now, why);
    };
    return { payloads: [], afterwards };
  }
  confirmContender(sa, now);
  takeToken(sa, payloads);
  honourAuthLifetime(sa, now, payloads);
  const mobike = answerMobike(sa, now, message);
  return { ...mobike, payloads: [...answerDeletes(sa, now, deletes), ...mobike.payloads] };
}

/** §1.4.1: each SPI that the peer no longer receives on, answered by the one of ours that pairs with it. */
function answerDeletes(sa: IkeSa, now: Instant, deletes: readonly DeletePayload[]): PlainPayload[] {
  const ours = new Set<number>();
  for (const d of deletes) {
    if (d.protocolId !== ProtocolId.code.ESP) continue;
    for (const spi of d.spis) {
      const child = childByOutboundSpi(sa, spi);
      // An SPI of no SA of ours, or one whose Delete of ours is on its way, is not repeated (§1.4.1).
      if (!child) {
        // The answer that would have told us of it may be late or lost: what it makes is gone already.
        if (sa.underWay !== undefined && sa.deletedEarly.size < maxDeletedEarly) sa.deletedEarly.add(spi);
        continue;
      }
      if (child.state.name !== "DELETING") ours.add(child.spiIn);
      const replaced = ["REKEYED", "SUPERSEDED", "CONTENDER"].includes(child.state.name);
      if (child.state.name === "INSTALLED" && outboundOrder(sa).length === 1)
        reportDelete(sa, "the CHILD_SA");
      retire(sa, now, child, replaced ? "rekeyed" : "deleted-by-peer");
    }
  }
  return ours.size > 0 ? [{ kind: "D", protocolId: ProtocolId.code.ESP, spis: [...ours] }] : [];
}

/**
 * The peer closed what carried our packets, and nothing takes its place. An IKE SA without a CHILD_SA has failed before,
 * and has its record.
 */
function reportDelete(sa: IkeSa, what: string): void {
  if (!sa.established || outboundOrder(sa).length === 0 || sa.host.hasOther(sa)) return;
  const difference = `the peer sent a Delete for ${what}`;
  sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "PEER_DELETED", { theirs: ["D"], difference }) });
}

/** The peer ends the IKE SA with an error notification instead of a Delete. */
function fatalRecord(sa: IkeSa, notifyType: number): FailureRecord {
  const theirs = [NotifyType.nameOf(notifyType)];
  const ours = [`our identity ${sa.localId}`];
  const difference = `the peer ends the IKE SA with ${theirs}`;
  return failureOf(sa, codeOfNotify(notifyType, "PEER_PROTOCOL_ERROR"), { ours, theirs, difference });
}

/** §2.21.2: the three notifications that end an IKE SA without a Delete. */
function fatalNotify(payloads: readonly Payload[]): number | undefined {
  const fatal: readonly number[] = [
    NotifyType.code.AUTHENTICATION_FAILED,
    NotifyType.code.INVALID_SYNTAX,
    NotifyType.code.UNSUPPORTED_CRITICAL_PAYLOAD,
  ];
  for (const p of payloads)
    if (p.kind === "N" && isErrorNotify(p.type) && fatal.includes(p.type)) return p.type;
  return undefined;
}

export const livenessName = "liveness";

/** `HDR, SK {N(QUICK_CRASH_DETECTION)}`: the token of an IKE SA that came out of a rekey (RFC 6290 §4.3). */
export function presentToken(): InitiatedExchange {
  return {
    ...liveness(),
    name: "present token",
    buildRequest: (sa) => (sa.established ? ownToken(sa) : undefined),
  };
}

/** `HDR, SK {}`: is anybody there? (§2.4) */
export function liveness(): InitiatedExchange {
  return {
    name: livenessName,
    type,
    priority: priorities.liveness,
    response: anything,
    buildRequest: (sa) => (sa.established ? livenessPayloads(sa) : undefined),
    onResponse(sa, now, message) {
      checkMapping(sa, now, message);
      return onPlainResponse(sa, now, message);
    },
    onTimeout: (sa, now) => sa.endDead(now),
  };
}

/** `HDR, SK {D(IKE)}` */
export function deleteIkeSa(): InitiatedExchange {
  const finish = (sa: IkeSa, now: Instant) => {
    hurryRival(sa, now);
    sa.end(now, sa.state.name === "DELETING" ? sa.state.why : "requested");
  };
  return {
    name: "delete IKE SA",
    type,
    priority: priorities.deleteIke,
    response: anything,
    buildRequest: () => [{ kind: "D", protocolId: ProtocolId.code.IKE, spis: [] }],
    onResponse(sa, now) {
      finish(sa, now);
      return "done";
    },
    onTimeout: finish,
  };
}

/** `HDR, SK {D(ESP, our inbound SPI)}` */
export function deleteChildSa(child: ChildSa): InitiatedExchange {
  return {
    name: "delete CHILD_SA",
    type,
    priority: priorities.deleteChild,
    response: anything,
    buildRequest: (sa) =>
      sa.established && sa.children.has(child.spiIn)
        ? [{ kind: "D", protocolId: ProtocolId.code.ESP, spis: [child.spiIn] }]
        : undefined,
    onResponse(sa, now, message) {
      if (child.state.name === "DELETING") retire(sa, now, child, child.state.why);
      return onPlainResponse(sa, now, message);
    },
    onTimeout: (sa, now) => sa.endDead(now),
  };
}

/** `HDR, SK {N(AUTHENTICATION_FAILED)}`: the responder believes in an IKE SA that we refuse (§2.21.2). */
export function refuseIkeSa(notifyType: number): InitiatedExchange {
  return {
    ...deleteIkeSa(),
    name: "refuse IKE SA",
    buildRequest: () => [notify(notifyType)],
  };
}

function onPlainResponse(sa: IkeSa, now: Instant, { payloads }: Received): "done" {
  const fatal = fatalNotify(payloads);
  if (fatal !== undefined && !findPayload(payloads, "D")) sa.fail(now, fatalRecord(sa, fatal));
  return "done";
}
