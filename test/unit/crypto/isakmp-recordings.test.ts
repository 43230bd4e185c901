/**
 * Every key, hash and IV of whole IKEv1 conversations between two strongSwans, computed from what is on the wire, the
 * pre-shared key and the Diffie-Hellman secret, and compared with what strongSwan had.
 */
import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { Secret } from "../../../src/core/secret.ts";
import {
  exchangeIv,
  isakmpCipher,
  isakmpCipherKey,
  isakmpKeys,
  keymat,
  messageHash1,
  messageHash2,
  messageHash3,
  natDHash,
  phase1HashI,
  phase1HashR,
  phase1Iv,
  skeyidPsk,
} from "../../../src/crypto/index.ts";
import { IsakmpReassembly } from "../../../src/ike/v1/reassembly.ts";
import {
  IsakmpExchangeType,
  type ParsedProposal,
  parseProposal,
  vendorIdOf,
} from "../../../src/registry/index.ts";
import {
  type DecodedIsakmpHeader,
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  findIsakmpPayload,
  type IsakmpCipher,
  type IsakmpPayloadKind,
  isIsakmpFragment,
  openIsakmp,
  type ReceivedPayload,
  type SealedIsakmp,
  sealIsakmp,
  sealIsakmpWithHash,
} from "../../../src/wire/v1/index.ts";
import { type Recording, recordedPsk, recordings } from "./isakmp-recordings.ts";
import { hex, toHex } from "./wycheproof.ts";

interface Whole {
  readonly from: "initiator" | "responder";
  readonly header: DecodedIsakmpHeader;
  readonly datagram: Uint8Array;
}

/** The messages without fragmentation. */
function wholes({ messages }: Recording): Whole[] {
  const collected = {
    initiator: new IsakmpReassembly({ reassemblyBytes: 32_768, reassemblyMs: 30_000 }),
    responder: new IsakmpReassembly({ reassemblyBytes: 32_768, reassemblyMs: 30_000 }),
  };
  return messages.flatMap(({ from, datagram }) => {
    const header = decodeIsakmpHeader(datagram);
    if (!isIsakmpFragment(header)) return [{ from, header, datagram }];
    const address = IpAddress.parse(from === "initiator" ? "192.0.2.1" : "192.0.2.2");
    const whole = collected[from].collect(0, address, header, datagram, true);
    if (whole === "incomplete") return [];
    if ("drop" in whole) throw new Error(whole.drop);
    return [{ from, ...whole }];
  });
}

const pick = <K extends IsakmpPayloadKind>(messages: readonly (readonly ReceivedPayload[])[], kind: K) => {
  for (const payloads of messages) {
    const found = findIsakmpPayload(payloads, kind);
    if (found) return found;
  }
  throw new Error(`nobody sent ${kind}`);
};

const suiteOf = ({ encryption, integrity, prf, groups }: ParsedProposal) => ({
  encr: encryption[0]!.id,
  keyBits: encryption[0]!.keyBits,
  integ: integrity[0] ?? 0,
  prf: prf[0] ?? 0,
  group: groups[0] ?? 0,
  esn: false,
});

/** The same payloads, sealed with the same IV, are the same datagram; strongSwan adds a block where none is needed. */
function expectSame(ours: SealedIsakmp, theirs: Uint8Array, { block }: IsakmpCipher): void {
  const more = theirs.length - ours.datagram.length;
  expect([0, block]).toContain(more);
  expect(toHex(ours.datagram.subarray(28))).toBe(toHex(theirs.subarray(28, theirs.length - more)));
  if (more === 0) expect(toHex(ours.datagram)).toBe(toHex(theirs));
  expect(toHex(ours.nextIv)).toBe(toHex(ours.datagram.subarray(-block)));
}

