import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { stringify } from "yaml";
import { startGateway } from "../support/gateway.ts";

/** Whoever has the address already. */
const squatter = createServer();
let taken = "";
beforeAll(async () => {
  squatter.listen(0, "127.0.0.1");
  await once(squatter, "listening");
  taken = `127.0.0.1:${(squatter.address() as { port: number }).port}`;
});
afterAll(() => squatter.close());

interface Ending {
  readonly code: number | null;
  readonly err: string;
}

async function startAndFail(config: Readonly<Record<string, unknown>>): Promise<Ending> {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-test-"));
  writeFileSync(join(folder, "keys.yaml"), "");
  const file = join(folder, "sentinel.yaml");
  const rest = {
    keys: { source: { type: "file", path: "keys.yaml" } },
    upstreams: [{ name: "orders", targets: ["http://127.0.0.1:1"] }],
    routes: [{ name: "all", upstream: "orders" }],
  };
  writeFileSync(file, stringify({ listen: "127.0.0.1:0", admin: { listen: "127.0.0.1:0" }, ...rest, ...config }));
  const child = spawn(process.execPath, [resolve("dist/sentinel.js"), "start", "-c", file]);
  onTestFinished(() => void child.kill("SIGKILL"));
  const chunks: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
  child.stdout.resume();
  // `close` comes once the workers, which hold the same stderr, are gone too.
  const [code] = (await once(child, "close")) as [number | null];
  return { code, err: chunks.join("") };
}

it.each([1, 2])(
  "an address of the clients' that is in use ends %i worker(s) with 1 and a sentence",
  async (workers) => {
    const { code, err } = await startAndFail({ workers, listen: taken });
    expect(err).toContain(`The address ${taken} is in use.\n`);
    expect(err).not.toMatch(/^ +at /m);
    expect(code).toBe(1);
  },
);

it.each([1, 2])("an admin address that is in use ends %i worker(s) with 1, and serves nobody", async (workers) => {
  const { code, err } = await startAndFail({ workers, admin: { listen: taken } });
  expect(err).toBe(`The address ${taken} is in use.\n`);
  expect(code).toBe(1);
});

it("a name that nobody knows is a sentence, without a stack", async () => {
  const { code, err } = await startAndFail({ listen: "nobody.invalid:8080" });
  expect(err).toBe("The address nobody.invalid can not be found.\n");
  expect(code).toBe(1);
});

it("a socket that can not be made is named as it was configured", async () => {
  const { code, err } = await startAndFail({ admin: { listen: "unix:/nowhere/at/all.sock" } });
  expect(err).toBe("The address unix:/nowhere/at/all.sock may not be used by this user.\n");
  expect(code).toBe(1);
});

it("a worker that can not start again is tried again until it can", async () => {
  const good = {
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0" },
    workers: 2,
    keys: { source: { type: "file", path: "keys.yaml" } },
    upstreams: [{ name: "orders", targets: ["http://127.0.0.1:1"] }],
    routes: [{ name: "all", auth: "none", upstream: "orders" }],
  };
  const gateway = await startGateway({ keyring: { keys: [] }, config: good, expectedErrors: () => true });
  onTestFinished(() => gateway.stop());
  const file = join(gateway.folder, "sentinel.yaml");
  writeFileSync(file, "routes: 1\n");
  await gateway.waitForRecord((record) => record.event === "config_refused");
  const { stdout } = spawnSync("pgrep", ["-P", String(gateway.pid)], { encoding: "utf8" });
  process.kill(Number(stdout.split("\n")[0]), "SIGKILL");
  await gateway.waitForRecord((record) => record.event === "worker_ended" && record.code === 1);
  writeFileSync(file, stringify(good));
  await gateway.waitForRecord((record) => record.event === "worker_started", 15_000);
});
