import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { decodeEvents } from "../../../src/dataplane/events.ts";

const kinds = ["ike", "acquire", "soft_lifetime", "probe_reply"];

/** A record as native/addon/event_record.h has it. */
function record(fixed: string, ...rest: (string | Uint8Array)[]): Buffer {
  return Buffer.concat([fixed, ...rest].map((part) => (typeof part === "string" ? hex(part) : part)));
}
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ""), "hex");
const bytesOf = (address: string) => IpAddress.parse(address).bytes;

describe("records of events (native/addon/event_record.h)", () => {
  const ike = (data: Buffer) =>
    record(
      `00 00 00 04 04 00  0000 0000 0000  f401 9411  00000000 00000000 00000000  ${length(data)}`,
      bytesOf("192.0.2.1"),
      bytesOf("198.51.100.7"),
      data,
    );
  const length = (data: Buffer) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(data.length);
    return bytes.toString("hex");
  };

  it("are read one after the other, IPv4 and IPv6", () => {
    const acquire = record(
      "01 00 11 10 10 00  2a01 0000 0000  3500 5c11  00000000 00000000 00000000  00000000",
      bytesOf("2001:db8::1"),
      bytesOf("2001:db8:ffff::2"),
    );
    const lifetime = record(
      "02 01 00 04 04 00  0000 0000 0000  0000 0000  78563412 00000000 00000000  00000000",
      bytesOf("0.0.0.0"),
      bytesOf("198.51.100.7"),
    );
    const reply = record(
      "03 00 00 04 04 00  0700 0102 0304  0000 0000  00000000 00000000 e2040000  00000000",
      bytesOf("10.1.0.1"),
      bytesOf("10.2.0.1"),
    );
    const batch = new Uint8Array(Buffer.concat([acquire, ike(hex("0a0b0c")), lifetime, reply]));
    expect(decodeEvents(batch, kinds)).toMatchObject([
      {
        kind: "acquire",
        connection: 0x12a,
        protocol: 17,
        source: IpAddress.parse("2001:db8::1"),
        sourcePort: 53,
        destination: IpAddress.parse("2001:db8:ffff::2"),
        destinationPort: 4444,
      },
      {
        kind: "ike",
        local: { address: IpAddress.parse("192.0.2.1"), port: 500 },
        remote: { address: IpAddress.parse("198.51.100.7"), port: 4500 },
        datagram: Uint8Array.of(10, 11, 12),
      },
      {
        kind: "softLifetime",
        spi: 0x12345678,
        direction: "outbound",
        remote: IpAddress.parse("198.51.100.7"),
      },
      { kind: "probeReply", connection: 7, id: 0x201, sequence: 0x403, roundTripMs: 1.25 },
    ]);
  });

  it("do not keep a flood in memory for one datagram of it", () => {
    const flood = new Uint8Array(Buffer.concat(Array.from({ length: 100 }, () => ike(Buffer.alloc(1000)))));
    const events = decodeEvents(flood, kinds);
    expect(events).toHaveLength(100);
    for (const event of events)
      expect(event.kind === "ike" && event.datagram.buffer.byteLength).toBeLessThan(2000);
  });

  it("are refused when a kind is unknown", () => {
    const unknown = record(
      `ff${"00".repeat(2)}0404${"00".repeat(27)}`,
      bytesOf("0.0.0.0"),
      bytesOf("0.0.0.0"),
    );
    expect(() => decodeEvents(unknown, kinds)).toThrow(RangeError);
  });
});
