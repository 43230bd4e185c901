/**
 * Finding out at once that a peer has restarted, both ways.
 *
 * Whoever gets a protected request for an IKE SA that it does not have says INVALID_IKE_SPI (RFC 7296 §2.21.4). Anybody
 * could say that, so it is a hint. With Quick Crash Detection (RFC 6290) each side gives the other, under the IKE SA's
 * protection, a token that only it can make again after a restart:
 *
 *   token = HMAC-SHA-256(secret, role | SPIi | SPIr)
 *
 * and shows it in that notification, which then is a proof. The secret outlives the daemon. A token must never be shown
 * while its IKE SA lives (§9.2): the answer is given only when neither SPI is in use here, and `role` keeps a request
 * with its I flag inverted from yielding the token of the other direction.
 *
 * An ESP packet with an unknown SPI is not answered with INVALID_SPI: it would be an unprotected hint that any packet
 * could provoke, about what the peer's own liveness check finds out.
 */

import { Secret } from "../../core/secret.ts";
import type { Instant } from "../../core/time.ts";
import { constantTimeEqual, hmac } from "../../crypto/index.ts";
import { ExchangeType, NotifyType, PayloadType, ProtocolId } from "../../registry/index.ts";
import {
  type DecodedHeader,
  encodeMessage,
  findNotify,
  findPayload,
  ikeSpiBytes,
  type NotifyPayload,
  type Payload,
  type PlainPayload,
} from "../../wire/index.ts";
import { failureOf } from "../common/failures.ts";
import { Allowance } from "../common/half-open.ts";
import type { Role } from "../common/views.ts";
import type { IkeSa } from "./ike-sa.ts";
import { onHint } from "./liveness.ts";
import { notify } from "./notify.ts";

/** RFC 6290 §5: octets of a token. */
const minTokenBytes = 16;
const maxTokenBytes = 128;
/** RFC 6290 §4.5: a maker shows at most this many, one for each of its latest secrets. */
const maxShown = 4;
/** Answers to unknown IKE SAs in a minute; a restarted gateway with more peers than that answers the rest a bit later. */
const answersPerMinute = 1200;

// ── Maker ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Our token for `sa`, as a payload of a protected message; none when we have no secret that outlives us. */
export function ownToken(sa: IkeSa): NotifyPayload[] {
  const { crashSecret } = sa.host;
  if (!crashSecret) return [];
  return [tokenPayload(crashSecret, sa.role, sa.spiInitiator, sa.spiResponder)];
}

/** The unprotected answers to requests of IKE SAs that do not exist here. Bounded in time, without state per peer. */
export class UnknownSaAnswers {
  readonly #secret: Secret | undefined;
  readonly #allowance = new Allowance(answersPerMinute);

  constructor(secret: Secret | undefined) {
    this.#secret = secret;
  }

  /** The answer to a datagram with this header, of which neither SPI is in use here; undefined when it gets none. */
  to(now: Instant, header: DecodedHeader): Uint8Array | undefined {
    const isProtected =
      header.firstPayload === PayloadType.code.SK || header.firstPayload === PayloadType.code.SKF;
    if (header.response || !isProtected || header.exchangeType === ExchangeType.code.IKE_SA_INIT)
      return undefined;
    this.#allowance.advance(now);
    if (!this.#allowance.take()) return undefined;
    const { spiInitiator, spiResponder, exchangeType, messageId } = header;
    const initiator = !header.initiator;
    const payloads: PlainPayload[] = [notify(NotifyType.code.INVALID_IKE_SPI)];
    if (this.#secret)
      payloads.push(
        tokenPayload(this.#secret, initiator ? "initiator" : "responder", spiInitiator, spiResponder),
      );
    const answer = { spiInitiator, spiResponder, exchangeType, messageId, initiator, response: true };
    return encodeMessage({ header: answer, payloads });
  }
}

function tokenPayload(
  secret: Secret,
  maker: Role,
  spiInitiator: bigint,
  spiResponder: bigint,
): NotifyPayload {
  const role = Uint8Array.of(maker === "initiator" ? 1 : 2);
  const spis = [ikeSpiBytes(spiInitiator), ikeSpiBytes(spiResponder)];
  return {
    kind: "N",
    // RFC 6290 §4.1: about the IKE SA, without its SPI.
    protocolId: ProtocolId.code.IKE,
    spi: new Uint8Array(0),
    type: NotifyType.code.QUICK_CRASH_DETECTION,
    data: hmac("sha256", secret.reveal(), role, ...spis),
  };
}

// ── Taker ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Keeps the token in the payloads of an authenticated message; RFC 6290 §4.4: a later one replaces it. */
export function takeToken(sa: IkeSa, payloads: readonly Payload[]): void {
  const data = findNotify(payloads, NotifyType.code.QUICK_CRASH_DETECTION)?.data;
  if (!data || data.length < minTokenBytes || data.length > maxTokenBytes) return;
  sa.peerToken?.wipe();
  sa.peerToken = new Secret(Uint8Array.from(data));
}

/**
 * An unprotected message with the SPIs of `sa`. True when it was a notification that the peer does not know them: the
 * end of `sa` when it holds the token, and otherwise a hint. False: it is no business of this module.
 */
export function onUnprotected(sa: IkeSa, now: Instant, payloads: readonly Payload[]): boolean {
  if (findPayload(payloads, "SK") || findPayload(payloads, "SKF")) return false;
  if (!sa.is("ESTABLISHED", "REKEYED", "CONTENDING", "DELETING")) return false;
  if (!findNotify(payloads, NotifyType.code.INVALID_IKE_SPI)) return false;
  const shown = payloads.filter(
    (p): p is NotifyPayload => p.kind === "N" && p.type === NotifyType.code.QUICK_CRASH_DETECTION,
  );
  const expected = sa.peerToken?.reveal();
  if (expected && shown.slice(0, maxShown).some(({ data }) => constantTimeEqual(data, expected))) {
    if (sa.state.name === "DELETING") {
      sa.end(now, sa.state.why);
      return true;
    }
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "PEER_RESTARTED") });
    sa.end(now, "peer-restarted");
    return true;
  }
  sa.host.count("unknown_to_peer");
  onHint(sa, now);
  return true;
}
