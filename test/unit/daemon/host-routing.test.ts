import { describe, expect, it } from "vitest";
import { Prefix } from "../../../src/core/address.ts";
import { HostRouting, hostRouting } from "../../../src/daemon/host-routing.ts";
import { FakeClock, FakeKernel, fakeLog } from "./fakes.ts";

const prefixes = (...texts: string[]) => texts.map((text) => Prefix.parse(text));

function open() {
  const kernel = new FakeKernel();
  const { log, lines } = fakeLog();
  const clock = new FakeClock();
  const routing = new HostRouting({ kernel, now: () => clock.time, device: "culvert0", fwmark: 0x2125, log });
  return { kernel, routing, lines, clock };
}

const ours = (prefix: string, device = "culvert0") => ({
  prefix,
  device,
  table: hostRouting.table,
  protocol: hostRouting.protocol,
});
const rule = (family: 4 | 6, fwmark = 0x2125) => ({
  family,
  priority: hostRouting.rulePriority,
  fwmark,
  fwmask: 0xffffffff,
  invert: true,
  table: hostRouting.table,
  protocol: hostRouting.protocol,
});

describe("kernel routing, reconciled from desired state", () => {
  it("adds a route per prefix and one rule per family that has any", () => {
    const { kernel, routing } = open();
    routing.publish(prefixes("10.2.0.0/16", "10.3.0.0/16", "2001:db8:2::/48"));
    expect(kernel.routes).toEqual([ours("10.2.0.0/16"), ours("10.3.0.0/16"), ours("2001:db8:2::/48")]);
    expect(kernel.rules).toEqual([rule(4), rule(6)]);
    routing.publish(prefixes("10.2.0.0/16"));
    expect(kernel.routes).toEqual([ours("10.2.0.0/16")]);
    expect(kernel.rules).toEqual([rule(4)]);
  });

  it("changes nothing when the kernel agrees", () => {
    const { kernel, routing } = open();
    routing.publish(prefixes("10.2.0.0/16"));
    const before = kernel.calls;
    expect(routing.reconcile()).toBe(0);
    expect(kernel.calls - before).toBe(2);
  });

  it("puts back what somebody deleted", () => {
    const { kernel, routing } = open();
    routing.publish(prefixes("10.2.0.0/16"));
    kernel.routes = [];
    kernel.rules = [];
    expect(routing.reconcile()).toBe(2);
    expect(kernel.routes).toEqual([ours("10.2.0.0/16")]);
    expect(kernel.rules).toEqual([rule(4)]);
  });

  it("clears what a killed daemon left, whatever its device and mark were", () => {
    const { kernel, routing } = open();
    kernel.routes = [ours("10.9.0.0/16", "culvert9")];
    kernel.rules = [rule(4, 0x99), rule(6)];
    routing.cleanUp();
    expect(kernel.routes).toEqual([]);
    expect(kernel.rules).toEqual([]);
  });

  it("replaces a rule of ours that is not the right one, and removes a second copy", () => {
    const { kernel, routing } = open();
    kernel.rules = [rule(4, 0x99), rule(4), rule(4)];
    routing.publish(prefixes("10.2.0.0/16"));
    expect(kernel.rules).toEqual([rule(4)]);
  });

  it("never touches routes and rules of others, not even in its own table", () => {
    const { kernel, routing } = open();
    const foreignRoute = { ...ours("10.8.0.0/16"), protocol: 4 };
    const foreignRule = { ...rule(4), priority: 100, protocol: 4 };
    kernel.routes = [foreignRoute];
    kernel.rules = [foreignRule];
    routing.publish(prefixes("10.2.0.0/16"));
    routing.cleanUp();
    expect(kernel.routes).toEqual([foreignRoute]);
    expect(kernel.rules).toEqual([foreignRule]);
  });

  it("reports a refusal once, carries on with the rest, and tries again", () => {
    const { kernel, routing, lines } = open();
    kernel.failing.set("replaceRoute", "ENETDOWN");
    routing.publish(prefixes("10.2.0.0/16"));
    routing.reconcile();
    expect(lines()).toEqual(["warn kernel routing differs from what is wanted"]);
    expect(kernel.rules).toEqual([rule(4)]);
    kernel.failing.clear();
    routing.reconcile();
    expect(kernel.routes).toEqual([ours("10.2.0.0/16")]);
    kernel.failing.set("listRoutes", "ENOBUFS");
    expect(routing.reconcile()).toBe(0);
    expect(lines()).toHaveLength(2);
  });

  it("takes a prefix that is published twice once", () => {
    const { kernel, routing } = open();
    routing.publish(prefixes("10.2.0.0/16", "10.2.0.0/16"));
    expect(kernel.routes).toHaveLength(1);
  });
});

