/**
 * IKEv1 has one key for both directions (RFC 2409 §5): what we send decrypts with us, and its HASH(1) is right. Nothing of
 * our own that somebody sends back to us may count as the peer's.
 */
import { describe, expect, it } from "vitest";
import { IsakmpExchangeType, vendorIdBytes } from "../../src/registry/index.ts";
import { decodeIsakmpHeader, type IsakmpPayload } from "../../src/wire/v1/index.ts";
import { CraftedIsakmpPeer } from "./crafted-isakmp-peer.ts";
import { atTheDoor, quick } from "./ikev1-door.ts";
import { endpoint, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, twoSites } from "./two-sites.ts";

const X = IsakmpExchangeType.code;
const dpd: IsakmpPayload = { kind: "VID", data: vendorIdBytes("DPD") };

/** The tunnel is up, and the peer does DPD. */
function up() {
  const door = atTheDoor({ both: { lifetimeSeconds: 3600, ikeLifetimeSeconds: 3600 } });
  const { peer } = door;
  peer.main1((payloads) => [...payloads, dpd]);
  peer.main3();
  peer.main5();
  quick(door, 0xc0ffee00);
  peer.received.length = 0;
  return door;
}

describe("our own messages, sent back to us", () => {
  it.each([
    ["the peer's address", addressA],
    ["anywhere", "203.0.113.9"],
  ])("our question whether the peer is alive is no sign of its life, from %s", (_, from) => {
    const door = up();
    const { sim, peer, b } = door;
    const own = endpoint(addressB);
    let reflected = 0;
    // Whatever we say comes back at once, for as long as we go on asking.
    for (let i = 0; i < 400 && tunnelStatus(sim, b).ike; i++) {
      sim.run(500);
      for (const datagram of peer.received.splice(0)) {
        if (decodeIsakmpHeader(datagram).exchangeType !== X.INFORMATIONAL) continue;
        reflected++;
        sim.deliver(endpoint(from), own, datagram);
      }
    }
    expect(reflected).toBeGreaterThan(2);
    // The peer is dead for all that we know: DPD has ended the tunnel.
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
    expect(b.failures.map(({ code }) => code)).toContain("DPD_TIMEOUT");
  });

  it("none of them moves the peer to where it came from", () => {
    const door = up();
    const { sim, peer, b } = door;
    const before = tunnelStatus(sim, b).remote;
    sim.run(15_000);
    expect(peer.received.length).toBeGreaterThan(0);
    for (let i = 0; i < 5; i++)
      for (const datagram of peer.received.splice(0))
        sim.deliver(endpoint("203.0.113.9"), endpoint(addressB), datagram);
    expect(tunnelStatus(sim, b).remote).toBe(before);
  });

  it("our quick mode is no quick mode of the peer's, while it is under way and later", () => {
    const { sim, a } = twoSites({ both: { version: "ikev1" } });
    const peer = new CraftedIsakmpPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    while (peer.answerPhase1());
    const ours = peer.received.filter(
      (datagram) => decodeIsakmpHeader(datagram).exchangeType === X.QUICK_MODE,
    );
    expect(ours).toHaveLength(1);
    for (let i = 0; i < 30; i++) {
      peer.received.length = 0;
      sim.deliver(endpoint(addressB), endpoint(addressA), ours[0]!);
      // Only our own repetitions, of the same datagram, and the next attempts.
      expect(peer.received).toEqual([]);
      expect(a.installed).toEqual([]);
      sim.run(10_000);
    }
  });
});
