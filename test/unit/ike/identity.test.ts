import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { formatIdentity, formatIdPayload, identityMatches } from "../../../src/ike/common/identity.ts";
import type { Identity } from "../../../src/ike/common/settings.ts";
import { identityPayload } from "../../../src/ike/v2/identity.ts";

const identities: readonly [Identity, string, number][] = [
  [{ kind: "address", address: IpAddress.parse("192.0.2.1") }, "192.0.2.1", 1],
  [{ kind: "address", address: IpAddress.parse("2001:db8::1") }, "2001:db8::1", 5],
  [{ kind: "fqdn", fqdn: "hq.example" }, "hq.example", 2],
  [{ kind: "email", email: "vpn@hq.example" }, "vpn@hq.example", 3],
  [{ kind: "keyId", keyId: Uint8Array.of(0x61, 0x62) }, "keyid:ab", 11],
  [{ kind: "keyId", keyId: Uint8Array.of(0, 255) }, "keyid:0x00ff", 11],
];

describe("identities (RFC 7296 §3.5)", () => {
  it.each(identities)("%j prints as %s and has ID type %d", (identity, text, idType) => {
    const payload = identityPayload("IDi", identity);
    expect(payload.idType).toBe(idType);
    expect(formatIdentity(identity)).toBe(text);
    expect(identityMatches(identity, payload)).toBe(true);
  });

  it("match themselves only", () => {
    for (const [i, [a]] of identities.entries())
      for (const [j, [b]] of identities.entries())
        expect(identityMatches(a, identityPayload("IDr", b))).toBe(i === j);
  });

  it("compare names without case and keys with it", () => {
    const fqdn = { kind: "fqdn", fqdn: "HQ.Example" } as const;
    expect(identityMatches(fqdn, { idType: 2, data: Buffer.from("hq.eXAMPLE") })).toBe(true);
    const keyId = { kind: "keyId", keyId: Uint8Array.from(Buffer.from("Key")) } as const;
    expect(identityMatches(keyId, { idType: 11, data: Buffer.from("key") })).toBe(false);
  });

  it("print whatever a peer sends in visible ASCII of bounded length", () => {
    for (const idType of [1, 2, 3, 5, 9, 11, 13, 200]) {
      const length = idType === 1 ? 4 : idType === 5 ? 16 : 300;
      const shown = formatIdPayload({ idType, data: new Uint8Array(length).fill(27) });
      expect(shown).toMatch(/^[\x20-\x7e…]+$/);
      expect(shown.length).toBeLessThan(200);
    }
  });
});
