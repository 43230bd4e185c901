/**
 * The front door: datagrams that belong to no IKE SA. A first message is met in this order: repeated → the same answer;
 * too many half-open → cookie, then refusal; and only then work. Nobody who has not returned a cookie can make us keep
 * more than `halfOpenTotal` small states, and nobody at all can fill the log.
 */

import type { Endpoint } from "../../core/address.ts";
import { attemptDecode } from "../../core/errors.ts";
import type { FailureRecord } from "../../core/failure.ts";
import type { Instant } from "../../core/time.ts";
import { digest } from "../../crypto/index.ts";
import { NotifyType } from "../../registry/index.ts";
import {
  type DecodedHeader,
  type DecodedMessage,
  decodeMessage,
  encodeMessage,
  findNotify,
  findPayload,
  findUnknownCritical,
  type NotifyPayload,
  type PlainPayload,
} from "../../wire/index.ts";
import { failureOf, versionMismatch } from "../common/failures.ts";
import { Allowance, HalfOpen } from "../common/half-open.ts";
import type { PeerSettings } from "../common/settings.ts";
import { CookieJar } from "./cookie.ts";
import { UnknownSaAnswers } from "./crash-detection.ts";
import { ikeSaInit, onIkeSaInitRequest } from "./exchanges/ike-sa-init.ts";
import { unknownCritical } from "./failures.ts";
import type { Host } from "./host.ts";
import type { IkeSa } from "./ike-sa.ts";
import { notify } from "./notify.ts";
import { violation } from "./payload-rules.ts";

/** The peers that may live at `remote` and be met at `local`. */
type CandidatesOf = (local: Endpoint, remote: Endpoint) => readonly PeerSettings[];

export class FrontDoor {
  readonly #host: Host;
  readonly #candidates: CandidatesOf;
  readonly #otherVersion: CandidatesOf;
  readonly #cookies: CookieJar;
  /** Responder's IKE SAs by the digest of the request that made them (§2.1). */
  readonly #byRequest = new Map<string, IkeSa>();
  readonly #requestOf = new Map<IkeSa, string>();
  /** A failed one counts until it is forgotten. */
  readonly #halfOpen = new HalfOpen();
  readonly #complaints = new Allowance(complaintsPerMinute);
  readonly #unknownSaAnswers: UnknownSaAnswers;

  /** `otherVersion`: those that speak IKEv1 only. */
  constructor(host: Host, candidates: CandidatesOf, otherVersion: CandidatesOf) {
    this.#host = host;
    this.#candidates = candidates;
    this.#otherVersion = otherVersion;
    this.#cookies = new CookieJar(host.random, host.limits.cookieSecretMs);
    this.#unknownSaAnswers = new UnknownSaAnswers(host.crashSecret);
  }

  /** IKE SAs that nobody has authenticated. */
  get halfOpen(): number {
    return this.#halfOpen.size;
  }

  /** Requests whose repetition gets the same answer. */
  get requests(): number {
    return this.#byRequest.size;
  }

