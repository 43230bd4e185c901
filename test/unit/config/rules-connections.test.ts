import { describe, expect, it } from "vitest";
import { file, indent, load, problems } from "./helpers.ts";
import { check } from "./rule-table.ts";

const inConnection = (text: string) =>
  file({
    connection:
      text.includes("ustomerGateway:") || text.includes("tunnels:")
        ? text
        : `customerGateway: branch\n${text}`,
  });
/** Two connections with protected data flows. */
const twoFlows = (a: string, b: string) =>
  file({
    connection: `customerGateway: branch\nrouting: protected-data-flows\n${a}`,
    rest: `  hq-depot:\n    customerGateway: depot\n    psk: {file: d}\n    routing: protected-data-flows\n${indent(b, 4)}`,
  });

const lifetimes = "0 or 60 to 604800";

check("connections", inConnection, [
  {
    rule: "peers",
    good: ["customerGateway: branch", "tunnels: [branch]", "tunnels: [branch, depot]"],
    bad: [
      [
        "customerGateway: brnach",
        "connections.hq-branch.customerGateway: brnach: a customer gateway of this file (did you mean branch?)",
      ],
      [
        "customerGateway: zzz",
        "connections.hq-branch.customerGateway: zzz: a customer gateway of this file (it has branch, depot, roaming)",
      ],
      [
        "tunnels: [branch, dept]",
        "connections.hq-branch.tunnels[1]: dept: a customer gateway of this file (did you mean depot?)",
      ],
      [
        "tunnels: [branch, branch]",
        "connections.hq-branch.tunnels[1]: branch: another customer gateway than the first",
      ],
      ["tunnels: []", "connections.hq-branch.tunnels: a list of 0: a list of 1 to 2"],
      ["tunnels: [branch, depot, roaming]", "connections.hq-branch.tunnels: a list of 3: a list of 1 to 2"],
      [
        "customerGateway: branch\ntunnels: [depot]",
        "connections.hq-branch.tunnels: customerGateway or tunnels, not both",
      ],
    ],
  },
  {
    rule: "routing",
    good: [
      "routing: destination",
      "routing: protected-data-flows\nlocalSubnets: [10.1.0.0/16]\nremoteSubnets: [10.2.0.0/16]",
    ],
    bad: [
      ["routing: static", "connections.hq-branch.routing: static: destination or protected-data-flows"],
      [
        "routing: protected-data-flows\nremoteSubnets: [10.2.0.0/16]",
        "connections.hq-branch.localSubnets: missing: at least one prefix, because routing is protected-data-flows",
      ],
      [
        "routing: protected-data-flows\nlocalSubnets: [10.2.0.0/16]",
        "connections.hq-branch.remoteSubnets: missing: at least one prefix, because routing is protected-data-flows",
      ],
      [
        "routing: protected-data-flows\nlocalSubnets: [10.2.0.0/16, 'fd00::/8']\nremoteSubnets: [10.1.0.0/16]",
        "connections.hq-branch.localSubnets[1]: fd00::/8: a prefix with a partner: remoteSubnets has none of IPv6",
      ],
    ],
  },
  {
    rule: "subnets",
    good: ["localSubnets: [10.1.0.0/16, 10.2.0.0/16, 'fd00::/8', 10.3.0.9]", "remoteSubnets: [0.0.0.0/0]"],
    bad: [
      [
        "localSubnets: [10.1.0.1/16]",
        "connections.hq-branch.localSubnets[0]: 10.1.0.1/16: a prefix whose host bits are zero, here 10.1.0.0/16",
      ],
      [
        "localSubnets: [10.1.0.0/33]",
        "connections.hq-branch.localSubnets[0]: 10.1.0.0/33: a prefix length of at most 32",
      ],
      [
        "localSubnets: [10.1/16]",
        "connections.hq-branch.localSubnets[0]: 10.1/16: an IPv4 or IPv6 prefix, such as 10.1.0.0/16",
      ],
      ["localSubnets: 10.1.0.0/16", "connections.hq-branch.localSubnets: 10.1.0.0/16: a list of at most 255"],
      [
        "localSubnets: [10.1.0.0/16, 10.1.2.0/24]",
        "connections.hq-branch.localSubnets[1]: 10.1.2.0/24: prefixes that do not overlap: 10.1.0.0/16 is in the same list",
      ],
      [
        "localSubnets: [10.1.2.0/24]\nremoteSubnets: [10.9.0.0/16, 10.1.0.0/16]",
        "connections.hq-branch.remoteSubnets[1]: 10.1.0.0/16: a prefix that does not overlap the local ones: 10.1.2.0/24 is in localSubnets",
      ],
    ],
  },
  {
    rule: "start",
    good: [
      "start: immediately",
      "start: on-traffic",
      "start: passive",
      "customerGateway: roaming\nstart: passive",
    ],
    bad: [
      ["start: later", "connections.hq-branch.start: later: one of immediately, on-traffic, passive"],
      [
        "customerGateway: roaming\nstart: immediately",
        "connections.hq-branch.start: immediately: passive, because the address of the customer gateway is any",
      ],
    ],
  },
  {
    rule: "ike",
    good: [
      "ike: {version: ikev2, mode: main, lifetimeSeconds: 0}",
      "ike: {lifetimeSeconds: 60}",
      "ike: {lifetimeSeconds: 604800}",
      "ike: {proposals: [aes256gcm16-prfsha384-x25519, AES128-SHA256-MODP2048]}",
      "ike: {proposals: [aes-sha1-group2]}",
    ],
    bad: [
      ["ike: {version: ikev3}", "connections.hq-branch.ike.version: ikev3: one of ikev1, ikev2, auto"],
      ["ike: {mode: quick}", "connections.hq-branch.ike.mode: quick: main or aggressive"],
      [
        "ike: {mode: aggressive}",
        "connections.hq-branch.ike.mode: aggressive: main, because ike.version is ikev2 (modes belong to IKEv1)",
      ],
      ["ike: {lifetimeSeconds: 59}", `connections.hq-branch.ike.lifetimeSeconds: 59: ${lifetimes}`],
      ["ike: {lifetimeSeconds: 604801}", `connections.hq-branch.ike.lifetimeSeconds: 604801: ${lifetimes}`],
      ["ike: {lifetimeSeconds: 1h}", `connections.hq-branch.ike.lifetimeSeconds: 1h: ${lifetimes}`],
      ["ike: {proposals: []}", "connections.hq-branch.ike.proposals: a list of 0: a list of 1 to 32"],
      [
        "ike: {proposals: [aes256 sha256]}",
        "connections.hq-branch.ike.proposals[0]: aes256 sha256: algorithm keywords joined by hyphens, such as aes256gcm16-prfsha384-x25519",
      ],
    ],
  },
  {
    rule: "identities",
    good: [
      "ike: {localId: 192.0.2.1, remoteId: 2001:db8::9}",
      "ike: {localId: hq.example.com, remoteId: branch}",
      "ike: {localId: hq@example.com, remoteId: {keyId: office 7}}",
      "ike: {localId: {keyId: 0x00ff}}",
    ],
    bad: [
      [
        "ike: {localId: 300.0.2.1}",
        "connections.hq-branch.ike.localId: 300.0.2.1: an address, an FQDN, user@fqdn or {keyId: …}",
      ],
      [
        "ike: {localId: a b}",
        "connections.hq-branch.ike.localId: a b: an address, an FQDN, user@fqdn or {keyId: …}",
      ],
      [
        "ike: {localId: a@b@c}",
        "connections.hq-branch.ike.localId: a@b@c: an address, an FQDN, user@fqdn or {keyId: …}",
      ],
      [
        "ike: {remoteId: {key: 1}}",
        "connections.hq-branch.ike.remoteId: a mapping: an address, an FQDN, user@fqdn or {keyId: …}",
      ],
      [
        `ike: {remoteId: {keyId: ${"k".repeat(256)}}}`,
        "connections.hq-branch.ike.remoteId: a mapping: a keyId of 1 to 255 bytes, as text or as 0x and hex digits",
      ],
    ],
  },
  {
    rule: "ipsec",
    good: [
      "ipsec: {lifetimeSeconds: 0, lifetimeKilobytes: 0, lifetimePackets: 0, perSubnetPair: auto}",
      "ipsec: {lifetimeKilobytes: 2560, lifetimePackets: 1, perSubnetPair: false}",
      "ipsec: {perSubnetPair: true}",
      "ipsec: {proposals: [aes128gcm16, aes256gcm16-x25519]}",
    ],
    bad: [
      [
        "ipsec: {lifetimeKilobytes: 100}",
        "connections.hq-branch.ipsec.lifetimeKilobytes: 100: 0 or at least 2560",
      ],
      [
        "ipsec: {lifetimeKilobytes: 2559}",
        "connections.hq-branch.ipsec.lifetimeKilobytes: 2559: 0 or at least 2560",
      ],
      [
        "ipsec: {lifetimeKilobytes: -1}",
        "connections.hq-branch.ipsec.lifetimeKilobytes: -1: 0 or at least 2560",
      ],
      ["ipsec: {lifetimeSeconds: 1}", `connections.hq-branch.ipsec.lifetimeSeconds: 1: ${lifetimes}`],
      [
        "ipsec: {lifetimePackets: -1}",
        "connections.hq-branch.ipsec.lifetimePackets: -1: 0 to 9007199254740991",
      ],
      [
        "ipsec: {perSubnetPair: maybe}",
        "connections.hq-branch.ipsec.perSubnetPair: maybe: auto, true or false",
      ],
    ],
  },
  {
    rule: "dpd",
    good: [
      "dpd: {enabled: false}",
      "dpd: {intervalSeconds: 1, action: clear}",
      "dpd: {timeoutSeconds: 5}",
      "dpd: {timeoutSeconds: 600}",
      "dpd: {intervalSeconds: 3600, action: restart}",
    ],
    bad: [
      ['dpd: {enabled: "true"}', 'connections.hq-branch.dpd.enabled: "true": true or false'],
      ["dpd: {enabled: yes}", "connections.hq-branch.dpd.enabled: yes: true or false"],
      ["dpd: {timeoutSeconds: 4}", "connections.hq-branch.dpd.timeoutSeconds: 4: 5 to 600"],
      ["dpd: {timeoutSeconds: 601}", "connections.hq-branch.dpd.timeoutSeconds: 601: 5 to 600"],
      ["dpd: {intervalSeconds: 0}", "connections.hq-branch.dpd.intervalSeconds: 0: 1 to 3600"],
      ["dpd: {action: hold}", "connections.hq-branch.dpd.action: hold: restart or clear"],
    ],
  },
  {
    rule: "natTraversal",
    good: ["natTraversal: {enabled: false}", "natTraversal: {forceEncapsulation: true, keepaliveSeconds: 1}"],
    bad: [
      [
        "natTraversal: {keepaliveSeconds: 0}",
        "connections.hq-branch.natTraversal.keepaliveSeconds: 0: 1 to 3600",
      ],
      [
        "natTraversal: {enabled: false, forceEncapsulation: true}",
        "connections.hq-branch.natTraversal.forceEncapsulation: true: false, because natTraversal.enabled is false",
      ],
    ],
  },
  {
    rule: "healthCheck",
    good: [
      "healthCheck: {enabled: false, source: 10.1.0.1, destination: 10.2.0.1, intervalSeconds: 3, retries: 3, switchRoute: false}",
    ],
    bad: [
      [
        "healthCheck: {source: 10.1}",
        "connections.hq-branch.healthCheck.source: 10.1: an IPv4 or IPv6 address",
      ],
      [
        "healthCheck: {intervalSeconds: 0}",
        "connections.hq-branch.healthCheck.intervalSeconds: 0: 1 to 3600",
      ],
      ["healthCheck: {retries: 101}", "connections.hq-branch.healthCheck.retries: 101: 1 to 100"],
      [
        "healthCheck: {source: 10.1.0.1, destination: 'fd00::1'}",
        "connections.hq-branch.healthCheck.destination: fd00::1: an IPv4 address, as healthCheck.source is",
      ],
      [
        "healthCheck: {source: 10.1.0.1, destination: 10.1.0.1}",
        "connections.hq-branch.healthCheck.destination: 10.1.0.1: another address than healthCheck.source",
      ],
    ],
  },
  {
    rule: "bgp",
    good: ["bgp: {enabled: false, tunnelCidr: 169.254.11.0/30, localAddress: 169.254.11.1, localAsn: 65001}"],
    bad: [
      ...["169.254.11.0/29", "169.254.11.1/30", "10.0.0.0/30", "169.254.11.0"].map(
        (cidr) =>
          [
            `bgp: {tunnelCidr: ${cidr}}`,
            `connections.hq-branch.bgp.tunnelCidr: ${cidr}: a /30 inside 169.254.0.0/16`,
          ] as const,
      ),
      [
        "bgp: {tunnelCidr: 169.254.169.252/30}",
        "connections.hq-branch.bgp.tunnelCidr: 169.254.169.252/30: a /30 that is not in use: 169.254.169.254 is the cloud's metadata service",
      ],
      ...["169.254.11.0", "169.254.11.3", "169.254.12.1"].map(
        (address) =>
          [
            `bgp: {tunnelCidr: 169.254.11.0/30, localAddress: ${address}}`,
            `connections.hq-branch.bgp.localAddress: ${address}: one of the two host addresses of 169.254.11.0/30`,
          ] as const,
      ),
      [
        "bgp: {localAsn: 0}",
        "connections.hq-branch.bgp.localAsn: 0: 1 to 4294967295, also as two 16-bit numbers such as 123.456",
      ],
    ],
  },
  {
    rule: "what this build cannot do yet",
    good: [],
    bad: [
      [
        "bgp: {enabled: true, tunnelCidr: 169.254.11.0/30, localAddress: 169.254.11.1, localAsn: 65001}\ncustomerGateway: depot",
        "connections.hq-branch.bgp.enabled: true: false (this build has no BGP)",
      ],
      [
        "healthCheck: {enabled: true, source: 10.1.0.1, destination: 10.2.0.1}",
        "connections.hq-branch.healthCheck.enabled: true: false (this build has no health checks)",
      ],
    ],
  },
]);

