import { describe, expect, it } from "vitest";
import { file, load, problems } from "./helpers.ts";
import { check } from "./rule-table.ts";

const inRoutes = (text: string) => file({ rest: text });
const whole = (text: string) => text;

check("routes", inRoutes, [
  {
    rule: "destination",
    good: [
      "routes:\n  destination:\n    - {destination: 10.2.0.0/16, connection: hq-branch}",
      "routes: {destination: []}",
      "routes:\n  destination:\n    - {destination: 10.2.0.0/16, connection: hq-branch, weight: 0, publish: false}",
    ],
    bad: [
      [
        "routes:\n  destination:\n    - {destination: 10.2.0.0/16, connection: hq-brunch}",
        "routes.destination[0].connection: hq-brunch: a connection of this file (did you mean hq-branch?)",
      ],
      [
        "routes:\n  destination:\n    - {destination: 10.2.0.0/16, connection: hq-branch, weight: 50}",
        "routes.destination[0].weight: 50: 0 (standby) or 100 (active)",
      ],
      [
        "routes:\n  destination:\n    - {destination: 10.2.0.0, connection: hq-branch, publish: 1}",
        "routes.destination[0].publish: 1: true or false",
      ],
    ],
  },
  {
    rule: "policy",
    good: ["routes: {policy: []}"],
    bad: [
      [
        "routes:\n  policy: [{source: 10.1.8.0/24, destination: 10.2.0.0/16, connection: hq-branch, weight: 100, priority: 10}]",
        "routes.policy[0]: no policy routes (this build has none; protected-data-flows makes its own)",
      ],
    ],
  },
]);

describe("routes", () => {
  const routes = (table: string, rows: readonly string[]) =>
    problems(
      file({
        connection: "customerGateway: branch",
        rest: `  two:\n    customerGateway: depot\nroutes:\n  ${table}:\n${rows.map((row) => `    - {${row}}`).join("\n")}`,
      }),
    ).filter((line) => !line.includes("no policy routes"));

  it("with the same key may not both be active", () => {
    expect(
      routes("destination", [
        "destination: 10.2.0.0/16, connection: hq-branch, weight: 100",
        "destination: 10.2.0.0/16, connection: two, weight: 100",
      ]),
    ).toEqual([
      "culvert.yaml:18: routes.destination[1].weight: 100: 0 (standby), because routes.destination[0] to 10.2.0.0/16 is active already",
    ]);
    expect(
      routes("policy", [
        "source: 10.1.0.0/16, destination: 10.2.0.0/16, connection: hq-branch",
        "source: 10.1.0.0/16, destination: 10.2.0.0/16, connection: two",
      ]),
    ).toEqual([
      "culvert.yaml:18: routes.policy[1].weight: 100: 0 (standby), because routes.policy[0] to 10.2.0.0/16 from 10.1.0.0/16 at priority 10 is active already",
    ]);
  });

  it("with the same key may be active and standby, and with another key both active", () => {
    expect(
      routes("destination", [
        "destination: 10.2.0.0/16, connection: hq-branch, weight: 100",
        "destination: 10.2.0.0/16, connection: two, weight: 0",
        "destination: 10.2.0.0/17, connection: two, weight: 100",
      ]),
    ).toEqual([]);
  });

  it("lead to one connection once", () => {
    expect(
      routes("destination", [
        "destination: 10.2.0.0/16, connection: two, weight: 100",
        "destination: 10.2.0.0/16, connection: two, weight: 0",
      ]),
    ).toEqual([
      "culvert.yaml:18: routes.destination[1].connection: two: one route to 10.2.0.0/16 per connection: routes.destination[0] is it",
    ]);
  });

  it("by policy have one address family, and a priority of 1 to 100", () => {
    expect(
      routes("policy", ["source: 10.1.0.0/16, destination: 'fd00::/8', connection: two, priority: 101"]),
    ).toEqual([
      "culvert.yaml:17: routes.policy[0].destination: fd00::/8: an IPv4 prefix, as the source is",
      "culvert.yaml:17: routes.policy[0].priority: 101: 1 to 100",
    ]);
  });

  it("to IPv6 need a TUN device that may carry it (RFC 8200 §5)", () => {
    const source = (mtu: number) =>
      file({
        gateway: `tun: {mtu: ${mtu}}`,
        rest: "routes:\n  destination: [{destination: 'fd00::/8', connection: hq-branch}]",
      });
    expect(problems(source(1280))).toEqual([]);
    expect(problems(source(1279))).toEqual([
      "culvert.yaml:3: gateway.tun.mtu: 1279: at least 1280, because fd00::/8 is IPv6",
    ]);
  });
});

check("the file", whole, [
  {
    rule: "sections",
    good: ["gateway: {addresses: [192.0.2.1]}", "gateway: {addresses: [192.0.2.1]}\nconnections: {}"],
    bad: [
      [
        "gatway: {addresses: [192.0.2.1]}\ngateway: {}",
        "gatway: unknown key (did you mean gateway?)\ngateway.addresses: missing: a list of 1 to 64",
      ],
    ],
  },
]);

describe("the file", () => {
  it("has a gateway", () => {
    const expected =
      "culvert.yaml:1: gateway: missing: a mapping with the keys name, addresses, tun, workers, busyPollMicroseconds, replayWindow, metrics";
    expect(problems("")).toEqual([expected]);
    expect(problems("connections: {}")).toEqual([expected]);
  });

  it("reports everything in one run, in the file's order", () => {
    const source = file({
      gateway: "workers: 0",
      customerGateways: "x: {address: 127.0.0.1}",
      connection: "customerGateway: nobody\nipsec: {lifetimeKilobytes: 1}\npks: {file: a}",
      rest: "routes:\n  destination: [{destination: 10.0.0.0/8, connection: nowhere}]",
    });
    expect(
      problems(source).map((line) => /^culvert\.yaml:(\d+): ([^:]+)/.exec(line)!.slice(1).join(" ")),
    ).toEqual([
      "3 gateway.workers",
      "8 customerGateways.x.address",
      "12 connections.hq-branch.customerGateway",
      "13 connections.hq-branch.ipsec.lifetimeKilobytes",
      "14 connections.hq-branch.pks",
      "16 routes.destination[0].connection",
    ]);
  });

  it("numbers connections in its own order, whatever their names", () => {
    const { connections } = load(
      "gateway: {addresses: [192.0.2.1]}\ncustomerGateways: {x: {address: any}}\nconnections:\n" +
        ["b", "10", "a", "9"].map((name) => `  ${name}: {customerGateway: x}`).join("\n"),
    );
    expect(connections.map(({ name, index }) => `${index} ${name}`)).toEqual(["0 b", "1 10", "2 a", "3 9"]);
  });
});
