import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { freePort } from "../support/free-port.ts";
import { describeFailures, Load, NamedUpstream } from "./load.ts";

it("a log that nobody reads holds up no request, is counted, and does not keep the gateway from ending", async () => {
  const upstream = await NamedUpstream.start("orders");
  const folder = mkdtempSync(join(tmpdir(), "blocked-log-"));
  const [port, adminPort] = [await freePort(), await freePort()];
  writeFileSync(join(folder, "keys.yaml"), "keys: []\n");
  const config = {
    listen: `127.0.0.1:${port}`,
    admin: { listen: `127.0.0.1:${adminPort}` },
    drain: { delay: "0ms", timeout: "5s" },
    keys: { source: { type: "file", path: "keys.yaml" } },
    upstreams: [{ name: "orders", targets: [upstream.origin] }],
    routes: [{ name: "all", auth: "none", upstream: "orders" }],
  };
  writeFileSync(join(folder, "sentinel.yaml"), JSON.stringify(config));
  // A pipe that is open on the other side, where nobody reads: it takes 64 KiB.
  execFileSync("mkfifo", [join(folder, "log")]);
  const reader = openSync(join(folder, "log"), constants.O_RDWR | constants.O_NONBLOCK);
  const log = openSync(join(folder, "log"), "w");
  const program = [resolve("dist/sentinel.js"), "start", "-c", join(folder, "sentinel.yaml")];
  const child = spawn(process.execPath, program, { stdio: ["ignore", log, "inherit"] });
  const exited = once(child, "exit");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    for (const descriptor of [log, reader]) closeSync(descriptor);
    rmSync(folder, { recursive: true });
    await upstream.stop();
  });
  const origin = `http://127.0.0.1:${port}`;
  await vi.waitUntil(() => answers(`http://127.0.0.1:${adminPort}/readyz`), { timeout: 10_000, interval: 20 });

  // A line holds the path: 2000 of these are more than may wait.
  const load = new Load({ perSecond: 500, origin: () => origin, path: `/${"x".repeat(7000)}` });
  await load.more(2000);
  await load.stop();
  expect(describeFailures(load.failures)).toEqual([]);
  const metrics = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  expect(Number(/^sentinel_log_lines_dropped_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(500);

  child.kill("SIGTERM");
  const [code] = await exited;
  expect(code).toBe(0);
});

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}
