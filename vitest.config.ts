import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // No `include` here: a project's own would be added to it, and every file would run twice.
    projects: [
      {
        extends: true,
        test: {
          name: "pure",
          include: ["test/*.test.ts", "test/{unit,vectors,sim,property,fuzz}/**/*.test.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "kernel",
          include: ["test/{addon,netns}/**/*.test.ts"],
          // Namespaces, TUN devices and two cores: what touches the kernel goes alone, and after the rest.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
    testTimeout: 30_000,
  },
});
