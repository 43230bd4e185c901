/** A machine, a kernel, a data plane and a clock that do what a test says and remember what they were told. */

import { formatProblem, type ParsedConfig, parseConfig } from "../../../src/config/index.ts";
import { type Endpoint, formatEndpoint } from "../../../src/core/address.ts";
import type { SaPath, SaSpec } from "../../../src/core/dataplane.ts";
import type { DataPlanePort } from "../../../src/daemon/ports.ts";
import type { Clock } from "../../../src/daemon/shell.ts";
import type { Kernel, KernelRoute, KernelRule } from "../../../src/dataplane/kernel.ts";
import type {
  ConnectionStatus,
  GatewayInput,
  GatewayMachine,
  GatewayOutput,
} from "../../../src/gateway/contract.ts";
import { createLog, type Log } from "../../../src/telemetry/log.ts";

export class FakeMachine implements GatewayMachine {
  readonly inputs: GatewayInput[] = [];
  readonly timeouts: number[] = [];
  deadline: number | undefined;
  connections: ConnectionStatus[] = [];
  ikeDrops: Record<string, number> = {};
  /** Called for every input, to queue outputs or throw. */
  onInput: (input: GatewayInput) => void = () => {};
  onTimeout: (now: number) => void = () => {
    this.deadline = undefined;
  };
  readonly #outputs: GatewayOutput[] = [];

  emit(...outputs: GatewayOutput[]): void {
    this.#outputs.push(...outputs);
  }
  handle(_now: number, input: GatewayInput): void {
    this.inputs.push(input);
    this.onInput(input);
  }
  handleTimeout(now: number): void {
    this.timeouts.push(now);
    this.onTimeout(now);
  }
  pollOutput(): GatewayOutput | undefined {
    return this.#outputs.shift();
  }
  pollTimeout(): number | undefined {
    return this.deadline;
  }
  get connectionCount() {
    const up = this.connections.filter(({ state }) => state === "up").length;
    return { up, all: this.connections.length };
  }
  status() {
    return {
      name: "hq",
      ike: { halfOpen: 0, sas: 0, inboundSpis: 0, drops: this.ikeDrops },
      connections: this.connections,
    };
  }
}

export class FakeClock implements Clock {
  time = 1000;
  armed: { readonly at: number; readonly callback: () => void } | undefined;

  now(): number {
    return this.time;
  }
  arm(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.time + delayMs, callback };
    this.armed = timer;
    return () => {
      if (this.armed === timer) this.armed = undefined;
    };
  }
  /** Moves to the armed timer and lets it fire. */
  fire(): void {
    const timer = this.armed;
    if (!timer) throw new Error("nothing is armed");
    this.armed = undefined;
    this.time = Math.max(this.time, timer.at);
    timer.callback();
  }
}

const sameRoute = (a: KernelRoute) => (b: KernelRoute) =>
  a.prefix === b.prefix && a.table === b.table && a.device === b.device && a.throws === b.throws;
const sameRule = (a: KernelRule) => (b: KernelRule) => JSON.stringify(a) === JSON.stringify(b);

export class FakeKernel implements Kernel {
  routes: KernelRoute[] = [];
  rules: KernelRule[] = [];
  readonly links: unknown[] = [];
  readonly notifications: string[] = [];
  /** Names of the calls that throw, with the errno's name that they throw. */
  readonly failing = new Map<string, string>();
  calls = 0;

  #call(name: string): void {
    this.calls++;
    const code = this.failing.get(name);
    if (code) throw Object.assign(new Error(`${name}: ${code}`), { code });
  }
  linkIndex(): number {
    return 7;
  }
  setLink(name: string, change: { readonly mtu?: number; readonly up: boolean }): void {
    this.#call("setLink");
    this.links.push({ name, ...change });
  }
  replaceRoute(route: KernelRoute): void {
    this.#call("replaceRoute");
    this.routes = [...this.routes.filter((other) => !sameRoute(route)(other)), route];
  }
  deleteRoute(route: KernelRoute): void {
    this.#call("deleteRoute");
    this.routes = this.routes.filter((other) => !sameRoute(route)(other));
  }
  listRoutes(table: number): KernelRoute[] {
    this.#call("listRoutes");
    return this.routes.filter((route) => route.table === table);
  }
  addRule(rule: KernelRule): void {
    this.#call("addRule");
    this.rules.push(rule);
  }
  deleteRule(rule: KernelRule): void {
    this.#call("deleteRule");
    const at = this.rules.findIndex(sameRule(rule));
    if (at >= 0) this.rules.splice(at, 1);
  }
  listRules(): KernelRule[] {
    this.#call("listRules");
    return [...this.rules];
  }
  notifySystemd(_socketPath: string, text: string): boolean {
    this.notifications.push(text);
    return true;
  }
}

