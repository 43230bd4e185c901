/**
 * The host kernel's links, routes, rules and the service manager, through the addon. Synchronous: each call is one
 * netlink request that the kernel answers at once.
 */
import { addon } from "./native.ts";

export interface KernelRoute {
  /** `10.2.0.0/16`, host bits zero. */
  readonly prefix: string;
  /** Name of the device that the route points at; empty when it has none or several. */
  readonly device: string;
  readonly table: number;
  /** rtm_protocol, 0 to 255: who installed it. */
  readonly protocol: number;
  /** `throw`: no route here, the lookup goes on with the next rule. Such a route needs no device. */
  readonly throws?: boolean;
}

/** `[not] fwmark M/mask lookup table` (ip-rule(8)). */
export interface KernelRule {
  readonly family: 4 | 6;
  readonly priority: number;
  readonly fwmark: number;
  readonly fwmask: number;
  readonly invert: boolean;
  readonly table: number;
  readonly protocol: number;
}

/** Errors carry `code`, the errno's name (`EPERM`, `EEXIST`, `ENODEV` …). */
export interface Kernel {
  linkIndex(name: string): number | undefined;
  /** `mtu` in bytes; left as it is when absent. */
  setLink(name: string, change: { readonly mtu?: number; readonly up: boolean }): void;
  replaceRoute(route: KernelRoute): void;
  deleteRoute(route: KernelRoute): void;
  listRoutes(table: number): KernelRoute[];
  addRule(rule: KernelRule): void;
  deleteRule(rule: KernelRule): void;
  listRules(): KernelRule[];
  /** One sd_notify(3) datagram to `socketPath`; false when it could not be delivered. */
  notifySystemd(socketPath: string, text: string): boolean;
}

export function openKernel(): Kernel {
  return addon().kernel;
}