describe.each(recordings.map((recording) => [recording.name, recording] as const))("%s", (_, recording) => {
  const { keys } = recording;
  const all = wholes(recording);
  const clear = all.filter(({ header }) => !header.encrypted);
  const decoded = clear.map((m) => ({ from: m.from, payloads: decodeIsakmp(m.datagram, m.header).payloads }));
  const said = (by: Whole["from"]) => decoded.filter(({ from }) => from === by).map((m) => m.payloads);
  const [byI, byR] = [said("initiator"), said("responder")];
  const suite = suiteOf(parseProposal(recording.ike, "ike"));
  const spis = clear.at(-1)!.header;
  const gxi = pick(byI, "KE").data;
  const gxr = pick(byR, "KE").data;
  const transcript = { ...spis, gxi, gxr, SAi_b: pick(byI, "SA").body };
  const SKEYID = () =>
    skeyidPsk(suite.prf, Secret.fromText(recordedPsk), pick(byI, "NONCE").nonce, pick(byR, "NONCE").nonce);
  const isakmp = isakmpKeys(suite, SKEYID(), new Secret(hex(keys["gxy"]!)), spis);
  const cipher = isakmpCipher(suite, isakmp.Ka);
  const phase1 = all.filter(({ header }) => header.encrypted && header.messageId === 0);
  const later = new Map<number, Whole[]>();
  for (const message of all.filter(({ header }) => header.messageId !== 0))
    later.set(message.header.messageId, [...(later.get(message.header.messageId) ?? []), message]);

  it("derives SKEYID, SKEYID_d, SKEYID_a and Ka as strongSwan did", () => {
    const { SKEYID: first, SKEYID_d, SKEYID_a, Ka } = isakmp;
    expect([first, SKEYID_d, SKEYID_a, Ka].map((key) => toHex(key.reveal()))).toEqual([
      keys["SKEYID"],
      keys["SKEYID_d"],
      keys["SKEYID_a"],
      keys["Ka"],
    ]);
    const again = isakmpCipherKey(suite, new Secret(hex(keys["SKEYID_e"]!)));
    expect(toHex(again.reveal())).toBe(keys["Ka"]);
    expect(toHex(phase1Iv(suite.prf, gxi, gxr, cipher.block))).toBe(keys["iv"]);
  });

  it("computes NAT-D as strongSwan did, and finds them in the messages", () => {
    const sent = all
      .filter(({ header }) => !header.encrypted)
      .flatMap((m) => decodeIsakmp(m.datagram, m.header).payloads)
      .flatMap((p) => (p.kind === "NAT-D" ? [toHex(p.hash)] : []));
    expect(recording.natD.length).toBeGreaterThan(0);
    for (const [covered, hash] of recording.natD) {
      const bytes = hex(covered);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const endpoint = {
        address: IpAddress.fromBytes(bytes.subarray(16, bytes.length - 2)),
        port: view.getUint16(bytes.length - 2),
      };
      expect(toHex(natDHash(suite.prf, view.getBigUint64(0), view.getBigUint64(8), endpoint))).toBe(hash);
    }
    // encap = yes: each side lies about its own address, and what it says of the other's is true.
    expect(recording.natD.some(([, hash]) => sent.includes(hash))).toBe(true);
  });

  it("knows the vendor IDs of strongSwan", () => {
    const names =
      pick(byI, "VID") && byI.flat().flatMap((p) => (p.kind === "VID" ? [vendorIdOf(p.data)] : []));
    expect(names).toEqual(expect.arrayContaining(["DPD", "RFC_3947", "FRAGMENTATION", "NAT_T_02_NEWLINE"]));
  });

  it("reads the encrypted messages of phase 1, whose hashes are right", () => {
    let iv = phase1Iv(suite.prf, gxi, gxr, cipher.block);
    const opened = phase1.map((message) => {
      const { payloads, nextIv } = openIsakmp(message.datagram, message.header, cipher, iv);
      expectSame(sealIsakmp(message.header, payloads, cipher, iv), message.datagram, cipher);
      iv = nextIv;
      return { from: message.from, payloads };
    });
    const everything = (by: Whole["from"]) => [
      ...said(by),
      ...opened.filter(({ from }) => from === by).map((m) => m.payloads),
    ];
    const [i, r] = [everything("initiator"), everything("responder")];
    const hashI = phase1HashI(suite.prf, isakmp.SKEYID, transcript, pick(i, "ID").body);
    const hashR = phase1HashR(suite.prf, isakmp.SKEYID, transcript, pick(r, "ID").body);
    expect(toHex(hashI)).toBe(toHex(pick(i, "HASH").data));
    expect(toHex(hashR)).toBe(toHex(pick(r, "HASH").data));
    expect([toHex(hashI), toHex(hashR)]).toEqual([keys["HASH_I"], keys["HASH_R"]]);
  });

  it("reads quick mode and informational messages, whose hashes are right, and derives the keys of the IPsec SAs", () => {
    const lastBlock = phase1.at(-1)!.datagram.slice(-cipher.block);
    let quick = 0;
    let informational = 0;
    for (const [messageId, exchange] of later) {
      let iv = exchangeIv(suite.prf, lastBlock, messageId);
      const opened = exchange.map(({ header, datagram }) => {
        const message = openIsakmp(datagram, header, cipher, iv);
        const hash = pick([message.payloads], "HASH").data;
        const again = sealIsakmpWithHash(
          header,
          message.payloads.slice(1),
          hash.length,
          (afterHash) => {
            expect(toHex(afterHash)).toBe(toHex(message.afterHash));
            return hash;
          },
          cipher,
          iv,
        );
        expectSame(again, datagram, cipher);
        iv = message.nextIv;
        return { ...message, hash: toHex(hash) };
      });
      const [first, second, third] = opened;
      const hash1 = toHex(messageHash1(suite.prf, isakmp.SKEYID_a, messageId, first!.afterHash));
      expect(hash1).toBe(first!.hash);
      if (exchange[0]!.header.exchangeType === IsakmpExchangeType.code.INFORMATIONAL) {
        informational++;
        continue;
      }
      quick++;
      const Ni = pick([first!.payloads], "NONCE").nonce;
      const Nr = pick([second!.payloads], "NONCE").nonce;
      const hash2 = messageHash2(suite.prf, isakmp.SKEYID_a, messageId, Ni, second!.afterHash);
      const hash3 = messageHash3(suite.prf, isakmp.SKEYID_a, messageId, Ni, Nr);
      expect([hash1, toHex(hash2), toHex(hash3)]).toEqual([first!.hash, second!.hash, third!.hash]);
      expect([keys["HASH1"], keys["HASH2"], keys["HASH3"]]).toEqual([first!.hash, second!.hash, third!.hash]);

      const esp = suiteOf(parseProposal(recording.esp, "esp"));
      const gxy = keys["qmGxy"] === undefined ? undefined : new Secret(hex(keys["qmGxy"]));
      const spiOf = (payloads: readonly ReceivedPayload[]) => {
        const { spi } = pick([payloads], "SA").proposals[0]!;
        return new DataView(spi.buffer, spi.byteOffset).getUint32(0);
      };
      // The keys of a direction are those of the SPI that its receiver chose.
      const toR = keymat(suite.prf, isakmp.SKEYID_d, esp, spiOf(second!.payloads), Ni, Nr, gxy);
      const toI = keymat(suite.prf, isakmp.SKEYID_d, esp, spiOf(first!.payloads), Ni, Nr, gxy);
      expect([toR.encrKey, toR.integKey, toI.encrKey, toI.integKey].map((k) => toHex(k.reveal()))).toEqual([
        keys["encrI"],
        keys["integI"] ?? "",
        keys["encrR"],
        keys["integR"] ?? "",
      ]);
    }
    expect(quick).toBe(1);
    expect(informational).toBeGreaterThan(1);
  });

  it("encodes the messages in the clear again to the very octets", () => {
    for (const { header, datagram } of clear)
      expect(toHex(encodeIsakmp(header, decodeIsakmp(datagram, header).payloads))).toBe(toHex(datagram));
  });
});
