import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Namespaces, TUN devices and two cores: files that touch the kernel must not race each other.
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
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
    testTimeout: 30_000,
  },
});
