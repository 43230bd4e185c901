/**
 * The front door of IKEv1: first messages. IKEv1 has no cookie that costs the responder nothing, so the rest is said
 * here: who is not configured gets no answer; a repeated message gets the same one, so often and no more; half-open
 * ISAKMP SAs are counted in all and by address, and what has not shown its address makes room for what comes new;
 * nothing that we answer is larger than three times what it answers, before the peer has proved its address.
 */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import type { FailureRecord } from "../../core/failure.ts";
import type { Instant } from "../../core/time.ts";
import { digest } from "../../crypto/index.ts";
import { IsakmpExchangeType, IsakmpNotifyType } from "../../registry/index.ts";
import { encodeIsakmp, findIsakmpPayload, type ReceivedPayload } from "../../wire/v1/index.ts";
import { chooseAmong } from "../common/candidates.ts";
import { failureOf, mismatchDetails, versionMismatch } from "../common/failures.ts";
import { Allowance, HalfOpen } from "../common/half-open.ts";
import { expectedIdentity, identityMismatch } from "../common/identity.ts";
import { mayExpect } from "../common/peer-table.ts";
import type { PeerSettings } from "../common/settings.ts";
import {
  AggressiveModeResponder,
  type AggressiveOffer,
  aggressiveOffer,
} from "./exchanges/aggressive-mode.ts";
import { MainModeResponder } from "./exchanges/main-mode.ts";
import { isExpected, missing, saPayload, takeAbilities } from "./exchanges/phase1-common.ts";
import type { Host } from "./host.ts";
import { IsakmpSa } from "./isakmp-sa.ts";
import { inTheClear } from "./key-material.ts";
import { isakmpNotify } from "./notify.ts";
import type { Datagram } from "./phase1.ts";
import { amplification } from "./phase1-transport.ts";
import { choosePhase1 } from "./proposals.ts";
import { vendorPayloads } from "./vendor.ts";

/** The peers that may live at `remote` and be met at `local`. */
type CandidatesOf = (local: Endpoint, remote: Endpoint) => readonly PeerSettings[];
type Mode = PeerSettings["mode"];

const modes: ReadonlyMap<number, Mode> = new Map([
  [IsakmpExchangeType.code.IDENTITY_PROTECTION, "main"],
  [IsakmpExchangeType.code.AGGRESSIVE, "aggressive"],
]);

export class FrontDoor {
  readonly #host: Host;
  readonly #candidates: CandidatesOf;
  readonly #otherVersion: CandidatesOf;
  /** Responder's ISAKMP SAs by the digest of the message that made them. */
  readonly #byRequest = new Map<string, IsakmpSa>();
  readonly #requestOf = new Map<IsakmpSa, string>();
  /** A failed one counts until it is forgotten. */
  readonly #halfOpen = new HalfOpen<IsakmpSa>();
  /** Of them, those that have not shown that they are where they say, the oldest first. */
  readonly #unseen = new Set<IsakmpSa>();
  /** What was refused last, and how: who repeats it has no second record. */
  readonly #refused = new Map<string, Uint8Array>();
  readonly #complaints = new Allowance(complaintsPerMinute);

  /** `otherVersion`: those that speak IKEv2 only. */
  constructor(host: Host, candidates: CandidatesOf, otherVersion: CandidatesOf) {
    this.#host = host;
    this.#candidates = candidates;
    this.#otherVersion = otherVersion;
  }

  /** Somebody at `address` has begun a phase 1 that is not over. */
  isComing(address: IpAddress): boolean {
    return this.#halfOpen.from(address) > 0;
  }

  /** ISAKMP SAs that nobody has authenticated. */
  get halfOpen(): number {
    return this.#halfOpen.size;
  }

  /** Messages whose repetition gets the same answer. */
  get requests(): number {
    return this.#byRequest.size;
  }

