/** How the messages of one ISAKMP SA travel. */
import type { Instant } from "../../core/time.ts";
import type { IsakmpPayload } from "../../wire/v1/index.ts";
import type { InitiatedExchange } from "./exchange.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import type { Datagram } from "./phase1.ts";

/** What an ISAKMP SA asks of its transport; the transport itself follows with phase 1. */
export interface Transport {
  handleDatagram(now: Instant, message: Datagram): void;
  initiate(now: Instant, exchange: InitiatedExchange): void;
  inform(now: Instant, payloads: readonly IsakmpPayload[]): void;
  hasExchange(name: string): boolean;
  readonly backlog: number;
  readonly idle: boolean;
  readonly negotiations: number;
  readonly deadline: Instant | undefined;
  handleTimeout(now: Instant): void;
  abandonAll(now: Instant): void;
}

export type MakeTransport = (sa: IsakmpSa) => Transport;
