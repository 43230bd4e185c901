/**
 * The kernel's routes into the TUN device, and the rules that send packets to them: desired state, reconciled.
 *
 * Published prefixes live in a table of their own. One rule per family looks there for every packet that does not
 * carry our mark; the data plane's outer packets carry it, so they never re-enter the tunnel. Everything is tagged
 * with our own rtm_protocol number, which is how the next start recognises what a killed daemon left behind, and how
 * an operator's own routes and rules are never touched.
 *
 * Our table is asked before the main one, but the longest prefix of both should win: who publishes 0.0.0.0/0 does not
 * want his own LAN in the tunnel. So every route of the main table that lies inside a published prefix has a `throw`
 * route of ours, which sends the lookup on to the main table.
 */
import { Prefix } from "../core/address.ts";
import type { Kernel, KernelRoute, KernelRule } from "../dataplane/kernel.ts";
import type { Log } from "../telemetry/log.ts";

export type RoutingKernel = Pick<
  Kernel,
  "replaceRoute" | "deleteRoute" | "listRoutes" | "addRule" | "deleteRule" | "listRules"
>;

/** What culvert calls its own in the kernel; docs/operations.md names them to the operator. */
export const hostRouting = {
  table: 2125,
  /** Before the main table's rule (32766) and behind the local table's (0). */
  rulePriority: 2125,
  /** rtm_protocol: unassigned in iproute2's rt_protos. */
  protocol: 125,
} as const;

export interface HostRoutingOptions {
  readonly kernel: RoutingKernel;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly device: string;
  readonly fwmark: number;
  readonly log: Pick<Log, "write">;
}

export class HostRouting {
  readonly #kernel: RoutingKernel;
  readonly #device: string;
  readonly #fwmark: number;
  readonly #log: Pick<Log, "write">;
  readonly #now: () => number;
  #published: readonly Prefix[] = [];
  /** Prefixes inside published ones that the main table routes elsewhere. */
  #exceptions: readonly string[] = [];
  #exceptionsDueMs = Number.NEGATIVE_INFINITY;
  /** What the kernel refused and was reported already, so that a lasting problem is one log record. */
  readonly #reported = new Set<string>();

  constructor(options: HostRoutingOptions) {
    this.#kernel = options.kernel;
    this.#now = options.now;
    this.#device = options.device;
    this.#fwmark = options.fwmark;
    this.#log = options.log;
  }

  /** Takes the whole desired set and makes the kernel agree. */
  publish(destinations: readonly Prefix[]): void {
    this.#published = destinations;
    this.#exceptionsDueMs = Number.NEGATIVE_INFINITY;
    this.reconcile();
  }

  /** Removes whatever carries our protocol number: called before the first publish and when the daemon stops. */
  cleanUp(): void {
    this.#published = [];
    const removed = this.reconcile();
    if (removed > 0) this.#log.write("info", "kernel routing cleaned up", { removed });
  }

  /** Compares the kernel with the desired set and changes only what differs. Returns the number of changes. */
  reconcile(): number {
    const routes = this.#read("list routes", () => this.#kernel.listRoutes(hostRouting.table));
    const rules = this.#read("list rules", () => this.#kernel.listRules());
    if (!routes || !rules) return 0;
    return this.#reconcileRoutes(routes) + this.#reconcileRules(rules);
  }

  #reconcileRoutes(present: readonly KernelRoute[]): number {
    const missing = new Map(this.#desired().map((route) => [routeKey(route), route]));
    let changes = 0;
    for (const route of present) {
      if (route.protocol !== hostRouting.protocol || missing.delete(routeKey(route))) continue;
      changes += this.#change(`delete route ${route.prefix}`, () => this.#kernel.deleteRoute(route));
    }
    for (const route of missing.values())
      changes += this.#change(`add route ${route.prefix}`, () => this.#kernel.replaceRoute(route));
    return changes;
  }

  #desired(): KernelRoute[] {
    this.#findExceptions();
    const { table, protocol } = hostRouting;
    return [
      ...this.#published.map((prefix) => ({ prefix: `${prefix}`, device: this.#device, table, protocol })),
      ...this.#exceptions.map((prefix) => ({ prefix, device: "", table, protocol, throws: true })),
    ];
  }

  #findExceptions(): void {
    if (this.#published.length === 0) {
      this.#exceptions = [];
      return;
    }
    const startedMs = this.#now();
    if (startedMs < this.#exceptionsDueMs) return;
    const main = this.#read("list main routes", () => this.#kernel.listRoutes(mainTable));
    if (main) this.#exceptions = exceptionsFor(this.#published, this.#device, main);
    // A table of a million routes takes long to read: at most a hundredth of the time goes into it.
    this.#exceptionsDueMs = startedMs + Math.max(exceptionsMs, 100 * (this.#now() - startedMs));
  }

  #reconcileRules(present: readonly KernelRule[]): number {
    const families = new Set<4 | 6>(this.#published.map((prefix) => prefix.family));
    let changes = 0;
    for (const rule of present) {
      if (rule.protocol !== hostRouting.protocol) continue;
      // A second copy of the right rule is no longer in `families` and goes, too.
      if (sameRule(rule, this.#rule(rule.family)) && families.delete(rule.family)) continue;
      changes += this.#change(`delete rule of IPv${rule.family}`, () => this.#kernel.deleteRule(rule));
    }
    for (const family of families) {
      changes += this.#change(`add rule of IPv${family}`, () => this.#kernel.addRule(this.#rule(family)));
    }
    return changes;
  }

  #rule(family: 4 | 6): KernelRule {
    return {
      family,
      priority: hostRouting.rulePriority,
      fwmark: this.#fwmark,
      fwmask: 0xffffffff,
      invert: true,
      table: hostRouting.table,
      protocol: hostRouting.protocol,
    };
  }

  #read<T>(what: string, read: () => T): T | undefined {
    try {
      const value = read();
      this.#reported.delete(what);
      return value;
    } catch (error) {
      this.#report(what, error);
      return undefined;
    }
  }

  #change(what: string, change: () => void): number {
    try {
      change();
      this.#reported.delete(what);
      return 1;
    } catch (error) {
      this.#report(what, error);
      return 0;
    }
  }

  #report(what: string, error: unknown): void {
    if (this.#reported.has(what)) return;
    this.#reported.add(what);
    this.#log.write("warn", "kernel routing differs from what is wanted", { change: what, err: error });
  }
}

/** Routes of `main` strictly inside a published prefix; one that is published itself is the tunnel's. */
function exceptionsFor(published: readonly Prefix[], device: string, main: readonly KernelRoute[]): string[] {
  const ours = new Set(published.map(String));
  const inside = main.filter((route) => {
    if (route.device === device || ours.has(route.prefix)) return false;
    const prefix = Prefix.parse(route.prefix);
    return published.some((wider) => wider.contains(prefix));
  });
  return [...new Set(inside.map((route) => route.prefix))];
}

// The kernel lists an IPv6 `throw` route with the loopback device.
const routeKey = (route: KernelRoute): string =>
  route.throws ? `throw ${route.prefix}` : `${route.prefix} ${route.device}`;

function sameRule(a: KernelRule, b: KernelRule): boolean {
  return (
    a.family === b.family &&
    a.priority === b.priority &&
    a.fwmark === b.fwmark &&
    a.fwmask === b.fwmask &&
    a.invert === b.invert &&
    a.table === b.table
  );
}

/** RT_TABLE_MAIN. */
const mainTable = 254;
const exceptionsMs = 10_000;
