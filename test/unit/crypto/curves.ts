/** What every arithmetic on the curves has to compute and to refuse: the RFCs' examples and Wycheproof. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PeerMisbehaved } from "../../../src/core/errors.ts";
import { type CurveArithmetic, generateKeyPair, keyPairFromPrivate } from "../../../src/crypto/index.ts";
import { type DhRow, dh } from "../../../src/registry/index.ts";
import { hex, toHex, wycheproof } from "./wycheproof.ts";

const rows: readonly DhRow[] = Object.values(dh);

/** Of node:crypto's where no arithmetic is given. */
export function describeCurves(title: string, arithmetic?: CurveArithmetic): void {
  const generate = (group: number) => generateKeyPair(group, arithmetic);
  const fromPrivate = (group: number, key: Uint8Array) => keyPairFromPrivate(group, key, arithmetic);

  describe(`ECP groups (RFC 5903), ${title}`, () => {
    it.each([
      [
        19,
        "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
        `DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180
         5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3`,
        "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        `D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63
         56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB`,
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
      ],
      [
        20,
        `099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655
         E35B538041E649EE3FAEF896783AB194`,
        `667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6
         DE3AC808ACB4BDB4C88732AEE95F41AA
         9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38E
         EB9FCFF3C2C947DAE69B4C634573A81C`,
        `41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942
         E0308312916B8ED2960E4BD55A7448FC`,
        `E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D
         0D1AC43A0336DEF96FDA41D0774A3571
         DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FF
         F83FA40142209DFF5EAAD96DB9E6386C`,
        `11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4
         D603135569B9E9D09CF5D4A270F59746`,
      ],
      [
        21,
        `0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A0
         95AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D
         4A52`,
        `0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBE
         E1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176C
         ED3E
         017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10A
         D8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F
         9582`,
        `0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E
         9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB15168
         5EB9`,
        `00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A21
         9B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9
         460F
         015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87
         220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0F
         C56A`,
        `01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04
         D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3
         DDEA`,
      ],
    ])("group %d agrees with §8's example", (group, i, gi, r, gr, girx) => {
      const initiator = fromPrivate(group, hex(i));
      const responder = fromPrivate(group, hex(r));
      expect(toHex(initiator.publicValue)).toBe(toHex(hex(gi)));
      expect(toHex(responder.publicValue)).toBe(toHex(hex(gr)));
      expect(toHex(initiator.computeSharedSecret(hex(gr)).reveal())).toBe(toHex(hex(girx)));
      expect(toHex(responder.computeSharedSecret(hex(gi)).reveal())).toBe(toHex(hex(girx)));
    });

    it.each([
      [19, "ecdh_secp256r1_ecpoint"],
      [20, "ecdh_secp384r1_ecpoint"],
      [21, "ecdh_secp521r1_ecpoint"],
    ])("group %d agrees with Wycheproof's %s, invalid curve attacks included", (group, file) => {
      const bytes = rows.find((row) => row.id === group)!.publicBytes;
      let computed = 0;
      for (const test of wycheproof<{ public: string; private: string; shared: string }>(file).flatMap(
        (g) => g.tests,
      )) {
        const point = hex(test.public);
        // IKE sends x | y: compressed points and other encodings have no such form, whatever the file says of them.
        if (point[0] !== 4 || point.length !== bytes + 1) {
          expect(() => generate(group).computeSharedSecret(point.subarray(1))).toThrow(PeerMisbehaved);
          continue;
        }
        // Java writes private keys with a sign octet.
        const scalar = hex(test.private.padStart(bytes, "0").slice(-bytes));
        const pair = fromPrivate(group, scalar);
        if (test.result === "invalid") {
          expect(() => pair.computeSharedSecret(point.subarray(1))).toThrow(/not a point on the curve/);
        } else {
          expect([test.tcId, toHex(pair.computeSharedSecret(point.subarray(1)).reveal())]).toEqual([
            test.tcId,
            test.shared,
          ]);
          computed++;
        }
      }
      expect(computed).toBeGreaterThan(300);
    });

    it("refuses points that are not on the curve", () => {
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), (data) => {
          // Half of all x have a y, but hitting it by chance would be a discovery.
          expect(() => fromPrivate(19, Uint8Array.of(7)).computeSharedSecret(data)).toThrow(PeerMisbehaved);
        }),
        { numRuns: 50 },
      );
    });
  });

  describe(`Curve25519 (RFC 7748, RFC 8031), ${title}`, () => {
    it("agrees with RFC 7748 §6.1", () => {
      const bob = fromPrivate(31, hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
      expect(toHex(bob.publicValue)).toBe("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
      const alice = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
      expect(toHex(bob.computeSharedSecret(alice).reveal())).toBe(
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
      );
    });

    it("agrees with Wycheproof, and refuses every point of small order", () => {
      let refused = 0;
      for (const test of wycheproof<{ public: string; private: string; shared: string }>("x25519").flatMap(
        (g) => g.tests,
      )) {
        const pair = fromPrivate(31, hex(test.private));
        if (test.flags.includes("ZeroSharedSecret")) {
          expect(() => pair.computeSharedSecret(hex(test.public))).toThrow(/small order/);
          refused++;
        } else {
          expect([test.tcId, toHex(pair.computeSharedSecret(hex(test.public)).reveal())]).toEqual([
            test.tcId,
            test.shared,
          ]);
        }
      }
      expect(refused).toBeGreaterThan(20);
    });

    it("refuses the all-zero public value", () => {
      expect(() => generate(31).computeSharedSecret(new Uint8Array(32))).toThrow(PeerMisbehaved);
    });
  });
}
