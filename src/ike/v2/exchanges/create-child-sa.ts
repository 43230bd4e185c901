import { err, ok } from "../../../core/result.ts";
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import { intersectSelectors, type TrafficSelector } from "../../../core/traffic-selector.ts";
import { ExchangeType, NotifyType, ProtocolId } from "../../../registry/index.ts";
import {
  espSpiFrom,
  findNotify,
  findPayload,
  type NotifyPayload,
  type PlainPayload,
} from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import { decideChild, decisionPayloads, installDecision } from "../child-negotiation.ts";
import { type ChildSa, childByOutboundSpi, contend, markRekeyed, standBeside } from "../child-sa.ts";
import { lowerNonce } from "../cookie.ts";
import type { Answer, Exchange, Received } from "../exchange.ts";
import type { IkeSa } from "../ike-sa.ts";
import { type PayloadRules, violation } from "../payload-rules.ts";
import { laterChildSa } from "../proposals.ts";
import { confirmContender } from "../succession.ts";
import { agreeKey, isDuplicate, nonceBytes, refuse } from "./create-child-common.ts";
import { ikeRekeyName, ikeRekeyRules, onIkeRekey } from "./rekey-ike-sa.ts";
import { childRekeyName, isMakingChild } from "./request-child-sa.ts";

const type = ExchangeType.code.CREATE_CHILD_SA;
const anyKind: PayloadRules = { required: ["SA", "Nonce"], optional: ["KE", "TSi", "TSr"] };
const childRules: PayloadRules = { required: ["SA", "Nonce", "TSi", "TSr"], optional: ["KE"] };

export const createChildSa: Exchange = {
  name: "CREATE_CHILD_SA",
  type,
  rfc: "RFC 7296 §1.3",
  // Before IKE_AUTH nobody may create anything: that was an authentication bypass elsewhere.
  from: ["ESTABLISHED", "REKEYED", "CONTENDING", "DELETING"],
  request: anyKind,
  onRequest,
};

function onRequest(sa: IkeSa, now: Instant, message: Received): Answer {
  const { payloads } = message;
  confirmContender(sa, now);
  const rekey = findNotify(payloads, NotifyType.code.REKEY_SA);
  const offered = findPayload(payloads, "SA")!.proposals;
  const isIke = !rekey && offered.some((p) => p.protocolId === ProtocolId.code.IKE);
  // §2.25.2: an IKE SA that is being replaced or closed takes nothing new but the peer's own attempt to replace it.
  if (!sa.established || (!isIke && sa.hasExchange(ikeRekeyName)))
    return refuse(NotifyType.code.TEMPORARY_FAILURE);
  const problem = violation(isIke ? ikeRekeyRules : childRules, payloads);
  if (problem !== undefined) {
    const record = failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `CREATE_CHILD_SA: ${problem}` });
    return { ...refuse(NotifyType.code.INVALID_SYNTAX), afterwards: () => sa.fail(now, record) };
  }
  if (rekey) return onChildRekey(sa, now, payloads, rekey);
  return isIke ? onIkeRekey(sa, now, payloads) : onNewChild(sa, now, payloads);
}

