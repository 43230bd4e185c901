/** Numbers of IKEv1: ISAKMP messages and payloads (RFC 2408), IKE (RFC 2409) and the IPsec DOI (RFC 2407). */
import { registry } from "./registry.ts";

export const IsakmpExchangeType = registry("IsakmpExchangeType", "RFC 2408 §3.1", {
  BASE: 1,
  IDENTITY_PROTECTION: 2, // main mode
  AUTHENTICATION_ONLY: 3,
  AGGRESSIVE: 4,
  INFORMATIONAL: 5,
  TRANSACTION: 6, // mode configuration and XAUTH
  QUICK_MODE: 32, // RFC 2409
  NEW_GROUP_MODE: 33,
});

export const IsakmpPayloadType = registry("IsakmpPayloadType", "RFC 2408 §3.1", {
  NONE: 0,
  SA: 1,
  P: 2,
  T: 3,
  KE: 4,
  ID: 5,
  CERT: 6,
  CR: 7,
  HASH: 8,
  SIG: 9,
  NONCE: 10,
  N: 11,
  D: 12,
  VID: 13,
  ATTRIBUTES: 14, // mode configuration
  SAK: 15, // RFC 3547
  SAT: 16,
  KD: 17,
  SEQ: 18,
  POP: 19,
  "NAT-D": 20, // RFC 3947
  "NAT-OA": 21, // RFC 3947
  "NAT-D (draft)": 130, // draft-ietf-ipsec-nat-t-ike-02 and -03
  "NAT-OA (draft)": 131,
  FRAGMENT: 132, // [MS-IKEE] §2.2.3.1
});

export const IsakmpDoi = registry("IsakmpDoi", "RFC 2407 §4.1", { ISAKMP: 0, IPSEC: 1 });

/** The situation that everybody means (RFC 2407 §4.2). The other bits put labels into the SA payload. */
export const SIT_IDENTITY_ONLY = 1;

export const IsakmpProtocol = registry("IsakmpProtocol", "RFC 2407 §4.4.1", {
  PROTO_ISAKMP: 1,
  PROTO_IPSEC_AH: 2,
  PROTO_IPSEC_ESP: 3,
  PROTO_IPCOMP: 4,
});

/** The only transform of PROTO_ISAKMP (RFC 2407 §4.4.2). */
export const KEY_IKE = 1;

/** ESP transforms (RFC 2407 §4.4.4 and the IANA registry). */
export const EspTransform = registry("EspTransform", "RFC 2407 §4.4.4", {
  ESP_DES_IV64: 1,
  ESP_DES: 2,
  ESP_3DES: 3,
  ESP_RC5: 4,
  ESP_IDEA: 5,
  ESP_CAST: 6,
  ESP_BLOWFISH: 7,
  ESP_3IDEA: 8,
  ESP_DES_IV32: 9,
  ESP_RC4: 10,
  ESP_NULL: 11,
  ESP_AES_CBC: 12, // RFC 3602
  ESP_AES_CTR: 13, // RFC 3686
  ESP_AES_CCM_8: 14, // RFC 4309
  ESP_AES_CCM_12: 15,
  ESP_AES_CCM_16: 16,
  ESP_AES_GCM_8: 18, // RFC 4106
  ESP_AES_GCM_12: 19,
  ESP_AES_GCM_16: 20,
  ESP_SEED: 21, // RFC 4196
  ESP_CAMELLIA: 22, // RFC 4312
  ESP_NULL_AUTH_AES_GMAC: 23, // RFC 4543
});

/** Attributes of a phase 1 transform. */
export const Phase1Attribute = registry("Phase1Attribute", "RFC 2409 appendix A", {
  ENCRYPTION_ALGORITHM: 1,
  HASH_ALGORITHM: 2,
  AUTHENTICATION_METHOD: 3,
  GROUP_DESCRIPTION: 4,
  GROUP_TYPE: 5,
  GROUP_PRIME: 6,
  GROUP_GENERATOR_ONE: 7,
  GROUP_GENERATOR_TWO: 8,
  GROUP_CURVE_A: 9,
  GROUP_CURVE_B: 10,
  LIFE_TYPE: 11,
  LIFE_DURATION: 12,
  PRF: 13,
  KEY_LENGTH: 14,
  FIELD_SIZE: 15,
  GROUP_ORDER: 16,
});

export const Phase1Encryption = registry("Phase1Encryption", "RFC 2409 appendix A", {
  DES_CBC: 1,
  IDEA_CBC: 2,
  BLOWFISH_CBC: 3,
  RC5_R16_B64_CBC: 4,
  "3DES_CBC": 5,
  CAST_CBC: 6,
  AES_CBC: 7, // RFC 3602
  CAMELLIA_CBC: 8, // RFC 4312
});

export const Phase1Hash = registry("Phase1Hash", "RFC 2409 appendix A", {
  MD5: 1,
  SHA: 2,
  TIGER: 3,
  SHA2_256: 4, // RFC 4868
  SHA2_384: 5,
  SHA2_512: 6,
});

export const Phase1Authentication = registry("Phase1Authentication", "RFC 2409 appendix A", {
  PRE_SHARED_KEY: 1,
  DSS_SIGNATURES: 2,
  RSA_SIGNATURES: 3,
  RSA_ENCRYPTION: 4,
  RSA_REVISED_ENCRYPTION: 5,
  ECDSA_SHA256_P256: 9, // RFC 4754
  ECDSA_SHA384_P384: 10,
  ECDSA_SHA512_P521: 11,
  HYBRID_INIT_RSA: 64221,
  HYBRID_RESP_RSA: 64222,
  XAUTH_INIT_PRE_SHARED: 65001,
  XAUTH_RESP_PRE_SHARED: 65002,
  XAUTH_INIT_RSA: 65005,
  XAUTH_RESP_RSA: 65006,
});

