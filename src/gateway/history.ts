/**
 * What a connection has gone through: its last failures, what works and needs attention, and counts since the daemon
 * started. Bounded, whatever a peer does.
 */
import type { FailureRecord } from "../core/failure.ts";
import type { FailureCode } from "../core/failure-reasons.ts";
import type { Instant } from "../core/time.ts";
import type { IkeSaView, Role } from "../ike/common/views.ts";
import type { ConnectionCounts, ConnectionStatus } from "./contract.ts";

/** How many different failures are kept: a repetition of the last one only counts. */
const kept = 8;

interface PastFailure {
  readonly record: FailureRecord;
  at: Instant;
  times: number;
}

export class ConnectionHistory {
  /** The newest first. */
  readonly #failures: PastFailure[] = [];
  readonly #byCode = new Map<FailureCode, number>();
  /** By tunnel: what failed while the tunnel went on, and has not succeeded since. */
  readonly #warnings = new Map<string, { readonly record: FailureRecord; readonly at: Instant }>();
  #handshakesInitiated = 0;
  #handshakesAnswered = 0;
  #ikeRekeys = 0;
  #childRekeys = 0;

  /** `sa`: the IKE SA that the failure belongs to, if it got that far. */
  onFailure(now: Instant, record: FailureRecord, sa: IkeSaView | undefined): void {
    this.#byCode.set(record.code, (this.#byCode.get(record.code) ?? 0) + 1);
    const last = this.#failures[0];
    if (last && last.record.code === record.code && last.record.difference === record.difference) {
      this.#failures[0] = { record, at: now, times: last.times + 1 };
    } else {
      this.#failures.unshift({ record, at: now, times: 1 });
      this.#failures.length = Math.min(this.#failures.length, kept);
    }
    // An IKE SA that was to replace one leaves that one as it is.
    const working = sa?.replaces ?? sa;
    if (working?.peer && working.established && working.outbound().length > 0)
      this.#warnings.set(working.peer.id, { record, at: now });
  }

  onEstablished(role: Role): void {
    if (role === "initiator") this.#handshakesInitiated++;
    else this.#handshakesAnswered++;
  }

  onIkeRekeyed(): void {
    this.#ikeRekeys++;
  }

  /** A CHILD_SA was rekeyed: what stood in the way of it is gone. */
  onChildRekeyed(tunnelId: string): void {
    this.#childRekeys++;
    this.#warnings.delete(tunnelId);
  }

  /** Nothing of the tunnel is left: whatever was wrong with it went with it. */
  onTunnelDown(tunnelId: string): void {
    this.#warnings.delete(tunnelId);
  }

  get status(): Pick<ConnectionStatus, "lastFailure" | "failures" | "warnings" | "counts"> {
    const [last] = this.#failures;
    return {
      lastFailure: last && { ...last.record, atMs: last.at },
      failures: this.#failures.map(({ record, at, times }) => {
        const { code, peer, difference } = record;
        return { code, peer, difference, atMs: at, times };
      }),
      warnings: [...this.#warnings.values()].map(({ record, at }) => ({ ...record, atMs: at })),
      counts: this.#counts(),
    };
  }

  #counts(): ConnectionCounts {
    return {
      handshakesInitiated: this.#handshakesInitiated,
      handshakesAnswered: this.#handshakesAnswered,
      ikeRekeys: this.#ikeRekeys,
      childRekeys: this.#childRekeys,
      failures: Object.fromEntries(this.#byCode),
    };
  }
}