  /** A request whose header has no responder's SPI: it wants a new IKE SA, or repeats that it does. */
  handleFirstMessage(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    header: DecodedHeader,
    datagram: Uint8Array,
  ): void {
    if (header.exchangeType !== ikeSaInit.type || !header.initiator || header.messageId !== 0) {
      this.#host.count("unexpected");
      return;
    }
    const requestKey = String.fromCharCode(...digest("sha256", datagram));
    const known = this.#byRequest.get(requestKey);
    if (known) {
      known.handleDatagram(now, local, remote, header, datagram);
      return;
    }

    const message = attemptDecode(() => decodeMessage(datagram, header));
    if (!message) {
      this.#host.count("malformed");
      return;
    }
    const refuse = (n: NotifyPayload) => this.#answerWithoutState(local, remote, header, n);
    const critical = findUnknownCritical(message.payloads);
    if (critical) {
      refuse(notify(NotifyType.code.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical.type)));
      const candidates = this.#candidates(local, remote);
      if (candidates.length > 0) this.complain(unknownCritical(candidates, remote, critical.type));
      return;
    }
    if (violation(ikeSaInit.request, message.payloads) !== undefined) {
      this.#host.count("payloads");
      return;
    }
    if (!this.#mayOpen(now, local, remote, message)) return;
    const candidates = this.#candidates(local, remote);
    if (candidates.length === 0) {
      this.#host.count("no_connection");
      const others = this.#otherVersion(local, remote);
      const stranger = { peer: undefined, candidates, remote };
      this.complain(
        others.length > 0 ? versionMismatch(others, remote, 2) : failureOf(stranger, "NO_CONNECTION_MATCHES"),
      );
      return;
    }

    const payloads = message.payloads as readonly PlainPayload[];
    const received = { header, payloads, local, remote, datagram };
    const outcome = onIkeSaInitRequest(this.#host, now, received, candidates);
    if (outcome.kind === "dropped") return;
    if (outcome.kind === "refused") {
      if (outcome.record) this.complain(outcome.record);
      refuse(outcome.notify);
      return;
    }
    const { sa, response } = outcome;
    this.#host.adopt(sa);
    this.#byRequest.set(requestKey, sa);
    this.#requestOf.set(sa, requestKey);
    this.#halfOpen.add(sa, remote.address);
    this.#host.emit({ kind: "send", local, remote, datagram: response });
  }

  /** Of IKE, but not of version 2. */
  handleOtherVersion(local: Endpoint, remote: Endpoint, header: DecodedHeader): void {
    this.#host.count("wrong_version");
    if (header.majorVersion === 1 && header.spiResponder === 0n) {
      const candidates = this.#candidates(local, remote);
      if (candidates.length > 0) this.complain(versionMismatch(candidates, remote, 1));
    }
    // §2.5: a newer IKE is told which one we speak. IKEv1 is not, it would not understand.
    if (header.majorVersion > 2 && !header.response)
      this.#answerWithoutState(local, remote, header, notify(NotifyType.code.INVALID_MAJOR_VERSION));
  }

  /** Of an IKE SA that is not here, and whose SPIs are not in use here either. */
  handleUnknownSa(now: Instant, local: Endpoint, remote: Endpoint, header: DecodedHeader): void {
    const datagram = this.#unknownSaAnswers.to(now, header);
    if (datagram) this.#host.emit({ kind: "send", local, remote, datagram });
  }

  /** Time goes on: after a minute there may be complaints again. */
  advance(now: Instant): void {
    this.#complaints.advance(now);
  }

  /** Reports what a stranger did, a few times a minute. */
  complain(record: FailureRecord): void {
    if (this.#complaints.take()) this.#host.emit({ kind: "failure", sa: undefined, record });
  }

  /** `sa` is authenticated. */
  onEstablished(sa: IkeSa): void {
    this.#halfOpen.delete(sa);
  }

  /** `sa` is gone, and its answers with it. */
  forget(sa: IkeSa): void {
    const requestKey = this.#requestOf.get(sa);
    if (requestKey !== undefined) this.#byRequest.delete(requestKey);
    this.#requestOf.delete(sa);
    this.#halfOpen.delete(sa);
  }

  /** Cookies under pressure (§2.6), then hard limits. Answers for itself. */
  #mayOpen(now: Instant, local: Endpoint, remote: Endpoint, { header, payloads }: DecodedMessage): boolean {
    const { cookieThreshold, halfOpenTotal, halfOpenPerAddress } = this.#host.limits;
    if (this.#halfOpen.size >= cookieThreshold) {
      const Ni = findPayload(payloads, "Nonce")!.nonce;
      const shown = findNotify(payloads, NotifyType.code.COOKIE)?.data;
      if (!shown || !this.#cookies.isGood(now, shown, Ni, remote.address, header.spiInitiator)) {
        const cookie = this.#cookies.bake(now, Ni, remote.address, header.spiInitiator);
        this.#answerWithoutState(local, remote, header, notify(NotifyType.code.COOKIE, cookie));
        return false;
      }
    }
    const full = this.#halfOpen.size >= halfOpenTotal;
    const fullForAddress = this.#halfOpen.from(remote.address) >= halfOpenPerAddress;
    if (!full && !fullForAddress) return true;
    this.#host.count(full ? "half_open_limit" : "half_open_limit_address");
    this.complain(failureOf({ peer: undefined, candidates: [], remote }, "HALF_OPEN_LIMIT"));
    return false;
  }

  #answerWithoutState(
    local: Endpoint,
    remote: Endpoint,
    header: DecodedHeader,
    payload: NotifyPayload,
  ): void {
    const { spiInitiator, exchangeType, messageId } = header;
    const answer = {
      spiInitiator,
      spiResponder: 0n,
      exchangeType,
      initiator: false,
      response: true,
      messageId,
    };
    const datagram = encodeMessage({ header: answer, payloads: [payload] });
    this.#host.emit({ kind: "send", local, remote, datagram });
  }
}

const complaintsPerMinute = 6;
