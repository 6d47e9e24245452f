import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import { runCommand } from "../cli/support.ts";
import { hashOf, until } from "../support/key-parts.ts";
import { describeRedis, startRedis, startShim } from "../support/redis.ts";
import { FAULTS, seedRecords } from "../support/redis-faults.ts";

const configFor = (url: string) =>
  stringify({
    keys: { source: { type: "redis" } },
    redis: { url, commandTimeout: "400ms" },
    upstreams: [{ name: "ok", targets: ["http://127.0.0.1:1"] }],
    routes: [{ name: "all", match: { pathPrefix: "/" }, upstream: "ok" }],
  });

/** Faults in which Redis takes writes all the same. */
const WRITABLE = ["slow", "cut into single bytes"];

describeRedis("keys import", () => {
  it.each(["SIGINT", "SIGTERM"] as const)("takes back what it wrote when it is told to end by %s", async (signal) => {
    const redis = await startRedis();
    const shim = await startShim(redis.port);
    const folder = mkdtempSync(join(tmpdir(), "sentinel-import-"));
    try {
      writeFileSync(join(folder, "sentinel.yaml"), configFor(shim.url));
      const keys = Array.from({ length: 4000 }, (_, index) => ({ id: `key_${index}`, hash: hashOf(`${index}`) }));
      writeFileSync(
        join(folder, "keys.yaml"),
        stringify({ roles: [{ name: "reader", permissions: ["a.b.c"] }], keys }),
      );
      shim.set({ kind: "latency", ms: 40 });
      const args = ["keys", "import", join(folder, "keys.yaml"), "-c", join(folder, "sentinel.yaml")];
      const child = spawn(process.execPath, ["dist/sentinel.js", ...args]);
      const said = { out: "", err: "" };
      child.stdout.on("data", (text: Buffer) => {
        said.out += text;
      });
      child.stderr.on("data", (text: Buffer) => {
        said.err += text;
      });
      const end = once(child, "close");
      await until("it writes", async () => Number(await redis.run("DBSIZE")) > 1000, 20_000);
      child.kill(signal);
      expect(await end).toEqual([3, null]);
      expect(said).toEqual({ out: "", err: "The import failed (it was told to end); nothing was changed.\n" });
      expect(await redis.run("DBSIZE")).toBe("0");
    } finally {
      await shim.close();
      await redis.close();
      rmSync(folder, { recursive: true });
    }
  });
});

/** The column "changing keys" of docs/operations.md, each cell by the command itself. */
describeRedis.concurrent("keys create", () => {
  it.each(FAULTS.map((fault) => [fault.name, fault] as const))("while Redis is %s", async (name, fault) => {
    const redis = await startRedis();
    const shim = await startShim(redis.port);
    const folder = mkdtempSync(join(tmpdir(), "sentinel-commands-"));
    const file = join(folder, "sentinel.yaml");
    writeFileSync(file, configFor(shim.url));
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
