import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCommand } from "./support.ts";

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "sentinel-routes-"));
  writeFileSync(
    join(cwd, "sentinel.yaml"),
    `keys: { source: { type: file, path: none.yaml } }
upstreams: [{ name: orders, targets: ["http://127.0.0.1:3000"] }]
routes:
  - { name: rest, upstream: orders }
  - name: create
    match: { methods: [POST], path: /v2/keys.createKey, headers: { X-Version: "2" } }
    permissions: >-
      api.{body.apiId}.create_key
      AND rbac.*.read_role
    upstream: orders
  - { name: semicolon, match: { path: "/a;b" }, upstream: orders }
  - { name: health, match: { host: "*.example.com", pathPrefix: /health/ }, auth: none, upstream: orders }
`,
  );
});
afterAll(() => rmSync(cwd, { recursive: true }));

test("sentinel routes lists them in matching order, and warns of open ones and of those that never match", async () => {
  const { status, out, err } = await runCommand(["routes"], { cwd });
  expect(status).toBe(0);
  expect(
    out,
  ).toBe(`ROUTE      HOST           PATH                            METHODS  REQUIRES                                          UPSTREAM
health     *.example.com  /health/**                      *        nothing (open)                                    orders
semicolon  *              /a;b                            *        any valid key                                     orders
create     *              /v2/keys.createKey x-version=2  POST     api.{body.apiId}.create_key AND rbac.*.read_role  orders
rest       *              *                               *        any valid key                                     orders
`);
  expect(err).toContain(
    'warning: the route "health" is open to anyone: it asks for no key and leads to the upstream "orders"\n',
  );
  expect(err).toContain('sentinel.yaml:11:5: the route "semicolon" never takes a request: its path holds a semicolon');
});

test("sentinel routes --json gives each route", async () => {
  const { status, out } = await runCommand(["routes", "--json"], { cwd });
  expect(status).toBe(0);
  const routes = JSON.parse(out) as { name: string }[];
  expect(routes.map(({ name }) => name)).toEqual(["health", "semicolon", "create", "rest"]);
  expect(routes[0]).toEqual({
    name: "health",
    host: "*.example.com",
    path: null,
    pathPrefix: "/health/",
    methods: null,
    headers: {},
    auth: "none",
    permissions: null,
    upstream: "orders",
  });
});

test("sentinel routes ends in 1 where the configuration is not valid", async () => {
  writeFileSync(join(cwd, "bad.yaml"), "routes: []\n");
  const { status, out, err } = await runCommand(["routes", "-c", "bad.yaml"], { cwd });
  expect({ status, out }).toEqual({ status: 1, out: "" });
  expect(err).toContain('bad.yaml:1:1: member "keys" is missing');
});

test("sentinel schema prints a JSON schema with descriptions, defaults and examples", async () => {
  const { status, out } = await runCommand(["schema"], { cwd });
  expect(status).toBe(0);
  const schema = JSON.parse(out);
  expect(schema).toMatchObject({
    $schema: "http://json-schema.org/draft-07/schema#",
    additionalProperties: false,
    required: ["keys", "upstreams", "routes"],
  });
  expect(schema.properties.listen).toMatchObject({
    type: "string",
    default: "0.0.0.0:8080",
    examples: ["0.0.0.0:8080", "[::]:8080"],
  });
  expect(schema.properties.limits.properties.headerTimeout).toMatchObject({
    default: "10s",
    description: "To send the whole header block. 408 after it.",
    anyOf: [
      { type: "string", pattern: "^(\\d{1,9})(ms|s|m|h)$" },
      { type: "string", pattern: "\\$\\{" },
    ],
  });
});
