/** Data planes and an independent ESP peer (scapy) in namespaces, for the tests of this folder. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe } from "vitest";
import { delay, must, type Program, run } from "../../testbed/exec.ts";
import { obstacleToNamespaces, Testbed } from "../../testbed/testbed.ts";
import { buildTopology, type Topology, type TopologyOptions } from "../../testbed/topology.ts";

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, "../../dist/src/dataplane/index.js");
const python = "/usr/bin/python3";

const obstacle = await obstacleToNamespaces();
const scapyMissing =
  (await run([python, "-c", "import scapy.layers.ipsec"]).catch(() => undefined))?.code === 0
    ? undefined
    : "python3-scapy is not installed";

/** `describe` for tests that need the kernel; where that is impossible they are skipped, and the reason is printed. */
export function describeWithKernel(title: string, needs: { scapy?: boolean }, body: () => void): void {
  const reason = obstacle ?? (needs.scapy === true ? scapyMissing : undefined);
  if (reason !== undefined) process.stderr.write(`skipped: ${title}: ${reason}\n`);
  describe.skipIf(reason !== undefined)(title, () => {
    afterEach(async () => {
      for (const bed of beds.splice(0)) await bed.close();
    });
    body();
  });
}

const beds: Testbed[] = [];

export async function network(options: TopologyOptions = {}): Promise<{ bed: Testbed } & Topology> {
  if (!existsSync(built)) throw new Error("dist/ is missing: run `npm run build:ts`");
  const bed = await Testbed.open();
  beds.push(bed);
  return { bed, ...(await buildTopology(bed, options)) };
}

/** A failed call into a data plane, with the code that the facade promises. */
export class CallFailed extends Error {
  readonly code: string | undefined;
  constructor(message: string, code: string | undefined) {
    super(message);
    this.code = code;
  }
}

/** A process of `driver.mjs`. */
export class Plane {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Starts a process in `netns`; `wrapper` goes in front of node. The data plane itself is opened by `open`. */
  static start(bed: Testbed, netns: string, name: string, wrapper: readonly string[] = []): Plane {
    return new Plane(bed.start(name, [...wrapper, process.execPath, join(here, "driver.mjs")], { netns }));
  }

  // biome-ignore lint/suspicious/noExplicitAny: JSON, and each test knows its shape
  async call(call: string, ...args: readonly unknown[]): Promise<any> {
    const line = await this.#program.ask(JSON.stringify({ call, args }));
    let answer: { value?: unknown; error?: string; code?: string };
    try {
      answer = JSON.parse(line) as typeof answer;
    } catch {
      throw new Error(`${this.#program.name} printed no JSON: ${this.#program.tail()}`);
    }
    if (answer.error !== undefined) throw new CallFailed(answer.error, answer.code);
    return answer.value;
  }

  /** Events of `kind` so far, waiting until there are `count`. Events of other kinds are kept. */
  async events(kind: string, count = 1): Promise<Record<string, unknown>[]> {
    const until = performance.now() + 10_000;
    for (;;) {
      this.#seen.push(...(await this.call("events")));
      const found = this.#seen.filter((event) => event["kind"] === kind);
      if (found.length >= count || performance.now() > until) {
        this.#seen = this.#seen.filter((event) => event["kind"] !== kind);
        return found;
      }
      await delay(20);
    }
  }

  async stop(): Promise<number> {
    return this.#program.stop();
  }

  /** Has it call process.exit; resolves with its exit code. */
  async exit(): Promise<number> {
    await this.call("exit").catch(() => undefined);
    return this.#program.exited;
  }

  #seen: Record<string, unknown>[] = [];
}

/** The scapy end. */
export class EspPeer {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  static async start(bed: Testbed, netns: string): Promise<EspPeer> {
    const program = bed.start("scapy", [python, join(here, "esp_peer.py")], { netns });
    await program.waitForLine(/^ready$/);
    return new EspPeer(program);
  }

  // biome-ignore lint/suspicious/noExplicitAny: JSON, and each test knows its shape
  async call(call: string, args: Readonly<Record<string, unknown>> = {}): Promise<any> {
    const line = await this.#program.ask(JSON.stringify({ call, ...args }));
    const answer = JSON.parse(line) as { value?: unknown; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }
}

export interface PlaneOptions {
  readonly addresses: readonly string[];
  readonly workers?: number;
  readonly tunMtu?: number;
  readonly pathMtu?: number;
  readonly backend?: "auto" | "portable";
}

/** Opens a data plane with device `culvert0`. */
export async function openPlane(
  bed: Testbed,
  netns: string,
  name: string,
  options: PlaneOptions,
): Promise<Plane> {
  const plane = Plane.start(bed, netns, name);
  await plane.call("open", { tunName: "culvert0", tunMtu: 1400, workers: 1, ...options });
  return plane;
}

/** One direction of a manual SA with AES-GCM-128; `overrides` are fields of SaSpec as the driver reads them. */
export function manualSa(
  direction: "inbound" | "outbound",
  spi: number,
  local: string,
  remote: string,
  overrides: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  return {
    direction,
    spi,
    connection: 0,
    local,
    remote,
    encapsulation: { kind: "udp", localPort: 4500, remotePort: 4500 },
    encr: 20,
    encrKeyBits: 128,
    integ: 0,
    encrKey: keyFor(spi),
    integKey: "",
    esn: false,
    replayWindow: 64,
    localSelectors: ["0.0.0.0/0", "::/0"],
    remoteSelectors: ["0.0.0.0/0", "::/0"],
    softBytes: 0,
    hardBytes: 0,
    softPackets: 0,
    hardPackets: 0,
    ...overrides,
  };
}

/** Key and salt of a manual SA: different for each SPI, the same on both ends. */
export const keyFor = (spi: number): string => spi.toString(16).padStart(8, "0").repeat(5);

/** Everything for `destinations` goes to connection 0, which uses `spi` to `remote`. */
export const planFor = (destinations: readonly string[], spi: number, remote: string) => ({
  policyRoutes: [],
  destinationRoutes: destinations.map((destination) => ({ destination, connection: 0 })),
  connections: [{ connection: 0, outbound: [{ spi, remote }] }],
});

/** Sends what the data plane is to carry into its device. */
export async function routeThroughTunnel(netns: string, destinations: readonly string[]): Promise<void> {
  for (const destination of destinations) {
    const family = destination.includes(":") ? ["-6"] : [];
    await must(["ip", "-n", netns, ...family, "route", "add", destination, "dev", "culvert0"]);
  }
}
