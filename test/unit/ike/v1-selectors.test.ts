import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpAddress, Prefix } from "../../../src/core/address.ts";
import { formatSelector, selectorFromPrefix } from "../../../src/core/traffic-selector.ts";
import { idOf, isPermitted, pairOf, selectorOf } from "../../../src/ike/v1/selectors.ts";
import { IsakmpIdType } from "../../../src/registry/index.ts";

const ID = IsakmpIdType.code;
const net = (text: string) => selectorFromPrefix(Prefix.parse(text));
const range = (first: string, last: string) => ({
  ...net(first),
  startAddress: IpAddress.parse(first),
  endAddress: IpAddress.parse(last),
});
const id = (idType: number, data: readonly number[], protocol = 0, port = 0) =>
  ({ kind: "ID", idType, protocol, port, data: Uint8Array.from(data) }) as const;
const text = (payload: ReturnType<typeof id>) => {
  const found = selectorOf(payload);
  return found.ok ? formatSelector(found.value) : found.error;
};

describe("ID payloads of quick mode (RFC 2407 §4.6.2)", () => {
  it.each([
    [net("10.1.0.0/16"), ID.ID_IPV4_ADDR_SUBNET, 8],
    [net("0.0.0.0/0"), ID.ID_IPV4_ADDR_SUBNET, 8],
    [net("10.1.2.3"), ID.ID_IPV4_ADDR, 4],
    [range("10.0.0.1", "10.0.0.9"), ID.ID_IPV4_ADDR_RANGE, 8],
    [range("10.0.0.1", "10.0.0.2"), ID.ID_IPV4_ADDR_RANGE, 8],
    [net("2001:db8::/32"), ID.ID_IPV6_ADDR_SUBNET, 32],
    [net("::/0"), ID.ID_IPV6_ADDR_SUBNET, 32],
    [net("2001:db8::1"), ID.ID_IPV6_ADDR, 16],
    [range("2001:db8::1", "2001:db8::5"), ID.ID_IPV6_ADDR_RANGE, 32],
  ])("say %j in the narrowest form there is, and mean it", (ts, idType, octets) => {
    const payload = idOf(ts);
    expect([payload.idType, payload.data.length]).toEqual([idType, octets]);
    expect(selectorOf(payload)).toEqual({ ok: true, value: ts });
  });

  it("carry any range of addresses, protocol and port there and back", () => {
    const octets = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
    const ends = fc.constantFrom(4, 16).chain((n) => fc.tuple(octets(n), octets(n)));
    fc.assert(
      fc.property(
        ends,
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 65535 }),
        (both, protocol, port) => {
          const [startAddress, endAddress] = both
            .map((bytes) => IpAddress.fromBytes(bytes))
            .sort((a, b) => Buffer.compare(a.bytes, b.bytes)) as [IpAddress, IpAddress];
          const named = protocol === 0 || port === 0 ? undefined : port;
          const ts = { protocol, startPort: named ?? 0, endPort: named ?? 65535, startAddress, endAddress };
          expect(selectorOf(idOf(ts))).toEqual({ ok: true, value: ts });
        },
      ),
    );
  });

  it("name a protocol and a port; 0 is any, and a port without a protocol means nothing", () => {
    expect(text(id(ID.ID_IPV4_ADDR, [10, 0, 0, 1], 17, 1701))).toBe("10.0.0.1/32[17/1701]");
    expect(text(id(ID.ID_IPV4_ADDR, [10, 0, 0, 1], 17, 0))).toBe("10.0.0.1/32[17]");
    expect(text(id(ID.ID_IPV4_ADDR, [10, 0, 0, 1], 0, 500))).toBe("10.0.0.1/32");
  });

  it("may have host bits, which a mask takes away", () => {
    expect(text(id(ID.ID_IPV4_ADDR_SUBNET, [10, 1, 2, 3, 255, 255, 0, 0]))).toBe("10.1.0.0/16");
  });

  it.each([
    [id(ID.ID_FQDN, [...Buffer.from("vpn.example.com")]), "ID_FQDN where an address is expected"],
    [id(ID.ID_KEY_ID, [1, 2, 3, 4]), "ID_KEY_ID where an address is expected"],
    [id(ID.ID_DER_ASN1_DN, []), "ID_DER_ASN1_DN where an address is expected"],
    [id(77, [1, 2, 3, 4]), `${IsakmpIdType.nameOf(77)} where an address is expected`],
    [id(ID.ID_IPV4_ADDR, [10, 0, 0]), "ID_IPV4_ADDR with 3 octets"],
    [id(ID.ID_IPV4_ADDR_SUBNET, [10, 0, 0, 0]), "ID_IPV4_ADDR_SUBNET with 4 octets"],
    [id(ID.ID_IPV6_ADDR_RANGE, []), "ID_IPV6_ADDR_RANGE with 0 octets"],
    [id(ID.ID_IPV4_ADDR_SUBNET, [10, 0, 0, 0, 255, 0, 255, 0]), "a subnet whose mask has holes"],
    [id(ID.ID_IPV4_ADDR_RANGE, [10, 0, 0, 9, 10, 0, 0, 1]), "a range that ends before it begins"],
  ])("that are no addresses are refused: %j (CVE-2023-38711)", (payload, problem) => {
    expect(text(payload)).toBe(problem);
  });
});

describe("the ends of a quick mode (RFC 2409 §5.5)", () => {
  const addresses = { local: IpAddress.parse("192.0.2.1"), remote: IpAddress.parse("198.51.100.7") };
  const local = idOf(net("10.1.0.0/16"));
  const remote = idOf(net("10.2.0.0/16"));

  it("are the addresses of the two sides where nothing is said", () => {
    const pair = pairOf({ local: undefined, remote: undefined }, addresses);
    expect(pair.ok && [pair.value.local, pair.value.remote].map(formatSelector)).toEqual([
      "192.0.2.1/32",
      "198.51.100.7/32",
    ]);
  });

  it("are two, of one family", () => {
    const pair = pairOf({ local, remote }, addresses);
    expect(pair.ok && pair.value).toEqual({ local: net("10.1.0.0/16"), remote: net("10.2.0.0/16") });
    expect(pairOf({ local, remote: undefined }, addresses).ok).toBe(false);
    expect(pairOf({ local, remote: idOf(net("2001:db8::/32")) }, addresses).ok).toBe(false);
  });

  it("are permitted when all of them is, and not when some of them is", () => {
    const own = {
      localSelectors: [net("10.1.0.0/16"), net("10.5.0.0/16")],
      remoteSelectors: [net("10.2.0.0/16")],
    };
    const permits = (a: string, b: string) => isPermitted(own, { local: net(a), remote: net(b) });
    expect(permits("10.1.0.0/16", "10.2.0.0/16")).toBe(true);
    expect(permits("10.5.7.0/24", "10.2.3.4")).toBe(true);
    expect(permits("10.0.0.0/8", "10.2.0.0/16")).toBe(false);
    expect(permits("10.1.0.0/16", "10.0.0.0/8")).toBe(false);
    expect(permits("10.2.0.0/16", "10.1.0.0/16")).toBe(false);
  });
});
