import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { compileConfig } from "../../src/config/compile.ts";
import { loadConfig } from "../../src/config/load.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-property-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Values that are right somewhere, nearly right, or wrong everywhere. */
const scrap = fc.oneof(
  fc.constantFrom<unknown>(
    ...[
      "none",
      "file",
      "redis",
      "http",
      "10s",
      "0s",
      "1MiB",
      "/a",
      "/a/{id}",
      "/%61",
      "api.{path.id}.read",
      "api.*.read AND (",
      "${A}",
    ],
    ...[
      "http://h:1",
      "https://h",
      "0.0.0.0:1",
      "unix:/x",
      "10.0.0.0/8",
      "GET",
      "*.example.com",
      "orders",
      "__proto__",
      "",
    ],
    ...[0, 1, -1, 1.5, true, false, null, [], {}, ["GET"], { file: "none" }, { url: "http://h:1" }, { "x y": "z" }],
  ),
  fc.string(),
);
const record = (names: readonly string[], value: fc.Arbitrary<unknown>) =>
  fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6, noNullPrototype: true });
const match = record(["host", "methods", "path", "pathPrefix", "headers"], scrap);
const route = fc
  .tuple(
    fc.record({ name: fc.constantFrom("a", "b", "c"), upstream: fc.constantFrom("orders", "odrers") }),
    record(
      ["auth", "permissions", "rewrite", "websocket", "timeouts", "maxBodySize", "allowOverlap", "match"],
      fc.oneof(scrap, match),
    ),
  )
  .map(([required, rest]) => ({ ...required, ...rest }));
const upstream = fc
  .tuple(
    fc.record({ name: fc.constantFrom("orders", "x"), targets: fc.array(scrap, { maxLength: 2 }) }),
    record(
      ["timeouts", "tls", "healthCheck"],
      fc.oneof(scrap, record(["ca", "cert", "key", "path", "connect"], scrap)),
    ),
  )
  .map(([required, rest]) => ({ ...required, ...rest }));
const config = fc
  .tuple(
    fc.record({
      keys: fc.constant({ source: { type: "file", path: "keys.yaml" } }),
      upstreams: fc.array(upstream, { minLength: 1, maxLength: 2 }),
      routes: fc.array(route, { minLength: 1, maxLength: 3 }),
    }),
    record(
      ["listen", "admin", "workers", "tls", "trustedProxies", "limits", "redis", "errors", "keys"],
      fc.oneof(
        scrap,
        record(
          ["listen", "url", "cluster", "hosts", "typeBase", "overrides", "source", "type", "headerTimeout"],
          scrap,
        ),
      ),
    ),
  )
  .map(([required, rest]) => ({ ...required, ...rest }));

test("whatever is configured, it compiles or there are problems at places in the file", async () => {
  const path = join(folder, "sentinel.yaml");
  await fc.assert(
    fc.asyncProperty(config, async (value) => {
      const text = stringify(value);
      writeFileSync(path, text);
      const loaded = await loadConfig(path, { A: "1" });
      const result = loaded.ok ? compileConfig(loaded.config, loaded.problemAt) : loaded;
      const found = result.ok ? result.warnings : result.problems;
      if (!result.ok) expect(found.length).toBeGreaterThan(0);
      const lines = text.split("\n");
      for (const { line, column, message } of found) {
        expect(line).toBeLessThanOrEqual(lines.length);
        expect(column).toBeLessThanOrEqual((lines[line - 1]?.length ?? 0) + 1);
        expect(message).not.toMatch(/undefined|\[object|NaN/);
      }
    }),
    { numRuns: 400 },
  );
});
