export * from "./data-plane.ts";
export { type Kernel, type KernelRoute, type KernelRule, openKernel } from "./kernel.ts";
export { type NativeCurves, nativeCurves, nativeSymmetric } from "./native.ts";
export * from "./tables.ts";
