import { describe, expect, it } from "vitest";
import { file, indent, load, problems } from "./helpers.ts";

/**
 * One row per rule of the configuration: a value that is taken, and a value that is refused with the whole line an
 * operator reads. `at` is where the value goes; the line number is found by looking for the value's marker.
 */
interface Rule {
  readonly rule: string;
  readonly good: readonly string[];
  readonly bad: readonly (readonly [text: string, message: string])[];
}

const inConnection = (text: string) =>
  file({
    connection:
      text.includes("ustomerGateway:") || text.includes("tunnels:")
        ? text
        : `customerGateway: branch\n${text}`,
  });
const inGateway = (text: string) => file({ gateway: text });
const inCustomerGateway = (text: string) => file({ customerGateways: text });
const inRoutes = (text: string) => file({ rest: text });
const whole = (text: string) => text;
/** Two connections with protected data flows. */
const twoFlows = (a: string, b: string) =>
  file({
    connection: `customerGateway: branch\nrouting: protected-data-flows\n${a}`,
    rest: `  hq-depot:\n    customerGateway: depot\n    psk: {file: d}\n    routing: protected-data-flows\n${indent(b, 4)}`,
  });

function check(title: string, at: (text: string) => string, rules: readonly Rule[]) {
  describe(title, () => {
    for (const { rule, good, bad } of rules) {
      it.each(good)(`${rule}: takes %s`, (text) => {
        expect(problems(at(text))).toEqual([]);
      });
      it.each(bad)(`${rule}: refuses %s`, (text, message) => {
        const source = at(text);
        const found = problems(source);
        expect(found.map((line) => line.replace(/^culvert\.yaml:\d+: /, ""))).toEqual(message.split("\n"));
        for (const line of found)
          expect(Number(/^culvert\.yaml:(\d+): /.exec(line)![1])).toBe(lineOf(source, line));
      });
    }
  });
}

/** The line of the last key of the problem's path, below its parents: an independent and simple-minded search. */
function lineOf(source: string, problem: string): number {
  const path = /^culvert\.yaml:\d+: (.+?): /.exec(problem)![1]!;
  const keys = path
    .replaceAll('"', "")
    .split(/\.(?=[a-zA-Z])/)
    .map((key) => key.replace(/\[\d+\]$/, "").replace(/\.\.\.$/, ".*"));
  const lines = source.split("\n");
  let line = 0;
  for (const key of keys) {
    const next = lines.findIndex((text, i) => i >= line && new RegExp(`(^|[\\s{,"])${key}"?:`).test(text));
    if (next >= 0) line = next;
  }
  return line + 1;
}

const names = "a name of 1 to 100 letters, digits, dots, underscores and hyphens";

check("gateway", inGateway, [
  {
    rule: "name",
    good: ["name: hq", "name: A.b_c-9", `name: ${"n".repeat(100)}`, "name: 007"],
    bad: [
      ["name: h q", `gateway.name: h q: ${names}`],
      [`name: ${"n".repeat(101)}`, `gateway.name: ${"n".repeat(57)}...: ${names}`],
      ['name: ""', `gateway.name: "": ${names}`],
      ["name: {a: b}", `gateway.name: a mapping: ${names}`],
      ["name:", `gateway.name: nothing: ${names}`],
    ],
  },
  {
    rule: "tun",
    good: ["tun: {name: culvert0, mtu: auto}", "tun: {mtu: 576}", "tun: {mtu: 65535}", "tun: {}"],
    bad: [
      ["tun: {mtu: 575}", "gateway.tun.mtu: 575: auto, or 576 to 65535"],
      ["tun: {mtu: 65536}", "gateway.tun.mtu: 65536: auto, or 576 to 65535"],
      ["tun: {mtu: 1400.5}", "gateway.tun.mtu: 1400.5: auto, or 576 to 65535"],
      [
        "tun: {name: sixteen-letters-}",
        "gateway.tun.name: sixteen-letters-: an interface name of 1 to 15 letters, digits, dots, underscores and hyphens",
      ],
      [
        "tun: {name: a/b}",
        "gateway.tun.name: a/b: an interface name of 1 to 15 letters, digits, dots, underscores and hyphens",
      ],
      ["tun: culvert0", "gateway.tun: culvert0: a mapping with the keys name, mtu"],
    ],
  },
  {
    rule: "workers",
    good: ["workers: auto", "workers: 1", "workers: 256"],
    bad: [
      ["workers: 0", "gateway.workers: 0: auto, or 1 to 256"],
      ["workers: 257", "gateway.workers: 257: auto, or 1 to 256"],
      ["workers: many", "gateway.workers: many: auto, or 1 to 256"],
    ],
  },
  {
    rule: "replayWindow",
    good: ["replayWindow: 64", "replayWindow: 65536"],
    bad: [
      ["replayWindow: 63", "gateway.replayWindow: 63: 64 to 65536"],
      ["replayWindow: 65537", "gateway.replayWindow: 65537: 64 to 65536"],
      ['replayWindow: "4096"', 'gateway.replayWindow: "4096": 64 to 65536'],
      ["replayWindow: 0x1000", "gateway.replayWindow: 0x1000: 64 to 65536"],
    ],
  },
  {
    rule: "keys",
    good: [],
    bad: [
      ["replaywindow: 64", "gateway.replaywindow: unknown key (did you mean replayWindow?)"],
      ["zzz: 1", "gateway.zzz: unknown key"],
    ],
  },
]);

