export type {
  AlgorithmRow,
  DhRow,
  EncryptionRow,
  HashName,
  IntegrityRow,
  KemRow,
  KeywordRow,
  PrfRow,
} from "./algorithm-row.ts";
export * from "./algorithms.ts";
export { dh } from "./dh-rows.ts";
export { encr } from "./encryption-rows.ts";
export { integ, prf } from "./hmac-rows.ts";
export * from "./ikev1.ts";
export * from "./ikev1-algorithms.ts";
export * from "./ikev1-vendor-ids.ts";
export * from "./ikev2.ts";
export { innerMtu } from "./inner-mtu.ts";
export { kem } from "./kem-rows.ts";
export * from "./notify.ts";
export * from "./proposal.ts";
export * from "./registry.ts";
export * from "./suite.ts";
export * from "./transforms.ts";