function onNewChild(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[], replaced?: ChildSa): Answer {
  const refusal = obstacle(sa, payloads, replaced);
  if (refusal !== undefined) return refusal;
  const decision = decideChild(sa, payloads, laterChildSa, replaced);
  if (!decision.ok) {
    sa.host.emit({ kind: "failure", sa, record: decision.error.record });
    return refuse(decision.error.notify);
  }
  const agreed = agreeKey(sa, payloads, decision.value.suite.group);
  if (!agreed.ok) return agreed.error;
  const Nr = sa.host.random.bytes(nonceBytes);
  const Ni = Uint8Array.from(findPayload(payloads, "Nonce")!.nonce);
  const { shared } = agreed.value;
  const spiIn = sa.host.allocateSpi();
  const [saPayload, ...selectors] = decisionPayloads(decision.value, spiIn);
  const said = [saPayload!, { kind: "Nonce", nonce: Nr } as const, ...agreed.value.payloads, ...selectors];
  const make = (at: Instant, additional: readonly Secret[]) => {
    const seed = { Ni, Nr, shared, additional };
    const child = installDecision(sa, at, decision.value, seed, spiIn, replaced?.spiIn);
    sa.unconfirmed = child;
    shared?.wipe();
    if (!replaced) {
      if (isDuplicate(sa, child, 0)) standBeside(sa, at, child);
      return undefined;
    }
    return () => {
      if (sa.underWay === childRekeyName(replaced))
        contend(sa, at, replaced, { child, lowestNonce: lowerNonce(Ni, Nr) });
      markRekeyed(sa, at, replaced, child);
    };
  };
  const { additional } = decision.value.suite;
  if (!additional) return { payloads: said, afterwards: make(now, []) };

  const abandon = () => {
    sa.host.releaseSpi(spiIn);
    shared?.wipe();
  };
  const complete = (at: Instant, secrets: readonly Secret[]) => {
    // The request was made before these exchanges: what would be refused by now is refused.
    const refusal = obstacle(sa, payloads, replaced);
    if (refusal === undefined) return ok(make(at, secrets));
    abandon();
    return err(refusal);
  };
  return { payloads: [...said, sa.followUps.begin(now, { methods: additional, complete, abandon })] };
}

/** Why a CHILD_SA, or one in the place of `replaced`, cannot be made now. */
function obstacle(
  sa: IkeSa,
  payloads: readonly PlainPayload[],
  replaced: ChildSa | undefined,
): Answer | undefined {
  const gone = replaced && (replaced.state.name !== "INSTALLED" || !sa.children.has(replaced.spiIn));
  if (gone || sa.hasExchange(ikeRekeyName)) return refuse(NotifyType.code.TEMPORARY_FAILURE);
  // Bounds what an authenticated peer can make us keep.
  const { children } = sa.host.limits;
  if (sa.children.size >= (replaced ? 2 * children : children)) return refuseChildOverLimit(sa);
  // Both sides miss the same CHILD_SA and ask for it at once: the initiator's request is the one that counts.
  if (!replaced && sa.role === "initiator" && isAskedFor(sa, payloads))
    return refuse(NotifyType.code.TEMPORARY_FAILURE);
  return undefined;
}

function onChildRekey(
  sa: IkeSa,
  now: Instant,
  payloads: readonly PlainPayload[],
  rekey: NotifyPayload,
): Answer {
  const spi = espSpiFrom(rekey.spi);
  const child =
    rekey.protocolId === ProtocolId.code.ESP && spi !== undefined ? childByOutboundSpi(sa, spi) : undefined;
  // Perhaps the one that the peer has made for us, and whose announcement is still under way.
  if (!child && isMakingChild(sa)) return refuse(NotifyType.code.TEMPORARY_FAILURE);
  // §2.25: the answer repeats which SA it could not find.
  if (!child)
    return { payloads: [{ ...rekey, type: NotifyType.code.CHILD_SA_NOT_FOUND, data: new Uint8Array(0) }] };
  // Being closed, or replaced by the peer already: another answer may fit in a moment, this request does not.
  if (child.state.name !== "INSTALLED") return refuse(NotifyType.code.TEMPORARY_FAILURE);
  return onNewChild(sa, now, payloads, child);
}

function refuseChildOverLimit(sa: IkeSa): Answer {
  const difference = `the peer asks for another CHILD_SA, and this IKE SA has ${sa.children.size}`;
  sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "CHILD_SA_LIMIT", { difference }) });
  return refuse(NotifyType.code.NO_ADDITIONAL_SAS);
}

/** A request of ours for some of what this request of the peer is about waits, or is under way. */
function isAskedFor(sa: IkeSa, payloads: readonly PlainPayload[]): boolean {
  const ask = sa.pairs?.asking;
  if (!ask) return false;
  const meets = (ours: readonly TrafficSelector[], theirs: readonly TrafficSelector[]) =>
    ours.some((a) => theirs.some((b) => intersectSelectors(a, b) !== undefined));
  return (
    meets(ask.localSelectors, findPayload(payloads, "TSr")!.selectors) &&
    meets(ask.remoteSelectors, findPayload(payloads, "TSi")!.selectors)
  );
}
