import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import { runCommand } from "../cli/support.ts";
import { describeRedis, startRedis, startShim } from "../support/redis.ts";
import { FAULTS, seedRecords } from "../support/redis-faults.ts";

/** Faults in which Redis takes writes all the same. */
const WRITABLE = ["slow", "cut into single bytes"];

/** The column "changing keys" of docs/operations.md, each cell by the command itself. */
describeRedis.concurrent("keys create", () => {
  it.each(FAULTS.map((fault) => [fault.name, fault] as const))("while Redis is %s", async (name, fault) => {
    const redis = await startRedis();
    const shim = await startShim(redis.port);
    const folder = mkdtempSync(join(tmpdir(), "sentinel-commands-"));
    const file = join(folder, "sentinel.yaml");
    writeFileSync(
      file,
      stringify({
        keys: { source: { type: "redis" } },
        redis: { url: shim.url, commandTimeout: "400ms" },
        upstreams: [{ name: "ok", targets: ["http://127.0.0.1:1"] }],
        routes: [{ name: "all", match: { pathPrefix: "/" }, upstream: "ok" }],
      }),
    );
    try {
      await seedRecords(redis);
      const before = Number(await redis.run("DBSIZE"));
      await fault.inject(redis, shim);
      const { status, out, err } = await runCommand(["keys", "create", "-c", file, "--json"]);
      await fault.heal(redis, shim);
      if (WRITABLE.includes(name)) {
        expect({ status, err }).toEqual({ status: 0, err: "" });
        expect(JSON.parse(out)).toMatchObject({ keyId: expect.stringMatching(/^key_/) });
      } else if (name === "no permission to read") {
        // A new key is written, not read: nothing is in its way.
        expect(status).toBe(0);
      } else {
        expect({ status, out }).toEqual({ status: 3, out: "" });
        expect(err).toMatch(/nothing was changed\.\n$/);
        expect(Number(await redis.run("DBSIZE"))).toBe(before);
      }
    } finally {
      redis.thaw();
      await shim.close();
      await redis.close();
      rmSync(folder, { recursive: true });
    }
  });
});
