import { describe, expect, it } from "vitest";
import { IsakmpExchangeType } from "../../../../src/registry/index.ts";
import { decodeIsakmp, encodeIsakmp, findIsakmpPayload } from "../../../../src/wire/v1/index.ts";
import { readPcap } from "../../../fuzz/pcap.ts";
import { toHex } from "../helpers.ts";

describe("ISAKMP_sa_setup.pcap", () => {
  it("encodes again to the very octets that were captured", () => {
    const clear = readPcap("ISAKMP_sa_setup.pcap").filter(({ ike }) => (ike[19]! & 1) === 0);
    expect(clear.length).toBeGreaterThan(3);
    for (const { ike } of clear) {
      const message = decodeIsakmp(ike);
      expect(message.header.exchangeType).toBe(IsakmpExchangeType.code.IDENTITY_PROTECTION);
      expect(toHex(encodeIsakmp(message.header, message.payloads))).toBe(toHex(ike));
    }
    expect(findIsakmpPayload(decodeIsakmp(clear[0]!.ike).payloads, "SA")?.proposals.length).toBe(1);
  });
});