check("gateway.addresses", (list) => `gateway:\n  addresses: ${list}\n`, [
  {
    rule: "addresses",
    good: ["[192.0.2.1]", "[2001:db8::1, 192.0.2.1]"],
    bad: [
      ["[]", "gateway.addresses: a list of 0: a list of 1 to 64"],
      ["192.0.2.1", "gateway.addresses: 192.0.2.1: a list of 1 to 64"],
      ["[192.0.2.01]", "gateway.addresses[0]: 192.0.2.01: an IPv4 or IPv6 address of this host"],
      ["[0.0.0.0]", "gateway.addresses[0]: 0.0.0.0: an address of this host, not in 0.0.0.0/8"],
      ["['::']", "gateway.addresses[0]: ::: an address of this host, not in ::/128"],
      ["[224.0.0.1]", "gateway.addresses[0]: 224.0.0.1: an address of this host, not in 224.0.0.0/4"],
      ["[fe80::1]", "gateway.addresses[0]: fe80::1: an address of this host, not in fe80::/10"],
      ["[ff02::1]", "gateway.addresses[0]: ff02::1: an address of this host, not in ff00::/8"],
      ["[192.0.2.1, 192.0.2.1]", "gateway.addresses[1]: 192.0.2.1: each address once"],
    ],
  },
]);

const noPeer = (address: string, range: string) =>
  `customerGateways.x.address: ${address}: an address that a peer can have: not in ${range}`;

check("customerGateways", inCustomerGateway, [
  {
    rule: "address",
    good: [
      "x: {address: 203.0.113.9}",
      "x: {address: 2001:db8::9}",
      "x: {address: vpn.example.com}",
      "x: {address: vpn}",
      "x: {address: any}",
      "x: {address: 100.63.255.255}",
      "x: {address: 100.128.0.0}",
      "x: {address: 240.0.0.1}",
      "x: {address: 100.64.0.1, allowSharedAddressSpace: true}",
    ],
    bad: [
      ["x: {address: 0.1.2.3}", noPeer("0.1.2.3", "0.0.0.0/8")],
      [
        "x: {address: 100.64.0.1}",
        noPeer("100.64.0.1", "100.64.0.0/10, unless allowSharedAddressSpace: true"),
      ],
      [
        "x: {address: 100.127.255.255}",
        noPeer("100.127.255.255", "100.64.0.0/10, unless allowSharedAddressSpace: true"),
      ],
      ["x: {address: 127.0.0.1}", noPeer("127.0.0.1", "127.0.0.0/8")],
      ["x: {address: 169.254.9.9}", noPeer("169.254.9.9", "169.254.0.0/16")],
      ["x: {address: 224.0.0.1}", noPeer("224.0.0.1", "224.0.0.0/4")],
      ["x: {address: 239.255.255.255}", noPeer("239.255.255.255", "224.0.0.0/4")],
      ["x: {address: 255.255.255.255}", noPeer("255.255.255.255", "255.0.0.0/8")],
      ["x: {address: fe80::1}", noPeer("fe80::1", "fe80::/10")],
      ["x: {address: '::1'}", noPeer("::1", "::1/128")],
      ["x: {address: '::ffff:192.0.2.9'}", noPeer("::ffff:192.0.2.9", "::ffff:0:0/96")],
      ["x: {address: 300.1.1.1}", "customerGateways.x.address: 300.1.1.1: an address, a DNS name or any"],
      ["x: {address: -a.example}", "customerGateways.x.address: -a.example: an address, a DNS name or any"],
      ["x: {address: a b}", "customerGateways.x.address: a b: an address, a DNS name or any"],
      [
        "x: {address: 192.0.2.1}",
        "customerGateways.x.address: 192.0.2.1: an address of the peer, not one of gateway.addresses",
      ],
      ["x: {}", "customerGateways.x.address: missing: an address, a DNS name or any"],
    ],
  },
  {
    rule: "asn",
    good: [
      "x: {address: any, asn: 1}",
      "x: {address: any, asn: 4294967295}",
      "x: {address: any, asn: 123.456}",
    ],
    bad: ["0", "4294967296", "0.0", "65536.1", "1.65536", "1.2.3", "-1", "AS1"].map((asn) => [
      `x: {address: any, asn: ${asn}}`,
      `customerGateways.x.asn: ${asn}: 1 to 4294967295, also as two 16-bit numbers such as 123.456`,
    ]),
  },
  {
    rule: "names",
    good: [`${"n".repeat(100)}: {address: any}`, "1.2-3_x: {address: any}", "constructor: {address: any}"],
    bad: [
      ['"a b": {address: any}', `customerGateways."a b": ${names}`],
      [`${"n".repeat(101)}: {address: any}`, `customerGateways."${"n".repeat(76)}...": ${names}`],
    ],
  },
]);

