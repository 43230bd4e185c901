/**
 * Is the peer alive? (RFC 3706) It is asked when nothing authentic came from it for an interval, be it ISAKMP or ESP.
 * Each question is an informational message of its own, and so is its answer. Only the silence after many of them ends
 * the ISAKMP SA, and with it the IPsec SAs.
 */

import { compareBytes } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import { IsakmpNotifyType, IsakmpProtocol } from "../../registry/index.ts";
import type { IsakmpNotifyPayload } from "../../wire/v1/index.ts";
import { excuseLateness, type Patience } from "../common/patience.ts";
import type { Received } from "./exchange.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import { isakmpNotify, spiOctets } from "./notify.ts";

interface Waiting extends Patience {
  readonly number: number;
  /** The question as it was sent, and the next one, where that was sent, too. */
  readonly sent: (readonly Uint8Array[])[];
  tries: number;
}

/** What one ISAKMP SA knows of asking. */
export class Liveness {
  /** The peer sent the vendor ID: it answers, and may ask. */
  supported = false;
  /** The number that the peer expects of our next question, as far as its answers tell; set with the first. */
  next: number | undefined;
  /** Set while a question of ours waits for its answer. */
  waiting: Waiting | undefined;
  /** The turn of the next question among those to all peers, once one is due. */
  askAt: Instant | undefined;
  /** The peer's last question, and how often that came. */
  theirs: { readonly number: number; count: number } | undefined;
}

/** When the peer is to be asked, or asked again; undefined without liveness checks. */
export function livenessAt(sa: IsakmpSa): Instant | undefined {
  const { supported, waiting, askAt } = sa.liveness;
  if (waiting) return Math.min(waiting.nextAt, waiting.giveUpAt);
  const interval = sa.peer?.livenessIntervalMs;
  if (interval === undefined || !supported || !sa.established) return undefined;
  // The responder is more patient: when both sides check, one question serves both.
  const at = sa.lastHeardAt + (sa.role === "initiator" ? interval : Math.ceil(interval * 1.25));
  return Math.max(at, askAt ?? at);
}

export function onLivenessDue(sa: IsakmpSa, now: Instant): void {
  const { waiting } = sa.liveness;
  if (waiting) {
    onWaiting(sa, now, waiting);
    return;
  }
  hearEsp(sa, now);
  const at = livenessAt(sa);
  if (at === undefined || at > now) return;
  // A turn that was taken before the peer was heard is no turn for this silence.
  const { askAt } = sa.liveness;
  if (askAt === undefined || askAt <= sa.lastHeardAt) {
    sa.liveness.askAt = sa.host.asks.take(now);
    if (sa.liveness.askAt > now) return;
  }
  sa.liveness.askAt = undefined;
  begin(sa, now);
}

/** Asks now, unless it was asked. */
export function checkPeer(sa: IsakmpSa, now: Instant): void {
  if (sa.usable && sa.liveness.supported && !sa.liveness.waiting) begin(sa, now);
}

function begin(sa: IsakmpSa, now: Instant): void {
  const { retransmitMs, establishedMs = sa.peer!.answerTimeoutMs } = sa.host.limits;
  // §6.2: random, and with room above it.
  sa.liveness.next ??= numberIn(sa.host.random.bytes(4)) & 0x3fffffff;
  const number = sa.liveness.next;
  sa.liveness.waiting = {
    number,
    sent: [ask(sa, now, number)],
    tries: 1,
    delayMs: retransmitMs,
    nextAt: now + retransmitMs,
    giveUpAt: now + establishedMs,
  };
  sa.host.touch(sa);
}

function onWaiting(sa: IsakmpSa, now: Instant, waiting: Waiting): void {
  // Whoever sends what only it can seal is there, whether or not our questions arrive.
  if (hearEsp(sa, now)) {
    sa.liveness.waiting = undefined;
    return;
  }
  excuseLateness(waiting, now);
  if (waiting.giveUpAt <= now) {
    sa.liveness.waiting = undefined;
    sa.endDead(now);
  } else if (waiting.nextAt <= now) {
    const { retransmitBackoff, retransmitMaxMs } = sa.host.limits;
    waiting.delayMs = Math.min(waiting.delayMs * retransmitBackoff, retransmitMaxMs);
    waiting.nextAt = now + waiting.delayMs;
    repeat(sa, now, waiting);
  }
}