  /** A message whose header has no responder's SPI: it wants a new ISAKMP SA, or repeats that it does. */
  handleFirstMessage(now: Instant, message: Datagram): void {
    const { header, datagram, local, remote } = message;
    const mode = modes.get(header.exchangeType);
    if (!mode || header.messageId !== 0 || header.encrypted) {
      this.#host.count("unexpected");
      return;
    }
    const requestKey = String.fromCharCode(...digest("sha256", datagram));
    const known = this.#byRequest.get(requestKey);
    if (known) {
      known.handleDatagram(now, message);
      return;
    }
    const refused = this.#refused.get(requestKey);
    if (refused) {
      this.#host.emit({ kind: "send", local, remote, datagram: refused });
      return;
    }
    const payloads = inTheClear(message);
    if (!payloads) {
      this.#host.count("malformed");
      return;
    }
    const offer = mode === "aggressive" ? aggressiveOffer(payloads) : undefined;
    if (missing(payloads, ["SA"]) !== undefined || (mode === "aggressive" && !offer)) {
      this.#host.count("payloads");
      return;
    }
    const candidates = this.#candidates(local, remote);
    if (candidates.length === 0) {
      this.#host.count("no_connection");
      const others = this.#otherVersion(local, remote);
      const stranger = { peer: undefined, candidates, remote };
      this.complain(
        others.length > 0 ? versionMismatch(others, remote, 1) : failureOf(stranger, "NO_CONNECTION_MATCHES"),
      );
      return;
    }
    if (!this.#mayOpen(now, mode, remote)) return;
    this.#open(now, message, mode, payloads, offer, candidates, requestKey);
  }

  #open(
    now: Instant,
    message: Datagram,
    mode: Mode,
    payloads: readonly ReceivedPayload[],
    offer: AggressiveOffer | undefined,
    all: readonly PeerSettings[],
    requestKey: string,
  ): void {
    const { header, local, remote, datagram } = message;
    const candidates = withMode(all, mode);
    if (candidates.length === 0) {
      const details = { ours: [`mode ${all[0]!.mode}`], theirs: [`mode ${mode}`] };
      const difference = `mode: ours ${all[0]!.mode}, theirs ${mode}`;
      const record = failureOf({ peer: undefined, candidates: all, remote }, "IKE_MODE_MISMATCH", {
        ...details,
        difference,
      });
      this.#refuse(message, requestKey, IsakmpNotifyType.code.UNSUPPORTED_EXCHANGE_TYPE, record);
      return;
    }
    const sa = new IsakmpSa(
      this.#host,
      {
        role: "responder",
        mode,
        now,
        spiLocal: this.#host.newIkeSpi(),
        spiRemote: header.spiInitiator,
        local,
        remote,
        peer: undefined,
      },
      { name: "HALF_OPEN", until: now + this.#host.limits.halfOpenMs },
    );
    const callers = offer
      ? mayExpect(candidates, offer.id).filter((p) => isExpected(sa, p, offer.id))
      : candidates;
    if (offer && callers.length === 0) {
      const expected = expectedIdentity(candidates[0]!, remote.address)!;
      const subject = { peer: undefined, candidates: candidates.slice(0, 1), remote };
      this.#host.count("no_connection");
      this.complain(failureOf(subject, "PEER_IDENTITY_MISMATCH", identityMismatch(expected, offer.id)));
      return;
    }
    const offered = findIsakmpPayload(payloads, "SA")!;
    const among = chooseAmong(callers, (proposals) => choosePhase1(proposals, offered.proposals));
    if ("mismatch" in among) {
      const subject = { peer: undefined, candidates: callers.slice(0, 1), remote };
      const record = failureOf(subject, "NO_PROPOSAL_CHOSEN_IKE", {
        ...mismatchDetails(among.mismatch),
        offered: { ike: among.mismatch.theirs },
      });
      this.#refuse(message, requestKey, IsakmpNotifyType.code.NO_PROPOSAL_CHOSEN, record);
      return;
    }
    const { chosen, peers } = among;
    const { natTraversal } = peers[0]!;
    sa.candidates = peers;
    takeAbilities(sa, payloads, natTraversal);
    const begun = offer
      ? AggressiveModeResponder.begin(sa, offer, chosen)
      : {
          phase1: new MainModeResponder(chosen, offered.body),
          answer: [
            saPayload(chosen.proposal),
            ...vendorPayloads(peers[0]!, {
              dpd: sa.liveness.supported,
              fragmentation: sa.fragmentation,
              nat: sa.natDialect,
            }),
          ],
        };
    if (!begun) {
      this.#host.count("key_exchange");
      return;
    }
    this.#host.adopt(sa);
    this.#byRequest.set(requestKey, sa);
    this.#requestOf.set(sa, requestKey);
    this.#halfOpen.add(sa, remote.address);
    this.#unseen.add(sa);
    sa.respond(now, begun.phase1, datagram, begun.answer);
  }

  /** Time goes on: after a minute there may be complaints again. */
  advance(now: Instant): void {
    this.#complaints.advance(now);
  }

  /** Reports what a stranger did, a few times a minute. */
  complain(record: FailureRecord): void {
    if (this.#complaints.take()) this.#host.emit({ kind: "failure", sa: undefined, record });
  }

  /** `sa` is somebody who knows our SPI, and so is where it says. */
  onSeen(sa: IsakmpSa): void {
    this.#unseen.delete(sa);
  }

  /** `sa` is authenticated. */
  onEstablished(sa: IsakmpSa): void {
    this.#unseen.delete(sa);
    this.#halfOpen.delete(sa);
  }

  /** `sa` is gone, and its answers with it. */
  forget(sa: IsakmpSa): void {
    const requestKey = this.#requestOf.get(sa);
    if (requestKey !== undefined) this.#byRequest.delete(requestKey);
    this.#requestOf.delete(sa);
    this.#unseen.delete(sa);
    this.#halfOpen.delete(sa);
  }

  /**
   * Hard limits. Main mode costs next to nothing before the peer has shown its address: when everything is taken, the
   * oldest that has not makes room, and whoever floods us only shortens the time for that. Aggressive mode costs a key
   * exchange at once, and has to wait.
   */
  #mayOpen(now: Instant, mode: Mode, remote: Endpoint): boolean {
    const { halfOpenTotal, halfOpenPerAddress, cookieThreshold } = this.#host.limits;
    const fullForAddress = this.#halfOpen.from(remote.address) >= halfOpenPerAddress;
    const most = mode === "main" ? halfOpenTotal : cookieThreshold;
    if (!fullForAddress && this.#halfOpen.size < most) return true;
    const [oldest] = this.#unseen;
    if (!fullForAddress && mode === "main" && oldest) {
      oldest.end(now, "unreachable");
      this.#host.count("half_open_limit");
      return true;
    }
    this.#host.count(fullForAddress ? "half_open_limit_address" : "half_open_limit");
    this.complain(failureOf({ peer: undefined, candidates: [], remote }, "HALF_OPEN_LIMIT"));
    return false;
  }

  /** Says no without keeping anything, and without a responder's SPI that could be used for something. */
  #refuse(message: Datagram, requestKey: string, notifyType: number, record: FailureRecord): void {
    const { header, local, remote, datagram } = message;
    this.complain(record);
    const answer = {
      spiInitiator: header.spiInitiator,
      spiResponder: 0n,
      exchangeType: IsakmpExchangeType.code.INFORMATIONAL,
      messageId: 1,
    };
    const refusal = encodeIsakmp(answer, [isakmpNotify(notifyType, undefined)]);
    if (refusal.length > amplification * datagram.length) return;
    if (this.#refused.size >= mostRefused) {
      const [oldest] = this.#refused.keys();
      this.#refused.delete(oldest!);
    }
    this.#refused.set(requestKey, refusal);
    this.#host.emit({ kind: "send", local, remote, datagram: refusal });
  }
}

/** The same array for the same candidates: what is derived from it is kept for as long as it lives. */
function withMode(candidates: readonly PeerSettings[], mode: Mode): readonly PeerSettings[] {
  let byMode = modesOf.get(candidates);
  if (!byMode) {
    byMode = {
      main: candidates.filter((peer) => peer.mode === "main"),
      aggressive: candidates.filter((peer) => peer.mode === "aggressive"),
    };
    modesOf.set(candidates, byMode);
  }
  return byMode[mode];
}

const modesOf = new WeakMap<readonly PeerSettings[], Readonly<Record<Mode, readonly PeerSettings[]>>>();
const complaintsPerMinute = 6;
const mostRefused = 64;
