/**
 * Messages that other programs sent, or broke on purpose. What is expected of each was read from tcpdump's and
 * Wireshark's independent decoding of the same files.
 */
import { describe, expect, it } from "vitest";
import {
  DhGroup,
  EncryptionAlgorithm,
  ExchangeType,
  IntegrityAlgorithm,
  NotifyType,
  PRF,
  TransformType,
} from "../../../src/registry/index.ts";
import {
  type DecodedMessage,
  decodeHeader,
  decodeMessage,
  encodeMessage,
  findPayload,
  type PlainPayload,
  type Proposal,
} from "../../../src/wire/index.ts";
import { pcapFiles, readPcap } from "../../fuzz/pcap.ts";
import { failure } from "./helpers.ts";

const outline = (message: DecodedMessage): string => {
  const { header, payloads } = message;
  const who = `${header.response ? "response" : "request"} ${header.messageId}`;
  const kinds = payloads.map((p) => (p.kind === "N" ? `N(${NotifyType.nameOf(p.type)})` : p.kind));
  return `${ExchangeType.nameOf(header.exchangeType)} ${who}: ${kinds.join(" ")}`;
};

const names: ReadonlyMap<number, { nameOf(code: number): string }> = new Map<
  number,
  { nameOf(code: number): string }
>([
  [TransformType.code.ENCR, EncryptionAlgorithm],
  [TransformType.code.PRF, PRF],
  [TransformType.code.INTEG, IntegrityAlgorithm],
  [TransformType.code.DH, DhGroup],
]);
const words = (proposal: Proposal): string =>
  proposal.transforms
    .map(({ type, id, keyBits }) => names.get(type)!.nameOf(id) + (keyBits ? `_${keyBits}` : ""))
    .join(" ");

describe("ikev2four.pcap: a whole conversation", () => {
  const captured = readPcap("ikev2four.pcap");
  const messages = captured.map(({ ike }) => decodeMessage(ike));

  it("decodes to the exchanges that took place", () => {
    expect(messages.map(outline)).toEqual([
      "IKE_SA_INIT request 0: SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)",
      "IKE_SA_INIT response 0: N(COOKIE)",
      "IKE_SA_INIT request 0: N(COOKIE) SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)",
      "IKE_SA_INIT response 0: SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)",
      "IKE_AUTH request 1: SK",
      "IKE_AUTH response 1: SK",
      "CREATE_CHILD_SA request 2: SK",
      "CREATE_CHILD_SA request 3: SK",
      "CREATE_CHILD_SA response 2: SK",
      "CREATE_CHILD_SA response 3: SK",
      "CREATE_CHILD_SA request 4: SK",
      "CREATE_CHILD_SA request 5: SK",
      "CREATE_CHILD_SA response 4: SK",
      "CREATE_CHILD_SA response 5: SK",
      "CREATE_CHILD_SA request 6: SK",
      "CREATE_CHILD_SA request 7: SK",
      "CREATE_CHILD_SA response 6: SK",
      "CREATE_CHILD_SA response 7: SK",
      "CREATE_CHILD_SA request 8: SK",
      "CREATE_CHILD_SA response 8: SK",
      "INFORMATIONAL request 0: SK",
    ]);
    expect(messages.map((m) => m.header.initiator)).toEqual(
      messages.map((_, i) => captured[i]!.source.address[3] === 2),
    );
  });

  it("offers and chooses the algorithms that tcpdump prints", () => {
    const proposals = (i: number) => findPayload(messages[i]!.payloads, "SA")!.proposals.map(words);
    expect(proposals(0)).toEqual([
      "ENCR_AES_CBC_128 ENCR_AES_CBC_256 ENCR_AES_CBC_192 ENCR_3DES PRF_HMAC_SHA1 PRF_HMAC_MD5 PRF_AES128_XCBC " +
        "AUTH_HMAC_SHA1_96 AUTH_HMAC_MD5_96 AUTH_AES_XCBC_96 MODP_1024 MODP_2048",
    ]);
    expect(proposals(3)).toEqual(["ENCR_AES_CBC_128 PRF_HMAC_SHA1 AUTH_HMAC_SHA1_96 MODP_1024"]);
    expect(findPayload(messages[0]!.payloads, "KE")).toMatchObject({ dhGroup: 2, data: { length: 128 } });
    expect(findPayload(messages[3]!.payloads, "Nonce")!.nonce.length).toBe(32);
  });

  it("encodes again to the very octets that were captured", () => {
    for (const i of [0, 1, 2, 3]) {
      const { header, payloads } = messages[i]!;
      const again = encodeMessage({ header, payloads: payloads as PlainPayload[] });
      expect(Buffer.from(again).toString("hex")).toBe(Buffer.from(captured[i]!.ike).toString("hex"));
    }
  });

  it("leaves SK closed, with its additional data in front of it", () => {
    for (const [i, message] of messages.entries()) {
      const sk = findPayload(message.payloads, "SK");
      if (!sk) continue;
      expect(sk.bodyOffset).toBe(32);
      expect(sk.body.length).toBe(captured[i]!.ike.length - 32);
      // AES-CBC with SHA-1-96: IV 16, whole blocks, ICV 12.
      expect((sk.body.length - 28) % 16).toBe(0);
    }
  });
});

