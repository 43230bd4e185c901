/** IKEv1 that other programs sent, or broke on purpose. What is expected was read from tcpdump's and Wireshark's decoding. */
import { describe, expect, it } from "vitest";
import {
  IsakmpExchangeType,
  Phase1Attribute,
  Phase1Encryption,
  Phase1Hash,
  vendorIdOf,
} from "../../../../src/registry/index.ts";
import {
  attributeNumber,
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  findIsakmpPayload,
  type IsakmpTransform,
  isakmpPayloadsOf,
} from "../../../../src/wire/v1/index.ts";
import { readPcap } from "../../../fuzz/pcap.ts";
import { failure, toHex } from "../helpers.ts";

function outline(datagram: Uint8Array): string {
  const header = decodeIsakmpHeader(datagram);
  const exchange = IsakmpExchangeType.nameOf(header.exchangeType);
  if (header.encrypted) return `${exchange} ${header.messageId.toString(16)}: encrypted`;
  return `${exchange}: ${decodeIsakmp(datagram, header)
    .payloads.map((p) => (p.kind === "unknown" ? p.type : p.kind))
    .join(" ")}`;
}

const A = Phase1Attribute.code;
function words({ attributes }: IsakmpTransform): string {
  const value = (type: number) => {
    const found = attributes.find((attribute) => attribute.type === type);
    return found && attributeNumber(found);
  };
  return [
    Phase1Encryption.nameOf(value(A.ENCRYPTION_ALGORITHM)!),
    value(A.KEY_LENGTH) ?? "-",
    Phase1Hash.nameOf(value(A.HASH_ALGORITHM)!),
    value(A.GROUP_DESCRIPTION),
    value(A.LIFE_DURATION),
  ].join(" ");
}

describe("ISAKMP_sa_setup.pcap: Cisco's main mode and quick mode", () => {
  const captured = readPcap("ISAKMP_sa_setup.pcap").map(({ ike }) => ike);

  it("decodes to the exchanges that took place", () => {
    expect(captured.map(outline)).toEqual([
      "IDENTITY_PROTECTION: SA VID VID VID",
      "IDENTITY_PROTECTION: SA VID",
      // 15: NAT-D of the first drafts.
      "IDENTITY_PROTECTION: KE NONCE VID VID VID VID 15 15",
      "IDENTITY_PROTECTION: KE NONCE VID VID VID VID 15 15",
      "IDENTITY_PROTECTION 0: encrypted",
      "IDENTITY_PROTECTION 0: encrypted",
      "QUICK_MODE f2b7862: encrypted",
      "QUICK_MODE f2b7862: encrypted",
      "QUICK_MODE f2b7862: encrypted",
    ]);
  });

  it("offers and chooses what Wireshark prints", () => {
    const sa = (i: number) => findIsakmpPayload(decodeIsakmp(captured[i]!).payloads, "SA")!;
    for (const i of [0, 1])
      expect(sa(i).proposals.flatMap((p) => p.transforms.map(words))).toEqual(["AES_CBC 128 SHA 1 86400"]);
  });
});

describe("isakmp4500.pcap: main mode through a NAT (RFC 3947)", () => {
  const captured = readPcap("isakmp4500.pcap").map(({ ike }) => ike);

  it("decodes to the exchanges that took place, repetitions included", () => {
    expect(captured.map(outline)).toEqual([
      "IDENTITY_PROTECTION: SA VID VID VID VID VID VID",
      "IDENTITY_PROTECTION: SA VID VID VID",
      "IDENTITY_PROTECTION: KE NONCE NAT-D NAT-D",
      "IDENTITY_PROTECTION: KE NONCE NAT-D NAT-D",
      "IDENTITY_PROTECTION 0: encrypted",
      "IDENTITY_PROTECTION 0: encrypted",
      ...new Array(8).fill("QUICK_MODE 8b7e8947: encrypted"),
      "INFORMATIONAL 2bdc64f: encrypted",
    ]);
  });

  it("has the vendor IDs and proposals that Wireshark prints", () => {
    const { payloads } = decodeIsakmp(captured[0]!);
    expect(isakmpPayloadsOf(payloads, "VID").map(({ data }) => vendorIdOf(data) ?? toHex(data))).toEqual([
      "4f456b5262475852766d5045",
      "DPD",
      "RFC_3947",
      "NAT_T_03",
      "NAT_T_02",
      "NAT_T_00",
    ]);
    const { proposals } = findIsakmpPayload(payloads, "SA")!;
    expect(proposals.flatMap((p) => p.transforms.map(words))).toEqual([
      "3DES_CBC - MD5 5 3600",
      "3DES_CBC - SHA 5 3600",
      "3DES_CBC - SHA 2 3600",
      "3DES_CBC - MD5 2 3600",
    ]);
  });
});

describe("IKEv1 in the clear", () => {
  it("encodes again to the very octets that were captured", () => {
    const clear = ["ISAKMP_sa_setup.pcap", "isakmp4500.pcap"]
      .flatMap((name) => readPcap(name).map(({ ike }) => ike))
      .filter((ike) => !decodeIsakmpHeader(ike).encrypted);
    expect(clear.length).toBe(8);
    for (const ike of clear) {
      const { header, payloads } = decodeIsakmp(ike);
      expect(toHex(encodeIsakmp(header, payloads))).toBe(toHex(ike));
    }
  });
});

describe("malformed and foreign datagrams", () => {
  it("isakmp-identification-segfault.pcap: an ID of type 0 in main mode, whole nevertheless", () => {
    const { payloads } = decodeIsakmp(readPcap("isakmp-identification-segfault.pcap")[0]!.ike);
    expect(payloads).toMatchObject([{ kind: "ID" }]);
  });

  it.each([
    ["isakmp-delete-segfault.pcap", "IKE header > Length"],
    ["isakmp-pointer-loop.pcap", "IKE header > Length"],
    ["ikev2-id-short.pcap", "ISAKMP header > Version"],
    ["ikev2four.pcap", "ISAKMP header > Version"],
    ["ikev2pI2.pcap", "ISAKMP header > Version"],
  ])("%s is refused", (name, field) => {
    const captured = readPcap(name);
    expect(captured.length).toBeGreaterThan(0);
    for (const { ike } of captured) expect(failure(() => decodeIsakmp(ike)).field).toBe(field);
  });
});
