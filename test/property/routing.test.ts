import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpAddress, Prefix } from "../../src/core/address.ts";
import { buildPlan, type RoutingInput } from "../../src/routing/plan.ts";

// Few addresses and names, so that keys collide, prefixes nest and packets hit.
const prefix = fc
  .record({ bits: fc.integer({ min: 0, max: 15 }), length: fc.integer({ min: 0, max: 4 }), v6: fc.boolean() })
  .map(({ bits, length, v6 }) => {
    const bytes = new Uint8Array(v6 ? 16 : 4);
    bytes[0] = bits << 4;
    return new Prefix(IpAddress.fromBytes(bytes), length);
  });
const name = fc.constantFrom("a", "b", "c", "d");
const weight = fc.constantFrom(0, 100);
const routingInput: fc.Arbitrary<RoutingInput> = fc.record({
  destinationRoutes: fc.array(
    fc.record({ destination: prefix, connection: name, weight, publish: fc.boolean() }),
    { maxLength: 8 },
  ),
  policyRoutes: fc.array(
    fc.record({
      source: prefix,
      destination: prefix,
      connection: name,
      weight,
      priority: fc.constantFrom(1, 10, 11),
    }),
    { maxLength: 8 },
  ),
  connections: fc
    .uniqueArray(
      fc.record({
        name,
        usable: fc.boolean(),
        flows: fc.option(
          fc.record({
            local: fc.array(prefix, { maxLength: 3 }),
            remote: fc.array(prefix, { maxLength: 3 }),
          }),
          { nil: undefined },
        ),
      }),
      { selector: (c) => c.name, maxLength: 3 },
    )
    .map((list) => list.map((c, i) => ({ ...c, index: i + 3, outbound: [] }))),
});
const packet = fc.record({
  source: fc.integer({ min: 0, max: 15 }),
  destination: fc.integer({ min: 0, max: 15 }),
  v6: fc.boolean(),
});

describe("buildPlan", () => {
  it("sends every packet where a reading of the rules, one packet at a time, sends it", () => {
    fc.assert(
      fc.property(routingInput, packet, (input, { source, destination, v6 }) => {
        const [from, to] = [source, destination].map((n) => {
          const bytes = new Uint8Array(v6 ? 16 : 4).fill(1);
          bytes[0] = (n << 4) | 1;
          return IpAddress.fromBytes(bytes);
        }) as [IpAddress, IpAddress];
        expect(lookUp(input, from, to)).toBe(model(input, from, to));
      }),
      { numRuns: 2000 },
    );
  });

  it("gives the same plan whatever the order of connections, and touches nothing it was given", () => {
    fc.assert(
      fc.property(routingInput, (input) => {
        const before = JSON.stringify(input);
        const reversed = { ...input, connections: [...input.connections].reverse() };
        const text = (routing: ReturnType<typeof buildPlan>) =>
          JSON.stringify({ ...routing.plan, published: routing.published });
        // Equal routes of two flows are the one exception: there, the order of connections decides.
        const flows = input.connections.filter((c) => c.flows !== undefined).length;
        if (flows < 2) expect(text(buildPlan(reversed))).toBe(text(buildPlan(input)));
        expect(JSON.stringify(input)).toBe(before);
      }),
    );
  });

  it("publishes each prefix once, and each that some route or flow of a known connection wants", () => {
    fc.assert(
      fc.property(routingInput, (input) => {
        const names = input.connections.map((c) => c.name);
        const wanted = new Set([
          ...input.destinationRoutes
            .filter((r) => r.publish && names.includes(r.connection))
            .map((r) => `${r.destination}`),
          ...input.connections.flatMap((c) =>
            c.flows && c.flows.local.length > 0 ? c.flows.remote.map(String) : [],
          ),
        ]);
        const published = buildPlan(input).published.map(String);
        expect(published.length).toBe(wanted.size);
        expect(new Set(published)).toEqual(wanted);
      }),
    );
  });
});

/** As the data plane reads a plan: the first policy that matches, else the longest destination. */
function lookUp(input: RoutingInput, from: IpAddress, to: IpAddress): number | undefined {
  const { plan } = buildPlan(input);
  const policy = plan.policyRoutes.find((r) => r.source.contains(from) && r.destination.contains(to));
  if (policy) return policy.connection;
  const matches = plan.destinationRoutes.filter((r) => r.destination.contains(to));
  const longest = Math.max(...matches.map((r) => r.destination.length));
  const best = matches.filter((r) => r.destination.length === longest);
  expect(best.length).toBeLessThanOrEqual(1);
  return best[0]?.connection;
}

/** The rules themselves: rank all routes that match, take the first. */
function model(input: RoutingInput, from: IpAddress, to: IpAddress): number | undefined {
  const known = new Map(input.connections.map((c) => [c.name, c]));
  const flowRoutes = input.connections.flatMap((c) =>
    (c.flows?.local ?? []).flatMap((source) =>
      c.flows!.remote.map((destination) => ({
        source,
        destination,
        connection: c.name,
        weight: 100,
        priority: 10,
      })),
    ),
  );
  const all = [
    ...[...input.policyRoutes, ...flowRoutes].map((r) => ({
      ...r,
      rank: [0, r.priority, -r.source.length, -r.destination.length],
      hit: r.source.contains(from) && r.destination.contains(to),
    })),
    ...input.destinationRoutes.map((r) => ({
      ...r,
      rank: [1, -r.destination.length, 0, 0],
      hit: r.destination.contains(to),
    })),
  ]
    .map((r, order) => ({ ...r, holder: known.get(r.connection), order }))
    .filter((r) => r.hit && r.holder !== undefined)
    .map((r) => ({
      index: r.holder!.index,
      rank: [...r.rank, r.holder!.usable ? 0 : 1, -r.weight, r.order],
    }));
  all.sort((a, b) => {
    const i = a.rank.findIndex((value, j) => value !== b.rank[j]);
    return i < 0 ? 0 : a.rank[i]! - b.rank[i]!;
  });
  return all[0]?.index;
}
