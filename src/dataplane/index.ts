export * from "./data-plane.ts";
export { type Kernel, type KernelRoute, type KernelRule, openKernel } from "./kernel.ts";
export * from "./tables.ts";
