import { defineConfig } from "vitest/config";

/** `npm run conformance`: apart from the tests, since it writes a table and needs the packages of bench/. */
export default defineConfig({
  test: {
    include: ["test/conformance/*.run.ts"],
    globalSetup: ["test/support/build.ts"],
    testTimeout: 1_800_000,
    hookTimeout: 60_000,
  },
});
