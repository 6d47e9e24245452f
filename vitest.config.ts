import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/build.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    coverage: {
      provider: "v8",
      include: ["src/permissions/**", "src/routes/**", "src/keys/**", "src/faults/**"],
      thresholds: { branches: 95 },
    },
  },
});
