/**
 * Datagrams that the kernel refuses to send: no route, a firewall, a link that is down. IKE repeats by itself, so such a
 * refusal is one log record for each peer and reason until a datagram gets through again, never one per datagram.
 */
import { type Endpoint, formatEndpoint } from "../core/address.ts";
import type { Log } from "../telemetry/log.ts";

export class SendTrouble {
  readonly #log: Pick<Log, "write">;
  /** Peer to the reason that was reported last. */
  readonly #reported = new Map<string, string>();

  constructor(log: Pick<Log, "write">) {
    this.#log = log;
  }

  /** Runs `send`. What it throws with an errno is reported; anything else is a bug and goes on up. */
  watch(remote: Endpoint, send: () => void): void {
    try {
      send();
    } catch (error) {
      this.#onError(remote, error);
      return;
    }
    if (this.#reported.size > 0) this.#reported.delete(formatEndpoint(remote));
  }

  #onError(remote: Endpoint, error: unknown): void {
    const { code, message } = error as NodeJS.ErrnoException;
    if (typeof code !== "string" || !/^E[A-Z0-9]+$/.test(code)) throw error;
    const peer = formatEndpoint(remote);
    if (this.#reported.get(peer) === code) return;
    // Answers go to whoever asks: what is remembered of strangers is bounded.
    if (this.#reported.size >= maxPeers) this.#reported.clear();
    this.#reported.set(peer, code);
    this.#log.write("warn", "IKE datagram not sent", { peer, code, problem: message });
  }
}

const maxPeers = 1024;
