/**
 * What `culvert` and `culvertd` say to each other on the control socket: one JSON object per line, both ways.
 *
 * A request has the protocol's version, an id of the caller's choice and a verb. Every request gets exactly one
 * answer with the same id; a `log` or `events` request with `follow` gets records after its answer until the caller hangs up.
 * Types only and a line splitter: no I/O here.
 */
import type { GatewayStatus } from "../gateway/contract.ts";

/** Raised when an old client would misread a new daemon. */
export const controlVersion = 1;

export const defaultControlSocket = "/run/culvert/control.sock";
export const defaultConfigFile = "/etc/culvert/culvert.yaml";

/** Bytes in one request line, line end included: names are 100 characters at most. */
export const maxRequestBytes = 4096;
/** Bytes in one answer line: a full gateway's `dump` stays well below. */
export const maxAnswerBytes = 64 * 1024 * 1024;

export type ControlCommand =
  | { readonly verb: "status" }
  | { readonly verb: "up" | "down" | "reset"; readonly connection: string }
  /** The CHILD_SAs, or with `ike` the IKE SA; `NOT_UP` when the connection has none. */
  | { readonly verb: "rekey"; readonly connection: string; readonly ike: boolean }
  /** `lines`: how many recent records, 0 to 1000. */
  | { readonly verb: "log" | "events"; readonly lines: number; readonly follow: boolean }
  | { readonly verb: "counters" }
  | { readonly verb: "metrics" }
  | { readonly verb: "dump" };

export type ControlRequest = ControlCommand & { readonly v: number; readonly id: number };

export type ControlAnswer =
  | { readonly v: number; readonly id: number; readonly ok: true; readonly result: unknown }
  | { readonly v: number; readonly id: number; readonly ok: false; readonly error: ControlError };

/** Pushed after the answer to `log` or `events` with `follow`. `dropped` counts records that a slow reader missed. */
export interface ControlRecord {
  readonly v: number;
  readonly id: number;
  readonly record: unknown;
  readonly dropped?: number;
}

export interface ControlError {
  readonly code: ControlErrorCode;
  readonly message: string;
}

/** `id` is 0 in an answer to something that was not a request. */
export type ControlErrorCode =
  | "BAD_REQUEST"
  | "UNSUPPORTED_VERSION"
  | "UNKNOWN_CONNECTION"
  | "NOT_UP"
  | "TOO_MANY_CLIENTS"
  | "UNAVAILABLE"
  | "INTERNAL";

/** Answer to `status`. */
export interface DaemonStatus {
  readonly daemon: {
    readonly version: string;
    readonly pid: number;
    readonly configFile: string;
    readonly startedAt: string;
    /** On the same clock as `nowMs`. */
    readonly startedAtMs: number;
    /** The daemon's monotonic clock: what `sinceMs` and `atMs` are measured on. */
    readonly nowMs: number;
    /** What a restart would change, as far as SIGHUP found the file changed. */
    readonly restartNeeded: readonly string[];
    readonly warnings: readonly string[];
  };
  readonly tun: { readonly name: string; readonly mtu: number };
  readonly gateway: GatewayStatus;
  /** Every configured connection, since the daemon started. */
  readonly connectionTraffic: readonly ConnectionTraffic[];
  /** Installed SAs, each since it was installed. */
  readonly traffic: readonly SaTraffic[];
  readonly drops: readonly DropCount[];
}

export interface ConnectionTraffic {
  readonly connection: string;
  readonly inbound: { readonly packets: number; readonly bytes: number };
  readonly outbound: { readonly packets: number; readonly bytes: number };
}

/** Totals of one installed SA. */
export interface SaTraffic {
  readonly direction: "inbound" | "outbound";
  readonly spi: number;
  readonly connection: number;
  readonly packets: number;
  readonly bytes: number;
}

/** How many packets died of one reason since the daemon started. */
export interface DropCount {
  readonly reason: string;
  readonly severity: string;
  readonly text: string;
  readonly packets: number;
}

/** Answer to `counters`. */
export interface CountersResult {
  readonly counters: Readonly<Record<string, number>>;
  readonly drops: readonly DropCount[];
}

/** Answer to `metrics`: Prometheus' text format. */
export interface MetricsResult {
  readonly text: string;
}

/** Answer to `up`, `down`, `reset` and `rekey`: taken note of; `status` tells how it goes. */
export interface CommandResult {
  readonly acceptedAtMs: number;
}

/** Answer to `log` and `events`. */
export interface LogResult {
  readonly records: readonly unknown[];
}

/**
 * Cuts a byte stream into lines without trusting it: a line longer than `limit` bytes ends the conversation.
 * `feed` returns the complete lines, or undefined once the limit was crossed.
 */
export class LineSplitter {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #pending = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  feed(chunk: Buffer): string[] | undefined {
    const lines: string[] = [];
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(lineFeed, from);
      const piece = chunk.subarray(from, end < 0 ? chunk.length : end);
      if (this.#pending + piece.length >= this.#limit) return undefined;
      if (end < 0) {
        if (piece.length > 0) this.#chunks.push(piece);
        this.#pending += piece.length;
        return lines;
      }
      lines.push(Buffer.concat([...this.#chunks, piece]).toString("utf8"));
      this.#chunks = [];
      this.#pending = 0;
      from = end + 1;
    }
  }
}

const lineFeed = 0x0a;
