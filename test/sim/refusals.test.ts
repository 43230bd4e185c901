import { describe, expect, it } from "vitest";
import { NotifyType } from "../../src/registry/index.ts";
import { decodeHeader, encodeMessage } from "../../src/wire/index.ts";
import { impair, type Packet } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, expectUp, twoSites } from "./two-sites.ts";

describe("what two configurations cannot agree on", () => {
  it("no common IKE proposal: both records name the proposals and the first difference", () => {
    const { sim, a, b } = twoSites({
      a: { ike: ["aes128gcm16-prfsha256-x25519"] },
      b: { ike: ["aes128gcm16-prfsha256-modp2048", "aes256-sha256-modp2048"] },
    });
    sim.start(a, b);
    sim.run(10_000);
    expect(b.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_IKE",
      connection: "site",
      peer: `${addressA}:500`,
      ours: ["aes128gcm16-prfsha256-modp2048", "aes256-sha256-modp2048"],
      theirs: ["aes128gcm16-prfsha256-x25519"],
      difference: "DH group: ours modp2048, theirs x25519",
    });
    expect(a.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_IKE",
      ours: ["aes128gcm16-prfsha256-x25519"],
    });
    expect(tunnelStatus(sim, a).state).not.toBe("up");
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("no common IPsec proposal: the IKE SA is given up, and the record says which cipher", () => {
    const { sim, a, b } = twoSites({ a: { esp: ["aes128gcm16"] }, b: { esp: ["aes256gcm16"] } });
    sim.start(a, b);
    sim.run(500);
    expect(b.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_ESP",
      ours: ["aes256gcm16"],
      theirs: ["aes128gcm16-esn-noesn"],
      difference: "encryption: ours aes256gcm16, theirs aes128gcm16",
    });
    expect(a.failures[0]).toMatchObject({ code: "NO_PROPOSAL_CHOSEN_ESP", theirs: ["NO_PROPOSAL_CHOSEN"] });
    expectNothingLeft(a);
    expectNothingLeft(b);
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
  });

  it("traffic selectors that share nothing: both ends are shown", () => {
    const flows = { routing: "protected-data-flows" } as const;
    const { sim, a, b } = twoSites({
      a: { ...flows, localSubnets: ["10.1.0.0/16"], remoteSubnets: ["10.2.0.0/16"] },
      b: { ...flows, localSubnets: ["10.3.0.0/16"], remoteSubnets: ["10.1.0.0/16"] },
    });
    sim.start(a, b);
    sim.run(500);
    expect(b.failures[0]).toMatchObject({
      code: "TS_UNACCEPTABLE",
      ours: ["10.3.0.0/16 === 10.1.0.0/16"],
      theirs: ["10.2.0.0/16 === 10.1.0.0/16"],
      difference: "the local selectors have nothing in common",
    });
    expect(a.failures[0]).toMatchObject({ code: "TS_UNACCEPTABLE", theirs: ["TS_UNACCEPTABLE"] });
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("different pre-shared keys", () => {
    const { sim, a, b } = twoSites({ a: { psk: "one" }, b: { psk: "two" } });
    sim.start(a, b);
    sim.run(500);
    expect(b.failures[0]).toMatchObject({
      code: "AUTHENTICATION_FAILED",
      connection: "site",
      difference: "the pre-shared keys differ",
    });
    expect(a.failures[0]).toMatchObject({ code: "AUTHENTICATION_FAILED", theirs: ["AUTHENTICATION_FAILED"] });
    expectNothingLeft(a);
    expectNothingLeft(b);
    // No secret in any record or log.
    const said = JSON.stringify([a.failures, b.failures, a.logs, b.logs]);
    expect(said).not.toContain('"one"');
    expect(said).not.toContain('"two"');
  });

  it("a responder whose identity is another: the initiator refuses and the responder hears of it", () => {
    const { sim, a, b } = twoSites({
      a: { remoteId: { kind: "fqdn", fqdn: "b.example" }, peers: [addressB] },
      b: { localId: { kind: "fqdn", fqdn: "c.example" } },
    });
    sim.start(a, b);
    sim.run(500);
    // B sees the IDr that A asks for, before anything else.
    expect(b.failures[0]).toMatchObject({
      code: "PEER_IDENTITY_MISMATCH",
      difference: "our identity: ours c.example, the peer asks for b.example",
    });
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("an initiator whose identity is another", () => {
    const { sim, a, b } = twoSites({
      a: { localId: { kind: "fqdn", fqdn: "x.example" } },
      b: { remoteId: { kind: "fqdn", fqdn: "a.example" } },
    });
    sim.start(a, b);
    sim.run(500);
    expect(b.failures[0]).toMatchObject({
      code: "PEER_IDENTITY_MISMATCH",
      ours: ["a.example"],
      theirs: ["x.example"],
      difference: "peer identity: expected a.example, got x.example",
    });
  });

  it("nobody here for this peer: silence, a counter, and few records however many datagrams", () => {
    const { sim, a, b } = twoSites({ b: { peers: ["203.0.113.200"] } });
    sim.start(a, b);
    sim.run(50_000);
    expect(sim.network.trace.some((t) => t.startsWith("B:"))).toBe(false);
    expect(b.gateway.status(sim.now).ike.drops["no_connection"]).toBeGreaterThan(6);
    expect(b.failures.filter((f) => f.code === "NO_CONNECTION_MATCHES").length).toBeLessThanOrEqual(6);
  });

  it("tries again for ever, and comes up once the other side is repaired", () => {
    const sites = twoSites({ a: { psk: "new" }, b: { psk: "old" } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(3_600_000);
    expect(a.failures.length).toBeGreaterThan(30);
    sim.crash(b, twoSites({ b: { psk: "new" } }).configB);
    expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 120_000)).toBe(true);
  });
});

describe("unauthenticated errors never kill an exchange at once (RFC 7296 §2.21.1)", () => {
  const forged = (packet: Packet, type: number, data = new Uint8Array(0)): Uint8Array => {
    const { spiInitiator, exchangeType, messageId } = decodeHeader(packet.datagram);
    const header = {
      spiInitiator,
      spiResponder: 0n,
      exchangeType,
      initiator: false,
      response: true,
      messageId,
    };
    const payload = { kind: "N", protocolId: 0, spi: new Uint8Array(0), type, data } as const;
    return encodeMessage({ header, payloads: [payload] });
  };

  it.each([
    ["NO_PROPOSAL_CHOSEN", NotifyType.code.NO_PROPOSAL_CHOSEN],
    ["INVALID_SYNTAX", NotifyType.code.INVALID_SYNTAX],
    ["AUTHENTICATION_FAILED", NotifyType.code.AUTHENTICATION_FAILED],
    ["INVALID_MAJOR_VERSION", NotifyType.code.INVALID_MAJOR_VERSION],
    ["an unknown error", 8191],
  ])("a forged %s before the true answer", (_, type) => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    const forge = (packet: Packet) => [
      packet,
      { ...packet, source: packet.destination, destination: packet.source, datagram: forged(packet, type) },
    ];
    sim.network.faults.push(impair.replace("IKE_SA_INIT request", forge));
    sim.start(a, b);
    sim.run(2000);
    expectUp(sites);
  });

  it("a forged INVALID_KE_PAYLOAD for a group that we never offered is not followed", () => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    const weak = Uint8Array.of(0, 2);
    const forge = (packet: Packet) => [
      {
        ...packet,
        source: packet.destination,
        destination: packet.source,
        datagram: forged(packet, NotifyType.code.INVALID_KE_PAYLOAD, weak),
      },
    ];
    sim.network.faults.push(impair.replace("IKE_SA_INIT request", forge));
    sim.start(a, b);
    sim.run(2000);
    expectUp(sites);
    expect(tunnelStatus(sim, a).ike!.suite).toBe("aes128gcm16-prfsha256-x25519");
  });

  it("a forged IKE_AUTH response is dropped", () => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    const forge = (packet: Packet) => {
      const h = decodeHeader(packet.datagram);
      const header = { ...h, initiator: false, response: true };
      const type = NotifyType.code.AUTHENTICATION_FAILED;
      const payload = {
        kind: "N",
        protocolId: 0,
        spi: new Uint8Array(0),
        type,
        data: new Uint8Array(0),
      } as const;
      const datagram = encodeMessage({ header, payloads: [payload] });
      return [packet, { ...packet, source: packet.destination, destination: packet.source, datagram }];
    };
    sim.network.faults.push(impair.replace("IKE_AUTH request", forge));
    sim.start(a, b);
    sim.run(2000);
    expectUp(sites);
    expect(a.gateway.status(sim.now).ike.drops["not_authentic"]).toBe(1);
  });
});
