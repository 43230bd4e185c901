/**
 * The kernel's routes into the TUN device, and the rules that send packets to them: desired state, reconciled.
 *
 * Published prefixes live in a table of their own. One rule per family looks there for every packet that does not
 * carry our mark; the data plane's outer packets carry it, so they never re-enter the tunnel. Everything is tagged
 * with our own rtm_protocol number, which is how the next start recognises what a killed daemon left behind, and how
 * an operator's own routes and rules are never touched.
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
  readonly device: string;
  readonly fwmark: number;
  readonly log: Pick<Log, "write">;
}

export class HostRouting {
  readonly #kernel: RoutingKernel;
  readonly #device: string;
  readonly #fwmark: number;
  readonly #log: Pick<Log, "write">;
  #desired: readonly string[] = [];
  /** What the kernel refused and was reported already, so that a lasting problem is one log record. */
  readonly #reported = new Set<string>();

  constructor(options: HostRoutingOptions) {
    this.#kernel = options.kernel;
    this.#device = options.device;
    this.#fwmark = options.fwmark;
    this.#log = options.log;
  }

  /** Takes the whole desired set and makes the kernel agree. */
  publish(destinations: readonly Prefix[]): void {
    this.#desired = [...new Set(destinations.map(String))];
    this.reconcile();
  }

  /** Removes whatever carries our protocol number: called before the first publish and when the daemon stops. */
  cleanUp(): void {
    this.#desired = [];
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
    const missing = new Set(this.#desired);
    let changes = 0;
    for (const route of present) {
      if (route.protocol !== hostRouting.protocol) continue;
      if (route.device === this.#device && missing.delete(route.prefix)) continue;
      changes += this.#change(`delete route ${route.prefix}`, () => this.#kernel.deleteRoute(route));
    }
    for (const prefix of missing) {
      const route = {
        prefix,
        device: this.#device,
        table: hostRouting.table,
        protocol: hostRouting.protocol,
      };
      changes += this.#change(`add route ${prefix}`, () => this.#kernel.replaceRoute(route));
    }
    return changes;
  }

  #reconcileRules(present: readonly KernelRule[]): number {
    const families = new Set<4 | 6>(this.#desired.map((prefix) => Prefix.parse(prefix).family));
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
