import { describe, expect, it } from "vitest";
import { explainConfig } from "../../../src/config/index.ts";
import { bytes, file, indent, load } from "./helpers.ts";

const warnings = (text: string, key?: string) =>
  load(text, key === undefined ? {} : { readSecret: () => ({ ok: true, bytes: bytes(key) }) }).warnings.map(
    (w) => `${w.line} ${w.path}: ${w.text}`,
  );
const routed = (connection: string, more = "") =>
  file({
    connection: `customerGateway: branch\n${connection}`,
    rest: `${more}routes:\n  destination: [{destination: 10.2.0.0/16, connection: hq-branch}]`,
  });

describe("warnings", () => {
  it("are none for a plain configuration", () => {
    expect(warnings(routed(""))).toEqual([]);
  });

  it("say which algorithms are weak and why", () => {
    expect(warnings(routed("ike:\n  proposals: [aes256-sha256-modp2048, aes128-sha1-modp1024]"))).toEqual([
      "14 connections.hq-branch.ike.proposals[1]: weak: sha1: SHA-1 is obsolete (RFC 8247 allows its HMAC for old peers only)",
      "14 connections.hq-branch.ike.proposals[1]: weak: modp1024: the discrete logarithm is within reach of a rich attacker (RFC 8247)",
    ]);
    expect(warnings(routed("ipsec: {proposals: [aes128gcm16-modp768]}"))).toEqual([
      expect.stringContaining("13 connections.hq-branch.ipsec.proposals[0]: weak: modp768: "),
    ]);
  });

  it("name a short pre-shared key without showing it", () => {
    expect(warnings(routed(""), "123456789012345")).toEqual([
      "11 connections.hq-branch.psk.file: short: whoever records a handshake can guess a key of under 16 characters",
    ]);
    expect(warnings(routed(""), "1234567890123456")).toEqual([]);
  });

  it("name a connection that no route leads to", () => {
    expect(warnings(file({}))).toEqual([
      "10 connections.hq-branch: no route leads to this connection: it carries nothing that starts on this side",
    ]);
  });

  it("name subnets that nothing uses, and routes that reach past the subnets", () => {
    expect(warnings(routed("localSubnets: [10.1.0.0/16]"))).toEqual([
      "13 connections.hq-branch.localSubnets: not used: routing is destination, where routes alone decide",
    ]);
    const flows = "routing: protected-data-flows\nlocalSubnets: [10.1.0.0/16]\nremoteSubnets: [10.2.0.0/16]";
    expect(warnings(routed(flows))).toEqual([
      expect.stringMatching(/^17 routes\.destination\[0\]: .* protected-data-flows.* dropped$/),
    ]);
    expect(warnings(file({ connection: `customerGateway: branch\n${flows}` }))).toEqual([]);
  });

  it("name connections that a responder cannot tell apart", () => {
    const twin = (remoteId: string) =>
      warnings(
        file({
          connection: "customerGateway: roaming\nike: {remoteId: a.example}",
          rest: `  other:\n    customerGateway: roaming\n    psk: {file: x}\n${indent(remoteId, 4)}`,
        }),
      ).filter((line) => line.includes("look the same"));
    expect(twin("ike: {remoteId: b.example}")).toEqual([]);
    expect(twin("ike: {remoteId: a.example}")).toEqual([
      "14 connections.other: when the peer starts, this connection and hq-branch look the same: give each its own ike.remoteId",
    ]);
  });
});

describe("explainConfig", () => {
  it("writes every default out", () => {
    const explained = explainConfig(load(routed("")));
    expect(explained.gateway).toEqual({
      name: "hq",
      addresses: ["192.0.2.1", "2001:db8::1"],
      tun: { name: "culvert0", mtu: "auto" },
      workers: "auto",
      busyPollMicroseconds: 0,
      replayWindow: 4096,
      metrics: {},
    });
    expect(explained.connections["hq-branch"]).toEqual({
      customerGateway: "branch",
      routing: "destination",
      localSubnets: [],
      remoteSubnets: [],
      start: "immediately",
      ike: {
        version: "ikev2",
        mode: "main",
        proposals: [
          "aes256gcm16-prfsha384-x25519-ecp384-ecp256-modp3072-modp2048",
          "aes128gcm16-prfsha256-x25519-ecp384-ecp256-modp3072-modp2048",
          "aes256-aes128-sha384-sha256-x25519-ecp384-ecp256-modp3072-modp2048",
        ],
        lifetimeSeconds: 86_400,
        reauthenticate: false,
        childless: "allow",
        mobike: true,
      },
      ipsec: {
        proposals: [
          "aes256gcm16-x25519-ecp384-ecp256-modp3072-modp2048",
          "aes128gcm16-x25519-ecp384-ecp256-modp3072-modp2048",
        ],
        lifetimeSeconds: 86_400,
        lifetimeKilobytes: 0,
        lifetimePackets: 0,
        rehearseRekey: true,
        perSubnetPair: "auto",
        pathMtu: "auto",
        dontFragment: "clear",
      },
      dpd: { enabled: true, intervalSeconds: 10, timeoutSeconds: 30, action: "restart" },
      natTraversal: { enabled: true, forceEncapsulation: false, keepaliveSeconds: 20 },
      healthCheck: { enabled: false, intervalSeconds: 3, retries: 3, switchRoute: true },
      bgp: { enabled: false },
    });
    expect(explained.routes.destination).toEqual([
      { destination: "10.2.0.0/16", connection: "hq-branch", weight: 100, publish: true },
    ]);
  });

  it("holds no secret", () => {
    const config = load(file({}), {
      readSecret: () => ({ ok: true, bytes: bytes("hunter2-hunter2-hunter2") }),
    });
    expect(JSON.stringify(explainConfig(config))).not.toMatch(/hunter2|psk/);
    expect(JSON.stringify(config)).not.toContain("hunter2");
  });

  it("means the same when it is read again", () => {
    const source = file({
      customerGateways:
        "shared: {address: 100.64.0.9, allowSharedAddressSpace: true, asn: 1.10}\ndns: {address: vpn.example.com}",
      connection: `tunnels: [shared, dns]
routing: protected-data-flows
localSubnets: [10.1.0.0/16, 'fd00:1::/32']
remoteSubnets: ['fd00:2::/32', 10.2.0.0/16]
start: on-traffic
ike: {localId: {keyId: office 7}, remoteId: a@b.example, lifetimeSeconds: 0, proposals: [aes-sha1-group2]}
ipsec: {lifetimeKilobytes: 2560, lifetimePackets: 9, perSubnetPair: false}
dpd: {enabled: false, action: clear}
natTraversal: {forceEncapsulation: true, keepaliveSeconds: 5}
healthCheck: {source: 10.1.0.1, destination: 10.2.0.1, switchRoute: false}
bgp: {tunnelCidr: 169.254.11.0/30, localAddress: 169.254.11.2, localAsn: 2.3}`,
    });
    const explained = explainConfig(load(source));
    // JSON is YAML.
    const again = explainConfig(load(JSON.stringify(explained)));
    expect(again).toEqual(explained);
    expect(explained.connections["hq-branch"]!.ike).toMatchObject({
      localId: { keyId: "0x6f66666963652037" },
    });
  });
});