/** `HDR*, HASH, N(R-U-THERE)` */
function ask(sa: IsakmpSa, now: Instant, number: number): readonly Uint8Array[] {
  return sa.inform(now, [isakmpNotify(IsakmpNotifyType.code.R_U_THERE, sa, octetsOf(number))]);
}

/**
 * Peers disagree about repetitions (§6.2 says little): some take a question only when its number is the one that they
 * expect, some never answer one message ID twice. If the question was lost, the first will take a copy of it; if it was
 * the answer, the second will take the next number. So both are sent in turn.
 */
function repeat(sa: IsakmpSa, now: Instant, waiting: Waiting): void {
  const asksNext = waiting.tries >= 2 && waiting.tries % 2 === 0;
  waiting.tries++;
  const copy = waiting.sent[asksNext ? 1 : 0];
  if (copy) sa.resend(copy);
  else waiting.sent.push(ask(sa, now, waiting.number + 1));
}

/** A notification of RFC 3706; false for any other. */
export function onLivenessNotify(
  sa: IsakmpSa,
  now: Instant,
  n: IsakmpNotifyPayload,
  message: Received,
): boolean {
  const { R_U_THERE, R_U_THERE_ACK } = IsakmpNotifyType.code;
  if (n.type !== R_U_THERE && n.type !== R_U_THERE_ACK) return false;
  const about =
    n.protocol === IsakmpProtocol.code.PROTO_ISAKMP &&
    (n.spi.length === 0 || compareBytes(n.spi, spiOctets(sa)) === 0);
  if (!about || n.data.length !== 4) {
    sa.host.count("payloads");
    return true;
  }
  const number = numberIn(n.data);
  if (n.type === R_U_THERE) onQuestion(sa, now, number, message);
  else onAnswer(sa, now, number, message);
  return true;
}

/** §6.2: a number that is not new is a replay, or a question whose answer was lost; those are few. */
function onQuestion(sa: IsakmpSa, now: Instant, number: number, { local, remote }: Received): void {
  const { liveness } = sa;
  const { theirs } = liveness;
  if (theirs && number < theirs.number) {
    sa.host.count("message_id");
    return;
  }
  if (theirs?.number === number) {
    if (++theirs.count > mostRepeated) {
      sa.host.count("message_id");
      return;
    }
  } else {
    liveness.theirs = { number, count: 1 };
    sa.lastHeardAt = now;
    // Nobody has kept it: a later one would have come before.
    sa.followPeer(now, local, remote);
  }
  sa.inform(now, [isakmpNotify(IsakmpNotifyType.code.R_U_THERE_ACK, sa, octetsOf(number))]);
}

function onAnswer(sa: IsakmpSa, now: Instant, number: number, { local, remote }: Received): void {
  const { liveness } = sa;
  const { waiting, next } = liveness;
  // Also of a question that was answered before, in another copy.
  if (number === next) liveness.next = number + 1;
  if (!waiting || number < waiting.number || number >= waiting.number + waiting.sent.length) {
    sa.host.count("message_id");
    return;
  }
  liveness.waiting = undefined;
  liveness.next = number + 1;
  sa.lastHeardAt = now;
  // Nobody could have recorded it before: the peer is there now.
  sa.followPeer(now, local, remote);
}

/** Whether ESP came since the peer was heard last. */
function hearEsp(sa: IsakmpSa, now: Instant): boolean {
  const before = sa.lastHeardAt;
  for (const { spiIn, remote } of sa.children.values()) {
    const at = sa.host.lastInbound(spiIn, remote);
    // Never the future: a clock that is not ours must not silence the check for good.
    if (at !== undefined) sa.lastHeardAt = Math.max(sa.lastHeardAt, Math.min(at, now));
  }
  return sa.lastHeardAt > before;
}

const numberIn = (octets: Uint8Array): number =>
  new DataView(octets.buffer, octets.byteOffset, 4).getUint32(0);

function octetsOf(number: number): Uint8Array {
  const octets = new Uint8Array(4);
  new DataView(octets.buffer).setUint32(0, number);
  return octets;
}

/** Copies of one question that are answered. */
const mostRepeated = 16;
