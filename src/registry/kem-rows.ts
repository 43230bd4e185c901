import { everywhere, type KemRow } from "./algorithm-row.ts";
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
    implemented: everywhere,
  },
  ML_KEM_1024: {
    id: DhGroup.code.ML_KEM_1024,
    rfc: "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem",
    encapsulationKeyBytes: 1568,
    ciphertextBytes: 1568,
    sharedSecretBytes: 32,
    strengthBits: 256,
    keywords: ["mlkem1024"],
    synonyms: [],
    weak: undefined,
    ike: true,
    esp: true,
    implemented: everywhere,
  },
  ML_KEM_512: {
    id: DhGroup.code.ML_KEM_512,
    rfc: "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem",
    encapsulationKeyBytes: 800,
    ciphertextBytes: 768,
    sharedSecretBytes: 32,
    strengthBits: 128,
    keywords: ["mlkem512"],
    synonyms: [],
    weak: undefined,
    ike: true,
    esp: true,
    implemented: everywhere,
  },
} as const satisfies Record<string, KemRow>;
