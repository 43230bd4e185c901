import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { maxMessageBytes } from "../../../src/ike/common/message-size.ts";
import { defaultLimits } from "../../../src/ike/common/settings.ts";

describe("the largest IKE message in an IP datagram of 1280 octets", () => {
  it.each([
    ["192.0.2.1", 500, 1280 - 20 - 8],
    ["192.0.2.1", 4500, 1280 - 20 - 8 - 4],
    ["2001:db8::1", 500, 1280 - 40 - 8],
    ["2001:db8::1", 4500, 1280 - 40 - 8 - 4],
  ])("from %s port %d: %d octets", (address, port, bytes) => {
    const end = { address: IpAddress.parse(address), port };
    expect(maxMessageBytes({ limits: defaultLimits, nattPort: 4500 }, { local: end, remote: end })).toBe(
      bytes,
    );
  });
});
