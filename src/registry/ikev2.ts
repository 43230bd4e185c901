/** Numbers of IKEv2 messages and payloads (IANA "IKEv2 Parameters"), except transforms and notifications. */
import { registry } from "./registry.ts";

export const ExchangeType = registry("ExchangeType", "RFC 7296 §3.1", {
  IKE_SA_INIT: 34,
  IKE_AUTH: 35,
  CREATE_CHILD_SA: 36,
  INFORMATIONAL: 37,
  IKE_SESSION_RESUME: 38, // RFC 5723
  IKE_INTERMEDIATE: 43, // RFC 9242
  IKE_FOLLOWUP_KE: 44, // RFC 9370
});

export const PayloadType = registry("PayloadType", "RFC 7296 §3.2", {
  NONE: 0,
  SA: 33,
  KE: 34,
  IDi: 35,
  IDr: 36,
  CERT: 37,
  CERTREQ: 38,
  AUTH: 39,
  Nonce: 40,
  N: 41,
  D: 42,
  V: 43,
  TSi: 44,
  TSr: 45,
  SK: 46,
  CP: 47,
  EAP: 48,
  GSPM: 49, // RFC 6467
  SKF: 53, // RFC 7383
  PS: 54, // RFC 8019
});

export const ProtocolId = registry("ProtocolId", "RFC 7296 §3.3.1", { NONE: 0, IKE: 1, AH: 2, ESP: 3 });

export const IdType = registry("IdType", "RFC 7296 §3.5", {
  ID_IPV4_ADDR: 1,
  ID_FQDN: 2,
  ID_RFC822_ADDR: 3,
  ID_IPV6_ADDR: 5,
  ID_DER_ASN1_DN: 9,
  ID_DER_ASN1_GN: 10,
  ID_KEY_ID: 11,
  ID_FC_NAME: 12, // RFC 4595
  ID_NULL: 13, // RFC 7619
});

export const AuthMethod = registry("AuthMethod", "RFC 7296 §3.8", {
  RSA_DIGITAL_SIGNATURE: 1,
  SHARED_KEY_MIC: 2,
  DSS_DIGITAL_SIGNATURE: 3,
  ECDSA_SHA256_P256: 9, // RFC 4754
  ECDSA_SHA384_P384: 10,
  ECDSA_SHA512_P521: 11,
  GSPM: 12, // RFC 6467
  NULL: 13, // RFC 7619
  DIGITAL_SIGNATURE: 14, // RFC 7427
});

export const TsType = registry("TsType", "RFC 7296 §3.13.1", {
  TS_IPV4_ADDR_RANGE: 7,
  TS_IPV6_ADDR_RANGE: 8,
  TS_FC_ADDR_RANGE: 9, // RFC 4595
  TS_SECLABEL: 10, // RFC 9478
});

export const CfgType = registry("CfgType", "RFC 7296 §3.15", {
  CFG_REQUEST: 1,
  CFG_REPLY: 2,
  CFG_SET: 3,
  CFG_ACK: 4,
});

export const CertEncoding = registry("CertEncoding", "RFC 7296 §3.6", {
  PKCS7_WRAPPED_X509: 1,
  PGP: 2,
  DNS_SIGNED_KEY: 3,
  X509_SIGNATURE: 4,
  KERBEROS_TOKEN: 6,
  CRL: 7,
  ARL: 8,
  SPKI: 9,
  X509_ATTRIBUTE: 10,
  RAW_RSA_KEY: 11,
  HASH_AND_URL_X509: 12,
  HASH_AND_URL_BUNDLE: 13,
  OCSP_CONTENT: 14, // RFC 4806
  RAW_PUBLIC_KEY: 15, // RFC 7670
});
