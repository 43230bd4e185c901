export * from "./algorithms.ts";
export * from "./ikev2.ts";
export * from "./notify.ts";
export * from "./proposal.ts";
export * from "./registry.ts";
export * from "./suite.ts";
export * from "./transforms.ts";
