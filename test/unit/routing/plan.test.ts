import { describe, expect, it } from "vitest";
import { IpAddress, Prefix } from "../../../src/core/address.ts";
import { buildPlan, type RoutingConnection, type RoutingInput } from "../../../src/routing/plan.ts";

const remote = IpAddress.parse("198.51.100.7");
const connection = (name: string, index: number, usable = true, more: Partial<RoutingConnection> = {}) => ({
  name,
  index,
  usable,
  outbound: usable ? [{ spi: 1000 + index, remote }] : [],
  ...more,
});
const to = (destination: string, name: string, weight = 100, publish = true) => ({
  destination: Prefix.parse(destination),
  connection: name,
  weight,
  publish,
});
const policy = (source: string, destination: string, name: string, priority = 10, weight = 100) => ({
  source: Prefix.parse(source),
  destination: Prefix.parse(destination),
  connection: name,
  weight,
  priority,
});
const flows = (local: readonly string[], remotes: readonly string[]) => ({
  flows: { local: local.map(Prefix.parse), remote: remotes.map(Prefix.parse) },
});
const build = (input: Partial<RoutingInput>) => {
  const routing = buildPlan({ destinationRoutes: [], policyRoutes: [], connections: [], ...input });
  return {
    ...routing,
    destinations: routing.plan.destinationRoutes.map((r) => `${r.destination} ${r.connection}`),
    policies: routing.plan.policyRoutes.map((r) => `${r.source} ${r.destination} ${r.connection}`),
    published: routing.published.map(String),
  };
};

describe("destination routes", () => {
  it("are one row per prefix, the longest first", () => {
    const { destinations } = build({
      destinationRoutes: [
        to("0.0.0.0/0", "a"),
        to("10.2.0.0/16", "b"),
        to("10.2.3.0/24", "a"),
        to("fd00::/8", "b"),
      ],
      connections: [connection("a", 0), connection("b", 1)],
    });
    expect(destinations).toEqual(["10.2.3.0/24 0", "10.2.0.0/16 1", "fd00::/8 1", "0.0.0.0/0 0"]);
  });

  it.each([
    { a: true, b: true, holder: 0 },
    { a: false, b: true, holder: 1 },
    { a: true, b: false, holder: 0 },
    { a: false, b: false, holder: 0 },
  ])(
    "go to the active connection if it is usable, else to a usable standby, else stay: $a $b",
    ({ a, b, holder }) => {
      const { destinations, active } = build({
        destinationRoutes: [to("10.2.0.0/16", "b", 0), to("10.2.0.0/16", "a", 100)],
        connections: [connection("a", 0, a), connection("b", 1, b)],
      });
      expect(destinations).toEqual([`10.2.0.0/16 ${holder}`]);
      expect(active).toEqual([
        {
          source: undefined,
          destination: Prefix.parse("10.2.0.0/16"),
          connection: holder === 0 ? "a" : "b",
          weight: holder === 0 ? 100 : 0,
          usable: a || b,
        },
      ]);
    },
  );

  it("of equal weight go to the first usable in the file", () => {
    const of = (first: boolean, second: boolean) =>
      build({
        destinationRoutes: [to("10.2.0.0/16", "a", 0), to("10.2.0.0/16", "b", 0)],
        connections: [connection("b", 1, second), connection("a", 0, first)],
      }).destinations;
    expect(of(true, true)).toEqual(["10.2.0.0/16 0"]);
    expect(of(false, true)).toEqual(["10.2.0.0/16 1"]);
    expect(of(false, false)).toEqual(["10.2.0.0/16 0"]);
  });

  it("that nothing can carry keep their row, so that packets never take a wider route", () => {
    const { destinations } = build({
      destinationRoutes: [to("10.0.0.0/8", "up"), to("10.2.0.0/16", "down")],
      connections: [connection("up", 0), connection("down", 1, false)],
    });
    expect(destinations).toEqual(["10.2.0.0/16 1", "10.0.0.0/8 0"]);
  });

  it("to an unknown connection are left out, and are not published", () => {
    const { destinations, published } = build({
      destinationRoutes: [to("10.2.0.0/16", "gone")],
      connections: [connection("a", 0)],
    });
    expect([destinations, published]).toEqual([[], []]);
  });
});

