import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { prepare } from "../../src/assembly/prepare.ts";
import { startSentinel } from "../../src/sentinel.ts";
import type { LineSink } from "../../src/telemetry/line-writer.ts";
import { startGateway } from "../support/gateway.ts";

it("says that it listens by the time it does, not with the next batch of lines", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-start-"));
  const configPath = join(folder, "sentinel.yaml");
  writeFileSync(join(folder, "keys.yaml"), "keys: []\n");
  writeFileSync(
    configPath,
    `listen: 127.0.0.1:0
admin: { listen: "127.0.0.1:0" }
log: { format: json }
keys: { source: { type: file, path: ./keys.yaml } }
upstreams: [{ name: a, targets: ["http://127.0.0.1:1"] }]
routes: [{ name: open, match: { path: / }, auth: none, upstream: a }]
`,
  );
  const written: string[] = [];
  const sink: LineSink = {
    isTerminal: false,
    write: (bytes, done) => {
      written.push(bytes.toString());
      done(null, bytes.length);
    },
    writeSync: (bytes) => bytes.length,
    close: () => {},
  };
  const prepared = await prepare(configPath, {});
  if (!prepared.ok) throw new Error("the configuration is not valid");
  const sentinel = await startSentinel({ configPath, env: {}, version: "1", admin: true, sink }, prepared);
  const events = written.join("").trimEnd().split("\n");
  await sentinel.close();
  rmSync(folder, { recursive: true });
  expect(events.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(["listening", "open_routes"]);
});

/** Whoever waits for the line acts on it as fast as can be: the signal is there before the write of it has returned. */
const AT_THE_LINE = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const { write, writeSync } = fs;
  const told = (bytes) => String(bytes).includes('"event":"listening"') && process.kill(process.pid, "SIGHUP");
  fs.writeSync = (to, bytes, ...rest) => {
    const written = writeSync(to, bytes, ...rest);
    told(bytes);
    return written;
  };
  fs.write = (to, bytes, ...rest) => {
    write(to, bytes, ...rest);
    told(bytes);
  };
  syncBuiltinESMExports();`;

it.each([1, 2])("a signal that comes with the line is heard, with %i worker(s)", async (workers) => {
  const gateway = await startGateway({
    keyring: { keys: [] },
    config: {
      workers,
      upstreams: [{ name: "a", targets: ["http://127.0.0.1:1"] }],
      routes: [{ name: "all", auth: "none", upstream: "a" }],
    },
    nodeOptions: ["--import", `data:text/javascript,${encodeURIComponent(AT_THE_LINE)}`],
  });
  await gateway.waitForRecord(({ event }) => event === "config_reloaded");
  await gateway.stop();
});
