/** The path between simulated gateways: delay, loss, duplication, reordering, NAT, and faults by name. */
import { type Endpoint, formatEndpoint, IpAddress } from "../../src/core/address.ts";
import { ExchangeType, IsakmpExchangeType } from "../../src/registry/index.ts";
import { decodeHeader } from "../../src/wire/index.ts";
import type { SeededRandom } from "./random.ts";

export interface Packet {
  readonly from: string;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly datagram: Uint8Array;
  /** DF: no router may fragment it. */
  readonly unfragmented?: boolean;
}

/** Settings of the whole network; each chance is 0 to 1. */
export interface Weather {
  readonly loss: number;
  readonly duplication: number;
  /** Each copy is delayed by `delayMs` plus up to `jitterMs`: jitter is what reorders. */
  readonly delayMs: number;
  readonly jitterMs: number;
}

export const fair: Weather = { loss: 0, duplication: 0, delayMs: 10, jitterMs: 0 };

type Verdict = "pass" | "drop" | { readonly replace: readonly Packet[] } | { readonly delayMs: number };
export type Fault = (packet: Packet, name: string) => Verdict;

/**
 * `IKE_AUTH response 1`: exchange, direction and message ID of a datagram. `IDENTITY_PROTECTION 0`, `QUICK_MODE 1f` in
 * IKEv1, whose messages do not say which of their exchange they are.
 */
export function messageName(datagram: Uint8Array): string {
  const header = decodeHeader(datagram);
  if (header.majorVersion === 1)
    return `${IsakmpExchangeType.nameOf(header.exchangeType)} ${header.messageId.toString(16)}`;
  const direction = header.response ? "response" : "request";
  return `${ExchangeType.nameOf(header.exchangeType)} ${direction} ${header.messageId}`;
}

/** A source NAT in front of one address: rewrites what goes out, finds the way back for what comes in. */
export class Nat {
  readonly inside: IpAddress;
  readonly outside: IpAddress;
  #nextPort = 20000;
  readonly #ports = new Map<number, number>();

  constructor(inside: string, outside: string) {
    this.inside = IpAddress.parse(inside);
    this.outside = IpAddress.parse(outside);
  }

  translate(packet: Packet): Packet | undefined {
    if (packet.source.address.equals(this.inside)) {
      let port = [...this.#ports].find(([, inner]) => inner === packet.source.port)?.[0];
      if (port === undefined) {
        port = this.#nextPort++;
        this.#ports.set(port, packet.source.port);
      }
      return { ...packet, source: { address: this.outside, port } };
    }
    if (!packet.destination.address.equals(this.outside)) return packet;
    const inner = this.#ports.get(packet.destination.port);
    return inner === undefined
      ? undefined
      : { ...packet, destination: { address: this.inside, port: inner } };
  }

  /** The mappings are gone: the next packet gets another port, as after a NAT's reboot. */
  forget(): void {
    this.#ports.clear();
  }
}

export class Network {
  weather: Weather = fair;
  /** Bytes that an IP packet may have on the way, by the name of who sends it; without: any. */
  readonly mtus = new Map<string, number>();
  /** What is too big and may be fragmented is not: firewalls drop fragments. */
  dropsFragments = false;
  readonly nats: Nat[] = [];
  readonly faults: Fault[] = [];
  /** What was sent, as `gatewayName: message name`, for assertions in exchange notation. */
  readonly trace: string[] = [];
  /** Told of everything that is sent, and how late each copy of it arrives. */
  observe: ((packet: Packet, name: string, delaysMs: readonly number[]) => void) | undefined;
  readonly #random: SeededRandom;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** The copies that arrive, with their delays. */
  carry(packet: Packet): { packet: Packet; delayMs: number }[] {
    const name = messageName(packet.datagram);
    this.trace.push(`${packet.from}: ${name}`);
    const arriving = this.#impair(packet, name);
    this.observe?.(
      packet,
      name,
      arriving.map((copy) => copy.delayMs),
    );
    return arriving;
  }

  #isTooBig({ from, datagram, source, destination, unfragmented }: Packet): boolean {
    const marker = source.port === 4500 ? 4 : 0;
    const bytes = (destination.address.family === 4 ? 20 : 40) + 8 + marker + datagram.length;
    const mtu = this.mtus.get(from) ?? Number.POSITIVE_INFINITY;
    return bytes > mtu && (unfragmented === true || this.dropsFragments);
  }

  #impair(packet: Packet, name: string): { packet: Packet; delayMs: number }[] {
    if (this.#isTooBig(packet)) return [];
    let packets: readonly Packet[] = [packet];
    let extraMs = 0;
    for (const fault of this.faults) {
      const verdict = fault(packet, name);
      if (verdict === "drop") return [];
      if (typeof verdict === "object" && "replace" in verdict) packets = verdict.replace;
      if (typeof verdict === "object" && "delayMs" in verdict) extraMs += verdict.delayMs;
    }
    const arriving: { packet: Packet; delayMs: number }[] = [];
    const { loss, duplication, delayMs, jitterMs } = this.weather;
    for (const each of packets) {
      const copies = this.#random.unit() < duplication ? 2 : 1;
      for (let i = 0; i < copies; i++) {
        if (this.#random.unit() < loss) continue;
        let translated: Packet | undefined = each;
        for (const nat of this.nats) translated = translated && nat.translate(translated);
        if (translated)
          arriving.push({ packet: translated, delayMs: extraMs + delayMs + this.#random.unit() * jitterMs });
      }
    }
    return arriving;
  }
}

/** Named faults, for `network.faults.push(impair.drop("IKE_AUTH response"))`. */
export const impair = {
  /** Drops the first `times` datagrams whose name begins so. */
  drop(prefix: string, times = Number.POSITIVE_INFINITY, from?: string): Fault {
    let left = times;
    return (packet, name) => {
      if (!name.startsWith(prefix) || (from !== undefined && packet.from !== from) || left <= 0)
        return "pass";
      left--;
      return "drop";
    };
  },
  /** Nothing passes in either direction. */
  blackout(): Fault {
    return () => "drop";
  },
  delay(prefix: string, delayMs: number, times = 1, from?: string): Fault {
    let left = times;
    return (packet, name) => {
      if (!name.startsWith(prefix) || (from !== undefined && packet.from !== from) || left-- <= 0)
        return "pass";
      return { delayMs };
    };
  },
  /** Sends something else in the place of matching datagrams. */
  replace(prefix: string, change: (packet: Packet) => readonly Packet[], times = 1): Fault {
    let left = times;
    return (packet, name) => (!name.startsWith(prefix) || left-- <= 0 ? "pass" : { replace: change(packet) });
  },
};

export const endpointKey = (e: Endpoint): string => formatEndpoint(e);
