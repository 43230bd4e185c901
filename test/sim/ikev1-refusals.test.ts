/** What the responder of aggressive mode learns when its message 2 does not please the initiator (RFC 2409 §5.4). */
import { describe, expect, it } from "vitest";
import { IsakmpExchangeType } from "../../src/registry/index.ts";
import { addressA, addressB, expectUp, twoSites } from "./two-sites.ts";

const aggressive = { version: "ikev1", mode: "aggressive" } as const;

describe("the responder of aggressive mode, refused after message 2", () => {
  it("says so when the initiator expects another identity", () => {
    const remoteId = { kind: "fqdn", fqdn: "hq.example.net" } as const;
    const { sim, a, b } = twoSites({ both: aggressive, a: { remoteId } });
    sim.start(a, b);
    sim.run(200);
    expect(a.failures).toMatchObject([{ code: "PEER_IDENTITY_MISMATCH" }]);
    expect(b.failures).toMatchObject([
      {
        code: "PEER_IDENTITY_MISMATCH",
        theirs: ["INVALID_ID_INFORMATION"],
        ours: [`our identity ${addressB}`],
      },
    ]);
    expect(b.installed).toEqual([]);
  });

  it("says once that the keys seem to differ when it cannot read what comes instead, and goes on", () => {
    const sites = twoSites({ both: aggressive });
    const { sim, a, b } = sites;
    let messages = 0;
    sim.network.faults.push((packet, name) => {
      if (!name.startsWith("AGGRESSIVE")) return "pass";
      messages++;
      if (messages === 2)
        for (const messageId of [7, 8])
          sim.inject(packet.destination, packet.source, unreadable(packet.datagram, messageId));
      // Message 3 and what repeats message 2.
      return messages > 2 && messages < 5 ? "drop" : "pass";
    });
    sim.start(a, b);
    sim.run(400);
    const told = [{ code: "AUTHENTICATION_FAILED", peer: `${addressA}:500` }];
    expect(b.failures).toMatchObject(told);
    expect(b.failures[0]?.difference).toContain("instead of message 3");
    sim.run(5_000);
    expectUp(sites);
    expect(b.failures).toMatchObject(told);
  });
});

/** An informational message of the ISAKMP SA that `message2` is from, encrypted under a key that is nobody's. */
function unreadable(message2: Uint8Array, messageId: number): Uint8Array {
  const datagram = new Uint8Array(92).fill(0xa5);
  datagram.set(message2.subarray(0, 16));
  const view = new DataView(datagram.buffer);
  // HASH, version 1.0, the encryption flag.
  datagram.set([8, 0x10, IsakmpExchangeType.code.INFORMATIONAL, 1], 16);
  view.setUint32(20, messageId);
  view.setUint32(24, datagram.length);
  return datagram;
}