describe("connections", () => {
  it("takes 0 seconds as the default lifetime", () => {
    const { connections } = load(inConnection("ike: {lifetimeSeconds: 0}\nipsec: {lifetimeSeconds: 0}"));
    expect([connections[0]!.ike.lifetimeSeconds, connections[0]!.ipsec.lifetimeSeconds]).toEqual([
      86_400, 86_400,
    ]);
  });

  it("needs a customer gateway or tunnels", () => {
    expect(problems(file({ connection: "start: passive" }))).toEqual([
      "culvert.yaml:10: connections.hq-branch.customerGateway: missing: the name of a customer gateway, or tunnels with one or two of them",
    ]);
  });

  it("waits for a peer whose address is any, and starts any other at once", () => {
    const start = (gateway: string) =>
      load(inConnection(`customerGateway: ${gateway}`)).connections[0]!.start;
    expect([start("roaming"), start("branch")]).toEqual(["passive", "immediately"]);
  });

  it("names the nearest keyword and what is allowed when a proposal has an unknown one", () => {
    const [problem, ...others] = problems(inConnection("ipsec: {proposals: [aes128gm16-x25519]}"));
    expect(others).toEqual([]);
    expect(problem).toMatch(
      /^culvert\.yaml:13: connections\.hq-branch\.ipsec\.proposals\[0\]: aes128gm16-x25519: unknown algorithm "aes128gm16"; allowed are .*\baes256gcm16\b.* \(did you mean aes128gcm16\?\)$/,
    );
  });

  it("asks for what BGP and a health check need when they are enabled", () => {
    expect(problems(inConnection("bgp: {enabled: true}\nhealthCheck: {enabled: true}"))).toEqual([
      "culvert.yaml:12: connections.hq-branch.customerGateway: branch: a customer gateway with an asn, because bgp.enabled is true",
      "culvert.yaml:13: connections.hq-branch.bgp.tunnelCidr: missing: a value, because bgp.enabled is true",
      "culvert.yaml:13: connections.hq-branch.bgp.localAddress: missing: a value, because bgp.enabled is true",
      "culvert.yaml:13: connections.hq-branch.bgp.localAsn: missing: a value, because bgp.enabled is true",
      "culvert.yaml:13: connections.hq-branch.bgp.enabled: true: false (this build has no BGP)",
      "culvert.yaml:14: connections.hq-branch.healthCheck.source: missing: an address, because healthCheck.enabled is true",
      "culvert.yaml:14: connections.hq-branch.healthCheck.destination: missing: an address, because healthCheck.enabled is true",
      "culvert.yaml:14: connections.hq-branch.healthCheck.enabled: true: false (this build has no health checks)",
    ]);
  });

  it("does not call an AS number missing that it could not read", () => {
    const source = file({
      customerGateways: "x: {address: 203.0.113.9, asn: AS7}",
      connection:
        "customerGateway: x\nbgp: {enabled: true, tunnelCidr: 169.254.11.0/30, localAddress: 169.254.11.1, localAsn: 1}",
    });
    expect(problems(source).map((line) => line.split(": ")[1])).toEqual([
      "customerGateways.x.asn",
      "connections.hq-branch.bgp.enabled",
    ]);
  });

  it("refuses a second connection on the same BGP link", () => {
    const source = file({
      connection: "customerGateway: branch\nbgp: {tunnelCidr: 169.254.11.0/30}",
      rest: "  other:\n    customerGateway: depot\n    bgp: {tunnelCidr: 169.254.11.0/30}",
    });
    expect(problems(source)).toEqual([
      "culvert.yaml:16: connections.other.bgp.tunnelCidr: 169.254.11.0/30: a /30 that is not in use: hq-branch has it",
    ]);
  });
});

