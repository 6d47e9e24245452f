import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { bundle } from "./support.ts";

async function run(crash: string, drain = "async () => { console.error('drained'); }") {
  const program = `
    import { exitOnCrash } from "./src/telemetry/crash.ts";
    import { createTelemetry } from "./src/telemetry/telemetry.ts";
    const telemetry = createTelemetry({
      log: { level: "info", format: "json", sampleSuccess: 1 },
      keyPrefix: "unkey_",
      metrics: { routes: [], upstreams: [], tiers: [], redis: false, version: "1" },
    });
    exitOnCrash({ log: telemetry.log, redact: telemetry.redact, drain: ${drain}, flush: () => telemetry.close() });
    setInterval(() => {}, 1000);
    ${crash}
  `;
  const child = spawn(process.execPath, [bundle(program)], { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve) => child.once("exit", resolve)),
  ]);
  const lines = stdout.trimEnd().split("\n");
  return { code, stderr, stdout, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe("exitOnCrash", () => {
  it("logs an exception on one redacted line, drains, and ends with 1", async () => {
    const run1 = await run('setTimeout(() => { throw new Error("bad unkey_3ZZ7faUrXbVDnxvhGyCPLm"); });');
    expect(run1.code).toBe(1);
    expect(run1.stderr).toBe("drained\n");
    expect(run1.lines).toHaveLength(1);
    expect(run1.lines[0]).toMatchObject({
      level: 60,
      event: "uncaught_exception",
      error: "Error: bad [redacted]",
      stack: expect.stringContaining("at "),
    });
    expect(run1.stdout).not.toContain("3ZZ7faUr");
  });

  it("treats a rejection nobody handles alike, whatever was rejected", async () => {
    const run1 = await run('Promise.reject({ authorization: "Bearer unkey_3ZZ7faUrXbVDnxvhGyCPLm" });');
    expect(run1.code).toBe(1);
    expect(run1.lines).toMatchObject([{ event: "unhandled_rejection", error: "threw object", stack: null }]);
    expect(run1.stdout).not.toContain("3ZZ7faUr");
  });

  it("ends with 1 also when draining fails, and logs what crashes meanwhile without draining again", async () => {
    const drain = `async () => {
      console.error("drained");
      setTimeout(() => { throw new Error("second"); });
      await new Promise((resolve) => setTimeout(resolve, 50));
      throw new Error("no drain");
    }`;
    const { code, stderr, lines } = await run('setTimeout(() => { throw new Error("first"); });', drain);
    expect(code).toBe(1);
    expect(stderr).toBe("drained\n");
    expect(lines.map((line) => line.error)).toEqual(["Error: first", "Error: second", "Error: no drain"]);
  });
});
