/** culvertd and culvert as a test, a demo or a benchmark uses them: the built programs, a private configuration. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import type { DaemonStatus } from "../src/api/control-protocol.ts";
import { connectControl } from "../src/cli/client.ts";
import type { ConnectionStatus } from "../src/gateway/contract.ts";
import { delay, type Program, type RunResult, run } from "./exec.ts";
import type { Testbed } from "./testbed.ts";

export interface CulvertOptions {
  readonly netns: string;
  /** Names this instance's files within the bed. */
  readonly name: string;
  readonly localAddress: string;
  /** An address, or `any`. */
  readonly remoteAddress: string;
  readonly psk: string;
  /** What the tunnel leads to: published as routes (destination routing), or the remote half of the flows. */
  readonly remoteSubnets: readonly string[];
  /** Present: protected data flows with these as the local half. */
  readonly localSubnets?: readonly string[];
  /** IKEv1 in this mode; IKEv2 when absent. */
  readonly ikev1?: "main" | "aggressive";
  readonly ikeProposals?: readonly string[];
  readonly espProposals?: readonly string[];
  readonly localId?: string;
  readonly remoteId?: string;
  readonly forceEncapsulation?: boolean;
  readonly start?: "immediately" | "on-traffic" | "passive";
  readonly workers?: number;
  /** Write every key to `keylogFile`, for Wireshark. */
  readonly keylog?: boolean;
  readonly logLevel?: string;
  /** More keys of the connection and of the gateway, as in the file. */
  readonly connection?: Readonly<Record<string, unknown>>;
  readonly gateway?: Readonly<Record<string, unknown>>;
  /** How long a start may take; 20 seconds when absent. */
  readonly startMs?: number;
  /** Arguments for Node, before the program. */
  readonly nodeArguments?: readonly string[];
  /** The whole file, in place of the one that the other options describe; the key is in the file `psk` beside it. */
  readonly file?: Readonly<Record<string, unknown>>;
}

/** The one connection of a test gateway. */
export const connectionName = "peer";

export class Culvert {
  readonly name: string;
  readonly netns: string;
  readonly configFile: string;
  readonly controlSocket: string;
  readonly keylogFile: string;
  #program: Program;
  readonly #start: () => Program;

  private constructor(bed: Testbed, options: CulvertOptions) {
    const folder = join(bed.directory, options.name);
    this.name = options.name;
    this.netns = options.netns;
    bed.file(`${options.name}/psk`, options.psk);
    this.configFile = bed.file(
      `${options.name}/culvert.yaml`,
      stringify(options.file ?? configuration(options)),
    );
    this.controlSocket = join(folder, "control.sock");
    this.keylogFile = join(folder, "keys.log");
    const argv = [process.execPath, "--single-threaded-gc", "--enable-source-maps"];
    argv.push(...(options.nodeArguments ?? []));
    argv.push(program("daemon"), "--config", this.configFile);
    argv.push("--state", join(folder, "state"));
    argv.push("--control", this.controlSocket, "--log-level", options.logLevel ?? "info");
    if (options.keylog === true) argv.push("--insecure-keylog", this.keylogFile);
    this.#start = () => bed.start(`culvertd ${options.name}`, argv, { netns: options.netns });
    this.#program = this.#start();
  }

  /** Starts culvertd; resolves when it answers on its control socket. Throws with its log when it does not. */
  static async start(bed: Testbed, options: CulvertOptions): Promise<Culvert> {
    if (!existsSync(program("daemon"))) throw new Error("culvertd is not built: npm run build");
    const self = new Culvert(bed, options);
    await self.#answers(options.startMs);
    return self;
  }

  get program(): Program {
    return this.#program;
  }

  /** Starts it again, with the same file, after it ended or was killed. */
  async restart(): Promise<void> {
    if (this.#program.running) await this.#program.stop();
    this.#program = this.#start();
    await this.#answers();
  }

  async status(): Promise<DaemonStatus> {
    const client = await connectControl(this.controlSocket);
    try {
      return await client.ask<DaemonStatus>({ verb: "status" });
    } finally {
      client.close();
    }
  }

  async connection(): Promise<ConnectionStatus> {
    const { gateway } = await this.status();
    return gateway.connections.find(({ name }) => name === connectionName)!;
  }

  /** Polls the connection until `accept` likes it. Throws with the last state and the daemon's log. */
  async waitFor(
    what: string,
    accept: (connection: ConnectionStatus) => boolean,
    timeoutMs = 20_000,
  ): Promise<ConnectionStatus> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const connection = await this.connection();
      if (accept(connection)) return connection;
      if (performance.now() > until) {
        const seen = JSON.stringify(
          { state: connection.state, lastFailure: connection.lastFailure },
          null,
          1,
        );
        throw new Error(`${this.name}: not ${what} in ${timeoutMs} ms: ${seen}\n${this.#program.tail()}`);
      }
      await delay(25);
    }
  }

  waitUp(timeoutMs?: number): Promise<ConnectionStatus> {
    return this.waitFor("up", ({ state }) => state === "up", timeoutMs);
  }

  /** Runs `culvert ARGS --control …`. */
  cli(args: readonly string[]): Promise<RunResult> {
    return run([process.execPath, program("cli"), ...args, "--control", this.controlSocket]);
  }

  async #answers(timeoutMs = 20_000): Promise<void> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      if (!this.#program.running) throw new Error(`culvertd ${this.name} ended:\n${this.#program.tail(30)}`);
      const status = await this.status().catch(() => undefined);
      if (status !== undefined) return;
      if (performance.now() > until) {
        throw new Error(`culvertd ${this.name} does not answer:\n${this.#program.tail(30)}`);
      }
      await delay(25);
    }
  }
}

/** The configuration file as an object. */
export function configuration(o: CulvertOptions): Record<string, unknown> {
  const flows = o.localSubnets !== undefined;
  return {
    gateway: {
      name: o.name,
      addresses: [o.localAddress],
      ...(o.workers === undefined ? {} : { workers: o.workers }),
      ...o.gateway,
    },
    customerGateways: { peer: { address: o.remoteAddress } },
    connections: {
      [connectionName]: {
        customerGateway: "peer",
        start: o.start ?? "immediately",
        psk: { file: "psk" },
        routing: flows ? "protected-data-flows" : "destination",
        ...(flows ? { localSubnets: o.localSubnets, remoteSubnets: o.remoteSubnets } : {}),
        ike: {
          ...(o.ikev1 === undefined ? {} : { version: "ikev1", mode: o.ikev1 }),
          ...(o.ikeProposals === undefined ? {} : { proposals: o.ikeProposals }),
          ...(o.localId === undefined ? {} : { localId: o.localId }),
          ...(o.remoteId === undefined ? {} : { remoteId: o.remoteId }),
        },
        ipsec: o.espProposals === undefined ? {} : { proposals: o.espProposals },
        natTraversal: { forceEncapsulation: o.forceEncapsulation ?? false },
        ...o.connection,
      },
    },
    routes: {
      destination: o.remoteSubnets.map((destination) => ({ destination, connection: connectionName })),
    },
  };
}

function program(name: "daemon" | "cli"): string {
  return join(repository, "dist/src", name, "main.js");
}

/** The clone's root: above this file in `testbed/` and in `dist/testbed/`. */
export const repository = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
})();
