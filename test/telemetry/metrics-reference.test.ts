import { resolve } from "node:path";
import { expect, it } from "vitest";
import { formatMetricsReference } from "../../src/telemetry/metrics-reference.ts";

it("docs/metrics.md is what the declarations make of it (npm run generate)", async () => {
  await expect(formatMetricsReference()).toMatchFileSnapshot(resolve("docs/metrics.md"));
});
