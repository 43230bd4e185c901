/**
 * Informational messages (RFC 2409 §5.7): one message each, and no answer.
 *
 *   HDR*, HASH(1), N/D  -->
 *
 * Only those whose HASH was right come here. The same message may come again, and then changes nothing.
 */
import { compareBytes } from "../../../core/address.ts";
import type { Instant } from "../../../core/time.ts";
import { IsakmpNotifyType, IsakmpProtocol, isIsakmpErrorNotify } from "../../../registry/index.ts";
import type { IsakmpDeletePayload, IsakmpNotifyPayload, IsakmpPayload } from "../../../wire/v1/index.ts";
import { failureOf } from "../../common/failures.ts";
import { onDelete, onInvalidSpi } from "../deletes.ts";
import { refusedRecord } from "../doubts.ts";
import type { Received } from "../exchange.ts";
import { hasOutbound } from "../ipsec-sa.ts";
import type { IsakmpSa } from "../isakmp-sa.ts";
import { onLivenessNotify } from "../liveness.ts";
import { deleteEsp, deleteIsakmp, spiOctets } from "../notify.ts";
import { onDeletedByPeer } from "../succession.ts";

/** `repeated`: a message with this ID has been here before. */
export function onInformational(sa: IsakmpSa, now: Instant, message: Received, repeated: boolean): void {
  for (const payload of message.payloads) {
    if (!sa.usable) return;
    if (payload.kind === "N" && onLivenessNotify(sa, now, payload, message)) continue;
    if (repeated) sa.host.count("message_id");
    else if (payload.kind === "N") onNotify(sa, now, payload);
    else if (payload.kind === "D") onDeletePayload(sa, now, payload);
  }
}

function onNotify(sa: IsakmpSa, now: Instant, n: IsakmpNotifyPayload): void {
  const { INITIAL_CONTACT, INVALID_SPI } = IsakmpNotifyType.code;
  if (n.type === INITIAL_CONTACT) {
    // RFC 2407 §4.6.3.3: said once, soon after phase 1. Later it would end what has come to be since.
    if (now - sa.establishedAt <= sa.host.limits.setupMs) sa.host.onInitialContact(sa, now);
    return;
  }
  if (n.type === INVALID_SPI && n.protocol === IsakmpProtocol.code.PROTO_IPSEC_ESP) {
    onInvalidSpi(sa, now, n.spi.length > 0 ? n.spi : n.data);
    return;
  }
  if (!isIsakmpErrorNotify(n.type)) return;
  if (sa.refuse(now, n)) return;
  if (
    n.protocol === IsakmpProtocol.code.PROTO_ISAKMP &&
    refusals.has(n.type) &&
    sa.proven &&
    !hasOutbound(sa.holder)
  ) {
    // The last message of phase 1 was ours, and the peer does not take what it says.
    sa.fail(now, refusedRecord(sa, n.type));
    return;
  }
  const theirs = [IsakmpNotifyType.nameOf(n.type)];
  const difference = `the peer says ${theirs}, and not about what`;
  sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "OTHER_NOTIFY", { theirs, difference }) });
}

function onDeletePayload(sa: IsakmpSa, now: Instant, payload: IsakmpDeletePayload): void {
  if (payload.protocol !== IsakmpProtocol.code.PROTO_ISAKMP) {
    onDelete(sa, now, payload);
    return;
  }
  // Another ISAKMP SA may be meant: the peer may say it on the one that stays.
  for (const spi of payload.spis) {
    const meant = [sa, ...sa.host.othersOf(sa)].find((other) => compareBytes(spi, spiOctets(other)) === 0);
    if (meant?.usable) onDeletedByPeer(meant, now);
  }
}

/** Tells the peer that `sa` is gone, and before that which IPsec SAs go with it. */
export function sendDelete(sa: IsakmpSa, now: Instant, spis: readonly number[]): void {
  for (let at = 0; at < spis.length; at += mostSpis)
    sa.inform(now, [deleteEsp(spis.slice(at, at + mostSpis))]);
  sa.inform(now, [deleteIsakmp(sa)]);
}

/** The first error among payloads. */
export function errorIn(payloads: readonly IsakmpPayload[]): IsakmpNotifyPayload | undefined {
  return payloads.find((p): p is IsakmpNotifyPayload => p.kind === "N" && isIsakmpErrorNotify(p.type));
}

const refusals: ReadonlySet<number> = new Set([
  IsakmpNotifyType.code.INVALID_ID_INFORMATION,
  IsakmpNotifyType.code.AUTHENTICATION_FAILED,
]);
/** So that one message fits into one datagram. */
const mostSpis = 200;
