import { describe, expect, it } from "vitest";
import { file, load, problems } from "./helpers.ts";
import { check, names } from "./rule-table.ts";

const inGateway = (text: string) => file({ gateway: text });
const inCustomerGateway = (text: string) => file({ customerGateways: text });

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
    rule: "busyPollMicroseconds",
    good: ["busyPollMicroseconds: 0", "busyPollMicroseconds: 10000"],
    bad: [
      ["busyPollMicroseconds: -1", "gateway.busyPollMicroseconds: -1: 0 to 10000"],
      ["busyPollMicroseconds: 10001", "gateway.busyPollMicroseconds: 10001: 0 to 10000"],
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