describe("the kernel's routes", () => {
  it("are the published destinations, each once, whether their connection is up or not", () => {
    const { published } = build({
      destinationRoutes: [
        to("10.2.0.0/16", "a", 100),
        to("10.2.0.0/16", "b", 0),
        to("10.3.0.0/16", "b", 100, false),
        to("10.4.0.0/16", "b", 100, false),
        to("10.4.0.0/16", "a", 0, true),
      ],
      connections: [connection("a", 0, false), connection("b", 1, false)],
    });
    expect(published).toEqual(["10.2.0.0/16", "10.4.0.0/16"]);
  });

  it("lead to the remote subnets of protected data flows", () => {
    const { published } = build({
      destinationRoutes: [to("10.2.0.0/16", "a")],
      connections: [
        connection("a", 0),
        connection("b", 1, true, flows(["10.1.0.0/16"], ["10.2.0.0/16", "10.5.0.0/16"])),
      ],
    });
    expect(published).toEqual(["10.2.0.0/16", "10.5.0.0/16"]);
  });
});

describe("policy routes", () => {
  it("are ordered by priority, then by the longest source, then by the longest destination", () => {
    const { policies } = build({
      policyRoutes: [
        policy("10.1.0.0/16", "10.2.0.0/16", "a", 20),
        policy("0.0.0.0/0", "10.2.3.0/24", "b", 10),
        policy("10.1.0.0/16", "0.0.0.0/0", "a", 10),
        policy("10.1.0.0/16", "10.2.0.0/16", "b", 10),
        policy("0.0.0.0/0", "0.0.0.0/0", "b", 1),
      ],
      connections: [connection("a", 0), connection("b", 1)],
    });
    expect(policies).toEqual([
      "0.0.0.0/0 0.0.0.0/0 1",
      "10.1.0.0/16 10.2.0.0/16 1",
      "10.1.0.0/16 0.0.0.0/0 0",
      "0.0.0.0/0 10.2.3.0/24 1",
      "10.1.0.0/16 10.2.0.0/16 0",
    ]);
  });

  it("with the same source, destination and priority go to the best usable connection", () => {
    const { policies } = build({
      policyRoutes: [
        policy("10.1.0.0/16", "10.2.0.0/16", "a", 10, 100),
        policy("10.1.0.0/16", "10.2.0.0/16", "b", 10, 0),
      ],
      connections: [connection("a", 0, false), connection("b", 1)],
    });
    expect(policies).toEqual(["10.1.0.0/16 10.2.0.0/16 1"]);
  });

  it("are made of protected data flows, each local with each remote of its family", () => {
    const { policies, destinations, active } = build({
      connections: [
        connection(
          "a",
          7,
          false,
          flows(["10.1.0.0/16", "fd01::/16"], ["10.2.0.0/16", "10.3.0.0/24", "fd02::/16"]),
        ),
      ],
    });
    expect(policies).toEqual([
      "10.1.0.0/16 10.3.0.0/24 7",
      "10.1.0.0/16 10.2.0.0/16 7",
      "fd01::/16 fd02::/16 7",
    ]);
    expect(destinations).toEqual([]);
    expect(active.map((r) => r.usable)).toEqual([false, false, false]);
  });

  it("of an operator may stand before and behind those of protected data flows", () => {
    const { policies } = build({
      policyRoutes: [policy("0.0.0.0/0", "0.0.0.0/0", "b", 9), policy("10.1.1.0/24", "10.2.1.0/24", "b", 11)],
      connections: [connection("a", 0, true, flows(["10.1.0.0/16"], ["10.2.0.0/16"])), connection("b", 1)],
    });
    expect(policies).toEqual([
      "0.0.0.0/0 0.0.0.0/0 1",
      "10.1.0.0/16 10.2.0.0/16 0",
      "10.1.1.0/24 10.2.1.0/24 1",
    ]);
  });
});

describe("connections of the plan", () => {
  it("have their outbound SAs, preferred first, in the order of their numbers", () => {
    const outbound = [
      { spi: 4000, remote },
      { spi: 300, remote },
    ];
    const { plan } = build({
      connections: [connection("b", 1, true, { outbound }), connection("a", 0, false)],
    });
    expect(plan.connections).toEqual([
      { connection: 0, outbound: [] },
      { connection: 1, outbound },
    ]);
  });
});
