import { type DhRow, everywhere } from "./algorithm-row.ts";
import { DhGroup } from "./transforms.ts";

const DH = DhGroup.code;

const shortModp = "the discrete logarithm is within reach of a rich attacker (RFC 8247)";
const group = { ike: true, esp: true, implemented: everywhere } as const;
const modp = (bits: number) =>
  ({ kind: "modp", publicBytes: bits / 8, sharedSecretBytes: bits / 8 }) as const;
// RFC 5903 §7: the public value is x | y, the shared secret is x alone.
const ecp = (bytes: number) => ({ kind: "ecp", publicBytes: 2 * bytes, sharedSecretBytes: bytes }) as const;

export const dh = {
  CURVE25519: {
    ...group,
    id: DH.CURVE25519,
    rfc: "RFC 8031",
    kind: "x25519",
    publicBytes: 32,
    sharedSecretBytes: 32,
    strengthBits: 128,
    keywords: ["x25519"],
    synonyms: ["curve25519", "group31"],
    weak: undefined,
  },
  ECP_256: {
    ...group,
    ...ecp(32),
    id: DH.ECP_256,
    rfc: "RFC 5903",
    strengthBits: 128,
    keywords: ["ecp256"],
    synonyms: ["group19"],
    weak: undefined,
  },
  ECP_384: {
    ...group,
    ...ecp(48),
    id: DH.ECP_384,
    rfc: "RFC 5903",
    strengthBits: 192,
    keywords: ["ecp384"],
    synonyms: ["group20"],
    weak: undefined,
  },
  ECP_521: {
    ...group,
    ...ecp(66),
    id: DH.ECP_521,
    rfc: "RFC 5903",
    strengthBits: 256,
    keywords: ["ecp521"],
    synonyms: ["group21"],
    weak: undefined,
  },
  MODP_4096: {
    ...group,
    ...modp(4096),
    id: DH.MODP_4096,
    rfc: "RFC 3526",
    strengthBits: 150,
    keywords: ["modp4096"],
    synonyms: ["group16"],
    weak: undefined,
  },
  MODP_3072: {
    ...group,
    ...modp(3072),
    id: DH.MODP_3072,
    rfc: "RFC 3526",
    strengthBits: 130,
    keywords: ["modp3072"],
    synonyms: ["group15"],
    weak: undefined,
  },
  MODP_2048: {
    ...group,
    ...modp(2048),
    id: DH.MODP_2048,
    rfc: "RFC 3526",
    strengthBits: 110,
    keywords: ["modp2048"],
    synonyms: ["group14"],
    weak: undefined,
  },
  MODP_2048_256: {
    ...group,
    ...modp(2048),
    id: DH.MODP_2048_256,
    rfc: "RFC 5114",
    strengthBits: 110,
    keywords: ["modp2048s256"],
    synonyms: ["group24"],
    weak: "where its prime came from is unexplained (RFC 8247)",
  },
  MODP_1536: {
    ...group,
    ...modp(1536),
    id: DH.MODP_1536,
    rfc: "RFC 3526",
    strengthBits: 90,
    keywords: ["modp1536"],
    synonyms: ["group5"],
    weak: shortModp,
  },
  MODP_1024: {
    ...group,
    ...modp(1024),
    id: DH.MODP_1024,
    rfc: "RFC 2409",
    strengthBits: 80,
    keywords: ["modp1024"],
    synonyms: ["group2"],
    weak: shortModp,
  },
  MODP_768: {
    ...group,
    ...modp(768),
    id: DH.MODP_768,
    rfc: "RFC 2409",
    strengthBits: 66,
    keywords: ["modp768"],
    synonyms: ["group1"],
    weak: shortModp,
  },
} as const satisfies Record<string, DhRow>;