describe("the longest prefix of our table and the main table wins", () => {
  const main = (prefix: string, device = "eth0") => ({ prefix, device, table: 254, protocol: 2 });
  const exception = (prefix: string) => ({ ...ours(prefix, ""), throws: true });
  const inOurTable = (kernel: FakeKernel) =>
    kernel.routes.filter((route) => route.table === hostRouting.table);

  it("sends narrower routes of the main table on to it", () => {
    const { kernel, routing } = open();
    kernel.routes = [main("0.0.0.0/0"), main("10.1.0.0/16"), main("192.168.0.0/24"), main("2001:db8::/64")];
    routing.publish(prefixes("10.0.0.0/8", "10.2.0.0/16"));
    expect(inOurTable(kernel)).toEqual([ours("10.0.0.0/8"), ours("10.2.0.0/16"), exception("10.1.0.0/16")]);
  });

  it("keeps the LAN out of a published default route", () => {
    const { kernel, routing } = open();
    kernel.routes = [main("0.0.0.0/0"), main("10.1.0.0/16")];
    routing.publish(prefixes("0.0.0.0/0"));
    expect(inOurTable(kernel)).toEqual([ours("0.0.0.0/0"), exception("10.1.0.0/16")]);
  });

  it("gives a published prefix to the tunnel although the main table has the same", () => {
    const { kernel, routing } = open();
    kernel.routes = [main("10.2.0.0/16"), main("10.3.0.0/16", "culvert0")];
    routing.publish(prefixes("10.0.0.0/8", "10.2.0.0/16"));
    expect(inOurTable(kernel)).toEqual([ours("10.0.0.0/8"), ours("10.2.0.0/16")]);
  });

  it("follows the main table, and reads it no more often than every 10 s", () => {
    const { kernel, routing, clock } = open();
    routing.publish(prefixes("10.0.0.0/8"));
    kernel.routes.push(main("10.1.0.0/16"));
    clock.time += 9_999;
    expect(routing.reconcile()).toBe(0);
    clock.time += 1;
    expect(routing.reconcile()).toBe(1);
    expect(inOurTable(kernel)).toEqual([ours("10.0.0.0/8"), exception("10.1.0.0/16")]);
    kernel.routes = kernel.routes.filter((route) => route.table !== 254);
    clock.time += 10_000;
    routing.reconcile();
    expect(inOurTable(kernel)).toEqual([ours("10.0.0.0/8")]);
  });

  it("recognises its IPv6 exceptions, which the kernel lists with the loopback device", () => {
    const { kernel, routing } = open();
    kernel.routes = [main("2001:db8:1::/64")];
    routing.publish(prefixes("2001:db8::/32"));
    kernel.routes = kernel.routes.map((route) => (route.throws ? { ...route, device: "lo" } : route));
    expect(routing.reconcile()).toBe(0);
    routing.cleanUp();
    expect(inOurTable(kernel)).toEqual([]);
  });

  it("spends at most a hundredth of its time on a huge main table", () => {
    const { kernel, routing, clock } = open();
    const list = kernel.listRoutes.bind(kernel);
    let reads = 0;
    kernel.listRoutes = (table) => {
      if (table === 254) {
        reads++;
        clock.time += 1000;
      }
      return list(table);
    };
    routing.publish(prefixes("10.0.0.0/8"));
    clock.time += 98_000;
    routing.reconcile();
    expect(reads).toBe(1);
    clock.time += 1_000;
    routing.reconcile();
    expect(reads).toBe(2);
  });
});
