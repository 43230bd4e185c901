import { type KemRow, nowhere } from "./algorithm-row.ts";
import { DhGroup } from "./transforms.ts";

/** Key encapsulation mechanisms: used beside a DH group, as an additional key exchange (RFC 9370). */
export const kem = {
  ML_KEM_768: {
    id: DhGroup.code.ML_KEM_768,
    rfc: "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem",
    encapsulationKeyBytes: 1184,
    ciphertextBytes: 1088,
    sharedSecretBytes: 32,
    strengthBits: 192,
    keywords: ["mlkem768"],
    synonyms: [],
    weak: undefined,
    ike: true,
    esp: true,
    implemented: nowhere,
  },
} as const satisfies Record<string, KemRow>;
