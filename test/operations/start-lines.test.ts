import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { prepare } from "../../src/assembly/prepare.ts";
import { startSentinel } from "../../src/sentinel.ts";
import type { LineSink } from "../../src/telemetry/line-writer.ts";

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
