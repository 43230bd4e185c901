/** What both phases need to send and to repeat. */
import type { Endpoint } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import { fragmentIsakmp, type IsakmpHeader } from "../../wire/v1/index.ts";
import { maxMessageBytes } from "../common/message-size.ts";
import { excuseLateness, type Patience } from "../common/patience.ts";
import type { EndpointLimits } from "../common/settings.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** Messages of one ISAKMP SA on their way out. */
export class Sender {
  readonly #sa: IsakmpSa;
  #fragmentId = 0;

  constructor(sa: IsakmpSa) {
    this.#sa = sa;
  }

  /** The datagrams of a message: one, or the fragments of it where the peer takes them. */
  cut(header: IsakmpHeader, datagram: Uint8Array): readonly Uint8Array[] {
    if (!this.#sa.fragmentation) return [datagram];
    const maxBytes = maxMessageBytes(this.#sa.host, this.#sa);
    if (datagram.length <= maxBytes) return [datagram];
    this.#fragmentId = (this.#fragmentId % 0xffff) + 1;
    return fragmentIsakmp(datagram, header, this.#fragmentId, maxBytes);
  }

  send(
    { local, remote }: { readonly local: Endpoint; readonly remote: Endpoint },
    datagrams: readonly Uint8Array[],
  ): void {
    for (const datagram of datagrams) this.#sa.host.emit({ kind: "send", local, remote, datagram });
  }
}

export function headerOf(
  { spiInitiator, spiResponder }: IsakmpSa,
  exchangeType: number,
  messageId: number,
): IsakmpHeader {
  return { spiInitiator, spiResponder, exchangeType, messageId };
}

/** For a message that is out now, and is repeated until its answer comes or `patienceMs` have passed. */
export function patience({ retransmitMs }: EndpointLimits, now: Instant, patienceMs: number): Patience {
  return { delayMs: retransmitMs, nextAt: now + retransmitMs, giveUpAt: now + patienceMs };
}

/** What is to be done about a message that waits; `repeat` has set the next time. */
export function whatIsDue(
  limits: EndpointLimits,
  wait: Patience,
  now: Instant,
): "over" | "repeat" | "nothing" {
  excuseLateness(wait, now);
  if (wait.giveUpAt <= now) return "over";
  if (wait.nextAt > now) return "nothing";
  wait.delayMs = Math.min(wait.delayMs * limits.retransmitBackoff, limits.retransmitMaxMs);
  wait.nextAt = now + wait.delayMs;
  return "repeat";
}

export const waitAt = (wait: Patience | undefined): Instant | undefined =>
  wait && Math.min(wait.nextAt, wait.giveUpAt);

/** A peer repeats with growing pauses, for half a minute: more is somebody else. */
export const maxRepeated = 12;