describe("ikev2pI2.pcap: a proposal list and critical bits on known payloads", () => {
  const captured = readPcap("ikev2pI2.pcap");

  it("decodes six proposals, ignoring the critical bit that a payload of RFC 7296 must not have", () => {
    const message = decodeMessage(captured[0]!.ike);
    expect(outline(message)).toBe("IKE_SA_INIT request 0: SA KE Nonce V");
    const { proposals } = findPayload(message.payloads, "SA")!;
    expect(proposals.map((p) => p.number)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(proposals.map(words)).toEqual([
      "ENCR_AES_CBC AUTH_HMAC_SHA1_96 PRF_HMAC_SHA1 MODP_1536",
      "ENCR_AES_CBC AUTH_HMAC_SHA1_96 PRF_HMAC_MD5 MODP_1536",
      "ENCR_3DES AUTH_HMAC_SHA1_96 PRF_HMAC_SHA1 MODP_1536",
      "ENCR_3DES AUTH_HMAC_SHA1_96 PRF_HMAC_MD5 MODP_1536",
      "ENCR_3DES AUTH_HMAC_SHA1_96 PRF_HMAC_SHA1 MODP_1024",
      "ENCR_3DES AUTH_HMAC_SHA1_96 PRF_HMAC_MD5 MODP_1024",
    ]);
    expect(Buffer.from(findPayload(message.payloads, "V")!.data).toString("latin1")).toBe("OErlA\\nQukSR");
  });

  it("decodes the IKE_AUTH request", () => {
    expect(outline(decodeMessage(captured[1]!.ike))).toBe("IKE_AUTH request 0: SK");
  });
});

describe("malformed and foreign datagrams", () => {
  it("ikev2-id-short.pcap: an ID payload that is too short for its type", () => {
    const error = failure(() => decodeMessage(readPcap("ikev2-id-short.pcap")[0]!.ike));
    expect(error.message).toBe("message > IDi > RESERVED: needs 3 octets, 0 are left");
  });

  it.each([
    ["isakmp-delete-segfault.pcap", 1, "IKE header > Length"],
    ["isakmp-identification-segfault.pcap", 1, "IKE header > Version"],
    ["isakmp-pointer-loop.pcap", 1, "IKE header > Length"],
  ])("%s is refused", (name, count, field) => {
    const captured = readPcap(name);
    expect(captured.length).toBe(count);
    for (const { ike } of captured) expect(failure(() => decodeMessage(ike)).field).toBe(field);
  });

  it.each([
    ["ISAKMP_sa_setup.pcap", 9],
    ["isakmp4500.pcap", 15],
  ])("%s is IKEv1: its headers are read, its messages are refused", (name, count) => {
    const captured = readPcap(name);
    expect(captured.length).toBe(count);
    for (const { ike } of captured) {
      expect(decodeHeader(ike)).toMatchObject({ majorVersion: 1, minorVersion: 0 });
      expect(failure(() => decodeMessage(ike)).message).toBe("IKE header > Version: is 1.0, not 2");
    }
  });

  it("every file has an expectation here", () => {
    expect(pcapFiles().sort()).toEqual([
      "ISAKMP_sa_setup.pcap",
      "ikev2-id-short.pcap",
      "ikev2four.pcap",
      "ikev2pI2.pcap",
      "isakmp-delete-segfault.pcap",
      "isakmp-identification-segfault.pcap",
      "isakmp-pointer-loop.pcap",
      "isakmp4500.pcap",
    ]);
  });
});
