import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/build.ts"],
    // Most of what the tests do is wait for sockets and processes: more of them at once than there are cores.
    maxWorkers: 4,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    coverage: {
      provider: "v8",
      include: ["src/permissions/**", "src/routes/**", "src/keys/**", "src/faults/**"],
      thresholds: { branches: 95 },
    },
  },
});
