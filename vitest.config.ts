import { defineConfig } from "vitest/config";

/** Load, faults and time-outs against whole processes: they want the machine for themselves, more or less. */
const UNDISTURBED = [
  "test/operations/**/*.test.ts",
  "test/wire/h-*.test.ts",
  "test/wire/fuzz.test.ts",
  "test/keys/redis-faults.test.ts",
  "test/keys/redis-failover.test.ts",
  "test/keys/revocation.test.ts",
  "test/gateway/redis-keys.test.ts",
  "test/gateway/redis-faults.test.ts",
];

export default defineConfig({
  test: {
    globalSetup: ["test/support/build.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ["default", "./test/support/second-tries.ts"],
    projects: [
      {
        extends: true,
        // Most of what these do is wait for sockets: more of them at once than there are cores.
        test: {
          name: "all",
          include: ["test/**/*.test.ts"],
          exclude: UNDISTURBED,
          maxWorkers: 4,
          // Machines that run CI are shared: what passes at the second try only is named at the end of the run.
          retry: process.env.CI === "true" ? 1 : 0,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        // A machine that hangs for a second in the wrong moment gets one more try; a defect fails twice.
        test: {
          name: "undisturbed",
          include: UNDISTURBED,
          maxWorkers: 3,
          maxConcurrency: 4,
          retry: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    coverage: {
      provider: "v8",
      include: ["src/permissions/**", "src/routes/**", "src/keys/**", "src/faults/**"],
      thresholds: { branches: 95 },
    },
  },
});
