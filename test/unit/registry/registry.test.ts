import { describe, expect, it } from "vitest";
import * as registries from "../../../src/registry/index.ts";
import { dh, encr, integ, kem, prf } from "../../../src/registry/index.ts";

const { DhGroup, ExchangeType, NotifyType, PayloadType } = registries;

describe("registry", () => {
  it("names known numbers and keeps unknown ones readable", () => {
    expect(ExchangeType.code.IKE_AUTH).toBe(35);
    expect(ExchangeType.nameOf(35)).toBe("IKE_AUTH");
    expect(ExchangeType.nameOf(99)).toBe("ExchangeType(99)");
    expect(NotifyType.nameOf(40999)).toBe("NotifyType(40999)");
    expect(NotifyType.has(16388)).toBe(true);
    expect(NotifyType.has(16383)).toBe(false);
  });

  it("gives each number one name", () => {
    const all = Object.values(registries).filter(
      (r): r is typeof ExchangeType => typeof r === "object" && "nameOf" in r,
    );
    expect(all.length).toBeGreaterThanOrEqual(13);
    for (const { name, code } of all) {
      const numbers = Object.values(code);
      expect([name, new Set(numbers).size]).toEqual([name, numbers.length]);
    }
  });

  it("has the numbers of RFC 7296 §3.2 in the order of that table", () => {
    const table = "SA KE IDi IDr CERT CERTREQ AUTH Nonce N D V TSi TSr SK CP EAP".split(" ");
    for (const [i, kind] of table.entries()) expect(PayloadType.nameOf(33 + i)).toBe(kind);
    expect(NotifyType.code.IKEV2_FRAGMENTATION_SUPPORTED).toBe(16430);
    expect(NotifyType.code.SIGNATURE_HASH_ALGORITHMS).toBe(16431);
    expect(NotifyType.code.ADDITIONAL_KEY_EXCHANGE).toBe(16441);
    expect(DhGroup.nameOf(36)).toBe("ML_KEM_768");
    // RFC 9242, RFC 9370.
    expect(ExchangeType.nameOf(43)).toBe("IKE_INTERMEDIATE");
    expect(NotifyType.code.INTERMEDIATE_EXCHANGE_SUPPORTED).toBe(16438);
    expect([6, 12].map(registries.TransformType.nameOf)).toEqual(["ADDKE1", "ADDKE7"]);
  });

  it("sorts notifications at 16384", () => {
    expect(registries.isErrorNotify(NotifyType.code.CHILD_SA_NOT_FOUND)).toBe(true);
    expect(registries.isErrorNotify(16383)).toBe(true);
    expect(registries.isErrorNotify(NotifyType.code.INITIAL_CONTACT)).toBe(false);
  });
});

describe("algorithm rows", () => {
  it("are named as the IANA registry names their number", () => {
    for (const [name, row] of Object.entries(encr))
      expect(registries.EncryptionAlgorithm.nameOf(row.id)).toBe(name);
    for (const [name, row] of Object.entries(integ))
      expect(registries.IntegrityAlgorithm.nameOf(row.id)).toBe(name);
    for (const [name, row] of Object.entries(prf)) expect(registries.PRF.nameOf(row.id)).toBe(name);
    for (const [name, row] of Object.entries({ ...dh, ...kem })) expect(DhGroup.nameOf(row.id)).toBe(name);
  });

  it("never claim to run where the specifications do not allow them", () => {
    for (const row of [encr, integ, prf, dh, kem].flatMap((rows) =>
      Object.values<registries.DhRow | registries.PrfRow>(rows as never),
    )) {
      if (row.implemented.ike) expect(row.ike).toBe(true);
      if (row.implemented.esp) expect(row.esp).toBe(true);
    }
  });

  it("know the key length of a transform, with and without its attribute", () => {
    const { encrKeyBits } = registries;
    expect(encrKeyBits(encr.ENCR_AES_GCM_16, 256)).toBe(256);
    expect(encrKeyBits(encr.ENCR_3DES, undefined)).toBe(192);
    expect(() => encrKeyBits(encr.ENCR_AES_CBC, undefined)).toThrow(RangeError);
    expect(() => encrKeyBits(encr.ENCR_AES_CBC, 512)).toThrow(RangeError);
    // RFC 7296 §3.3.5: the attribute must not be used with a fixed-length key.
    expect(() => encrKeyBits(encr.ENCR_3DES, 192)).toThrow(RangeError);
  });
});