/** What an SA's duration counts, in phase 1 as in phase 2 (RFC 2409 appendix A, RFC 2407 §4.5). Kilobytes: of 1024. */
export const IsakmpLifeType = registry("IsakmpLifeType", "RFC 2407 §4.5", { SECONDS: 1, KILOBYTES: 2 });

/** RFC 2407 §4.5: what an SA lives when no lifetime is named. */
export const DEFAULT_SA_LIFE_SECONDS = 28_800;

/** Attributes of a phase 2 transform. */
export const IpsecAttribute = registry("IpsecAttribute", "RFC 2407 §4.5", {
  SA_LIFE_TYPE: 1,
  SA_LIFE_DURATION: 2,
  GROUP_DESCRIPTION: 3,
  ENCAPSULATION_MODE: 4,
  AUTHENTICATION_ALGORITHM: 5,
  KEY_LENGTH: 6,
  KEY_ROUNDS: 7,
  COMPRESS_DICTIONARY_SIZE: 8,
  COMPRESS_PRIVATE_ALGORITHM: 9,
  ECN_TUNNEL: 10, // RFC 3168
  EXTENDED_SEQUENCE_NUMBER: 11, // RFC 4304
  AUTH_KEY_LENGTH: 12, // RFC 4359
  SIGNATURE_ENCODING_ALGORITHM: 13,
});

/** RFC 4304 §2: the value of EXTENDED_SEQUENCE_NUMBER with 64-bit sequence numbers. */
export const ESN_64_BIT = 1;

export const EncapsulationMode = registry("EncapsulationMode", "RFC 2407 §4.5", {
  TUNNEL: 1,
  TRANSPORT: 2,
  UDP_ENCAPSULATED_TUNNEL: 3, // RFC 3947 §5.1
  UDP_ENCAPSULATED_TRANSPORT: 4,
  "UDP_ENCAPSULATED_TUNNEL (draft)": 61443,
  "UDP_ENCAPSULATED_TRANSPORT (draft)": 61444,
});

export const IpsecAuthentication = registry("IpsecAuthentication", "RFC 2407 §4.5", {
  HMAC_MD5: 1,
  HMAC_SHA: 2,
  DES_MAC: 3,
  KPDK: 4,
  HMAC_SHA2_256: 5, // RFC 4868
  HMAC_SHA2_384: 6,
  HMAC_SHA2_512: 7,
  HMAC_RIPEMD: 8,
  AES_XCBC_MAC: 9,
  SIG_RSA: 10,
  AES_128_GMAC: 11, // RFC 4543
  AES_192_GMAC: 12,
  AES_256_GMAC: 13,
});

export const IsakmpIdType = registry("IsakmpIdType", "RFC 2407 §4.6.2.1", {
  ID_IPV4_ADDR: 1,
  ID_FQDN: 2,
  ID_USER_FQDN: 3,
  ID_IPV4_ADDR_SUBNET: 4,
  ID_IPV6_ADDR: 5,
  ID_IPV6_ADDR_SUBNET: 6,
  ID_IPV4_ADDR_RANGE: 7,
  ID_IPV6_ADDR_RANGE: 8,
  ID_DER_ASN1_DN: 9,
  ID_DER_ASN1_GN: 10,
  ID_KEY_ID: 11,
  ID_LIST: 12, // RFC 3554
});

export const IsakmpNotifyType = registry("IsakmpNotifyType", "RFC 2408 §3.14.1", {
  // Errors: 1 to 16383, and the private ones from 8192.
  INVALID_PAYLOAD_TYPE: 1,
  DOI_NOT_SUPPORTED: 2,
  SITUATION_NOT_SUPPORTED: 3,
  INVALID_COOKIE: 4,
  INVALID_MAJOR_VERSION: 5,
  INVALID_MINOR_VERSION: 6,
  INVALID_EXCHANGE_TYPE: 7,
  INVALID_FLAGS: 8,
  INVALID_MESSAGE_ID: 9,
  INVALID_PROTOCOL_ID: 10,
  INVALID_SPI: 11,
  INVALID_TRANSFORM_ID: 12,
  ATTRIBUTES_NOT_SUPPORTED: 13,
  NO_PROPOSAL_CHOSEN: 14,
  BAD_PROPOSAL_SYNTAX: 15,
  PAYLOAD_MALFORMED: 16,
  INVALID_KEY_INFORMATION: 17,
  INVALID_ID_INFORMATION: 18,
  INVALID_CERT_ENCODING: 19,
  INVALID_CERTIFICATE: 20,
  CERT_TYPE_UNSUPPORTED: 21,
  INVALID_CERT_AUTHORITY: 22,
  INVALID_HASH_INFORMATION: 23,
  AUTHENTICATION_FAILED: 24,
  INVALID_SIGNATURE: 25,
  ADDRESS_NOTIFICATION: 26,
  NOTIFY_SA_LIFETIME: 27,
  CERTIFICATE_UNAVAILABLE: 28,
  UNSUPPORTED_EXCHANGE_TYPE: 29,
  UNEQUAL_PAYLOAD_LENGTHS: 30,
  // Status: 16384 to 65535.
  CONNECTED: 16384,
  RESPONDER_LIFETIME: 24576, // RFC 2407 §4.6.3
  REPLAY_STATUS: 24577,
  INITIAL_CONTACT: 24578,
  R_U_THERE: 36136, // RFC 3706
  R_U_THERE_ACK: 36137,
  UNITY_LOAD_BALANCE: 40501,
});

/** RFC 2408 §3.14.1: types below 16384 report errors, the others status. */
export const isIsakmpErrorNotify = (type: number): boolean => type < 16384;