export class FakeDataPlane implements DataPlanePort {
  readonly told: unknown[] = [];
  refuses: Error | undefined;
  closed = false;
  sas: ReturnType<DataPlanePort["traffic"]> = [];
  dropped: Record<string, number> = {};

  installSa(sa: SaSpec): void {
    if (this.refuses) throw this.refuses;
    this.told.push({ installSa: sa.spi, key: [...sa.encrKey.reveal()] });
  }
  removeSa(_direction: "inbound" | "outbound", spi: number) {
    this.told.push({ removeSa: spi });
    return { packets: 3, bytes: 300, sequence: 3, lastUsedMs: 5 };
  }
  updateSa(direction: "inbound" | "outbound", spi: number, remote: unknown, path: SaPath): boolean {
    if (this.refuses) throw this.refuses;
    this.told.push({ updateSa: `${direction} ${spi} ${remote} → ${path.local} ${path.remote}` });
    return this.knows(spi);
  }
  knows: (spi: number) => boolean = () => true;
  saTotals(): undefined {}
  publish(plan: unknown): void {
    this.told.push({ publish: plan });
  }
  sendIke(_local: unknown, _remote: unknown, datagram: Uint8Array): void {
    this.told.push({ sendIke: [...datagram] });
  }
  sendKeepalive(local: Endpoint, remote: Endpoint): void {
    this.told.push({ sendKeepalive: `${formatEndpoint(local)} ${formatEndpoint(remote)}` });
  }
  traffic(): ReturnType<DataPlanePort["traffic"]> {
    return this.sas;
  }
  counters(): Record<string, number> {
    return { "tun.packets": 4 };
  }
  drops() {
    return Object.entries(this.dropped).map(([reason, packets]) => ({
      reason,
      severity: "warn",
      text: `about ${reason}`,
      packets,
    }));
  }
  dump(): unknown {
    return { workers: 1 };
  }
  close(): void {
    this.closed = true;
  }
}

/** A log whose records a test reads as `level message`. */
export function fakeLog(): {
  readonly log: Log;
  readonly lines: () => string[];
  readonly text: () => string;
} {
  const written: string[] = [];
  const log = createLog("debug", { write: (line) => written.push(line), flush: () => {} });
  return {
    log,
    lines: () =>
      written.map((line) => {
        const { level, msg } = JSON.parse(line);
        return `${level} ${msg}`;
      }),
    text: () => written.join(""),
  };
}

/** A configuration from the file's own text; throws with its problems. */
export function configOf(text: string, psk = "a pre-shared key for tests"): ParsedConfig {
  const parsed = parseConfig({
    text,
    file: "test.yaml",
    fileMode: 0o600,
    readSecret: () => ({ ok: true, bytes: new TextEncoder().encode(psk), mode: 0o600 }),
    random: { bytes: (length) => new Uint8Array(length).fill(7) },
  });
  if (!parsed.ok) throw new Error(parsed.error.map(formatProblem).join("\n"));
  return parsed.value;
}

export const exampleConfig = `
gateway:
  name: hq
  addresses: [192.0.2.1]
customerGateways:
  branch: {address: 198.51.100.7}
connections:
  hq-branch:
    customerGateway: branch
    psk: {file: psk/branch}
    ipsec: {proposals: [aes128gcm16]}
routes:
  destination:
    - {destination: 10.2.0.0/16, connection: hq-branch, weight: 100, publish: true}
`;
