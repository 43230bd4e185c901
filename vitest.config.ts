import { defineConfig } from "vitest/config";

/** They load the machine, or count what a loaded one would lose. */
const alone = [
  "test/addon/**/*.test.ts",
  ...["demo", "flood", "flood-ike", "hostile-path", "never-stops", "scapy", "tunnel"].map(
    (name) => `test/netns/${name}.test.ts`,
  ),
];

/** Namespaces, TUN devices and two cores: what touches the kernel goes after the rest, and may take its time. */
const patient = { testTimeout: 120_000, hookTimeout: 120_000 };

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
          include: ["test/netns/**/*.test.ts"],
          exclude: alone,
          // They wait for peers and timers most of the time: two of them leave both cores idle enough for the other.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          ...patient,
        },
      },
      {
        extends: true,
        test: {
          name: "kernel-alone",
          include: alone,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          ...patient,
        },
      },
    ],
    testTimeout: 30_000,
  },
});