describe("customerGateways", () => {
  it("have unique names, as connections have", () => {
    expect(problems(inCustomerGateway("branch: {address: any}"))).toEqual([
      "culvert.yaml:8: customerGateways.branch: one time only (first in line 5)",
    ]);
    expect(problems(file({ rest: "  hq-branch: {customerGateway: depot}" }))).toEqual([
      "culvert.yaml:13: connections.hq-branch: one time only (first in line 10)",
    ]);
  });

  it("needs an outer address of the peer's family", () => {
    const source = "gateway: {addresses: [192.0.2.1]}\ncustomerGateways:\n  x: {address: 2001:db8::9}\n";
    expect(problems(source)).toEqual([
      "culvert.yaml:3: customerGateways.x.address: 2001:db8::9: an address that gateway.addresses can reach: none of them is IPv6",
    ]);
  });

  it("reads an AS number's two halves as they are written, 1.10 being 65546 and not 1.1", () => {
    const asn = (text: string) =>
      load(file({ customerGateways: `x: {address: any, asn: ${text}}`, connection: "customerGateway: x" }))
        .connections[0]!.tunnels[0]!.asn;
    expect(asn("123.456")).toBe(123 * 65536 + 456);
    expect(asn("1.10")).toBe(65546);
    expect(asn("65010")).toBe(65010);
  });
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
      "dpd: {intervalSeconds: 3600, action: restart}",
    ],
    bad: [
      ['dpd: {enabled: "true"}', 'connections.hq-branch.dpd.enabled: "true": true or false'],
      ["dpd: {enabled: yes}", "connections.hq-branch.dpd.enabled: yes: true or false"],
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
      ["ike: {version: ikev1}", "connections.hq-branch.ike.version: ikev1: ikev2 (this build has no IKEv1)"],
      ["ike: {version: auto}", "connections.hq-branch.ike.version: auto: ikev2 (this build has no IKEv1)"],
      [
        "bgp: {enabled: true, tunnelCidr: 169.254.11.0/30, localAddress: 169.254.11.1, localAsn: 65001}\ncustomerGateway: depot",
        "connections.hq-branch.bgp.enabled: true: false (this build has no BGP)",
      ],
      [
        "healthCheck: {enabled: true, source: 10.1.0.1, destination: 10.2.0.1}",
        "connections.hq-branch.healthCheck.enabled: true: false (this build has no health checks)",
      ],
      [
        "ipsec: {perSubnetPair: true}",
        "connections.hq-branch.ipsec.perSubnetPair: true: auto or false (this build makes one CHILD_SA for all subnets)",
      ],
      [
        "ipsec: {proposals: [aes128gcm16, aes128-sha256-x25519-ke1_mlkem768]}",
        "connections.hq-branch.ipsec.proposals[1]: aes128-sha256-x25519-ke1_mlkem768: algorithms of this build; it does not have ke1_mlkem768",
      ],
      [
        "ike: {proposals: [aes256gcm16-prfsha256-x25519-ke1_mlkem768]}",
        "connections.hq-branch.ike.proposals[0]: aes256gcm16-prfsha256-x25519-ke1_mlkem768: algorithms of this build; it does not have ke1_mlkem768",
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
      "culvert.yaml:1: gateway: missing: a mapping with the keys name, addresses, tun, workers, replayWindow";
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
