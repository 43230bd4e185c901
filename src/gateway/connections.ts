/** The configured connections with their tunnels and histories, by number and by name, and how many of them are up. */
import type { ConnectionConfig } from "../config/model.ts";
import type { Instant } from "../core/time.ts";
import { ConnectionHistory } from "./history.ts";
import { type ConnectionRecord, connectionState, weakWords } from "./status.ts";
import type { Tunnel } from "./tunnel.ts";

export class Connections {
  readonly #byNumber: ConnectionRecord[];
  readonly #byName: ReadonlyMap<string, ConnectionRecord>;
  #up = 0;

  constructor(
    configured: readonly ConnectionConfig[],
    tunnelsOf: (c: ConnectionConfig) => readonly Tunnel[],
  ) {
    this.#byNumber = configured.map((connection) => {
      const tunnels = tunnelsOf(connection);
      const state = connectionState(tunnels);
      const [weak, history] = [weakWords(connection), new ConnectionHistory()];
      return { connection, tunnels, weak, state, since: 0, history };
    });
    this.#byName = new Map(this.#byNumber.map((record) => [record.connection.name, record]));
  }

  get counts(): { readonly up: number; readonly all: number } {
    return { up: this.#up, all: this.#byNumber.length };
  }

  get all(): readonly ConnectionRecord[] {
    return this.#byNumber;
  }

  get(number: number): ConnectionRecord | undefined {
    return this.#byNumber[number];
  }

  named(name: string): ConnectionRecord | undefined {
    return this.#byName.get(name);
  }

  start(now: Instant): void {
    for (const record of this.#byNumber) record.since = now;
  }

  /** A tunnel of the connection, which was up if `wasUp`, has another state now. */
  onTunnelState(tunnel: Tunnel, now: Instant, wasUp: boolean): void {
    const record = this.#byNumber[tunnel.connection.index]!;
    if (wasUp) record.history.onTunnelDown(tunnel.id);
    const state = connectionState(record.tunnels);
    if (state === record.state) return;
    if (state === "up") this.#up++;
    if (record.state === "up") this.#up--;
    record.state = state;
    record.since = now;
  }
}