describe("protected data flows", () => {
  const overlap = (local: string, remote: string) =>
    problems(
      twoFlows(
        "localSubnets: [10.1.0.0/16]\nremoteSubnets: [10.2.0.0/16, 10.4.0.0/16]",
        `localSubnets: [${local}]\nremoteSubnets: [${remote}]`,
      ),
    );

  it.each([
    ["10.1.0.0/16", "10.3.0.0/16"],
    ["10.9.0.0/16", "10.2.0.0/16"],
    ["10.0.0.0/16", "0.0.0.0/5"],
  ])("of two connections may share one side only: %s to %s", (local, remote) => {
    expect(overlap(local, remote)).toEqual([]);
  });

  it.each([
    ["10.1.0.0/16", "10.2.0.0/16", "10.2.0.0/16"],
    ["10.1.7.0/24", "10.2.3.0/24", "10.2.0.0/16"],
    ["10.0.0.0/15", "10.4.0.0/15", "10.4.0.0/16"],
    ["10.0.0.0/15", "10.4.4.4/32", "10.4.0.0/16"],
    ["10.1.7.0/24", "10.4.0.0/14", "10.4.0.0/16"],
  ])("of two connections may not overlap: %s to %s", (local, remote, against) => {
    expect(overlap(local, remote)).toEqual([
      `culvert.yaml:21: connections.hq-depot.remoteSubnets[0]: ${remote}: pairs that no other connection has: hq-depot (${local} to ${remote}) overlaps hq-branch (10.1.0.0/16 to ${against})`,
    ]);
  });

  it("do not concern connections whose routes decide", () => {
    const source = twoFlows("localSubnets: [10.1.0.0/16]\nremoteSubnets: [10.2.0.0/16]", "").replace(
      "    routing: protected-data-flows\n",
      "    localSubnets: [10.1.0.0/16]\n    remoteSubnets: [10.2.0.0/16]\n",
    );
    expect(problems(source).join("\n")).not.toContain("overlaps");
  });
});
