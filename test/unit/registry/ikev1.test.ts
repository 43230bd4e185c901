import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  dhById,
  EspTransform,
  encrById,
  IpsecAuthentication,
  ikev1Encryption,
  ikev1EncryptionByEncr,
  ikev1EncryptionByEsp,
  ikev1EncryptionByPhase1,
  ikev1Groups,
  ikev1HashByAuthentication,
  ikev1HashByInteg,
  ikev1HashByPhase1,
  ikev1HashByPrf,
  ikev1Hashes,
  integById,
  Phase1Encryption,
  Phase1Hash,
  prfById,
  type VendorIdRow,
  vendorIdBytes,
  vendorIdOf,
  vendorIds,
} from "../../../src/registry/index.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
const rows = Object.entries<VendorIdRow>(vendorIds);

describe("what IKEv1 calls the algorithms", () => {
  it("are rows of algorithms that this program runs, found by either number", () => {
    for (const row of ikev1Encryption) {
      const algorithm = encrById.get(row.encr)!;
      expect(algorithm.implemented).toEqual({ ike: algorithm.ike, esp: true });
      // Phase 1 has block ciphers in CBC mode only.
      expect(row.phase1 !== undefined).toBe(algorithm.mode === "cbc");
      expect(EspTransform.has(row.esp)).toBe(true);
      expect(ikev1EncryptionByEncr.get(row.encr)).toBe(row);
      expect(ikev1EncryptionByEsp.get(row.esp)).toBe(row);
      if (row.phase1 === undefined) continue;
      expect(Phase1Encryption.has(row.phase1)).toBe(true);
      expect(ikev1EncryptionByPhase1.get(row.phase1)).toBe(row);
    }
    expect(ikev1EncryptionByPhase1.size).toBe(3);
  });

  it("have one hash for each integrity algorithm and PRF", () => {
    for (const row of ikev1Hashes) {
      expect(integById.get(row.integ)!.hash).toBe(prfById.get(row.prf)!.hash);
      expect(integById.get(row.integ)!.prf).toBe(row.prf);
      expect(Phase1Hash.has(row.hash) && IpsecAuthentication.has(row.authentication)).toBe(true);
      expect(ikev1HashByInteg.get(row.integ)).toBe(row);
      expect(ikev1HashByPrf.get(row.prf)).toBe(row);
      expect(ikev1HashByPhase1.get(row.hash)).toBe(row);
      expect(ikev1HashByAuthentication.get(row.authentication)).toBe(row);
    }
    expect(new Set(ikev1HashByInteg.keys())).toEqual(new Set(integById.keys()));
  });

  it("have groups of the same numbers, all but Curve25519", () => {
    const known = [...dhById.values()].filter(({ kind }) => kind !== "x25519").map(({ id }) => id);
    expect(new Set(known)).toEqual(new Set(ikev1Groups));
  });
});

describe("vendor IDs", () => {
  it.each(rows.filter(([, row]) => row.md5Of !== undefined))("%s is the MD5 of its text", (_, row) => {
    expect(row.prefix).toBe(createHash("md5").update(row.md5Of!).digest("hex"));
  });

  it.each(rows)("%s is recognised by its beginning", (name, row) => {
    const prefix = hex(row.prefix);
    expect(vendorIdOf(prefix)).toBe(name);
    expect(vendorIdOf(Uint8Array.from([...prefix, 1, 2, 3]))).toBe(name);
    expect(vendorIdOf(prefix.subarray(0, -1))).not.toBe(name);
    const other = Uint8Array.from(prefix);
    other[0]! ^= 1;
    expect(vendorIdOf(other)).toBeUndefined();
  });

  it("are sent where they are ours to send, and recognised as what they are", () => {
    for (const [name, row] of rows) {
      const key = name as keyof typeof vendorIds;
      if (row.sent === undefined) expect(() => vendorIdBytes(key)).toThrow(RangeError);
      else expect(vendorIdOf(vendorIdBytes(key))).toBe(name);
    }
    expect(Buffer.from(vendorIdBytes("DPD")).toString("hex")).toBe("afcad71368a1f1c96b8696fc77570100");
  });

  it("nothing is nobody's", () => {
    expect(vendorIdOf(new Uint8Array(0))).toBeUndefined();
  });
});
