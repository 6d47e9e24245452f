import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { freePort } from "../support/free-port.ts";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { keyringKey } from "../support/keyring.ts";
import { RawClient } from "../support/raw-client.ts";
import { type CommandResult, runCommand } from "./support.ts";

const KEYS = {
  one: "unkey_3ZPnKbQmWvRtYhJsDfGxCa",
  all: "unkey_7LqVwXrTnBkMjHcPzSdFgE",
  nest: "unkey_8WcXvBnMqWrTyPsDfGhJkL",
  expired: "unkey_9MdRsTfVbGhYnJuKmLpQwZ",
  disabled: "unkey_4KcXvBnMqWrTyPsDfGhJkL",
  off: "unkey_6HgFdSpQwRtYxZcVbNmJkA",
  unknown: "unkey_5TrEwQyUpAsDfGhJkLzXcV",
} as const;

const key = (name: keyof typeof KEYS) => `Authorization: Bearer ${KEYS[name]}`;
const JSON_BODY = "Content-Type: application/json";

let upstream: Server;
let gateway: RunningGateway;
beforeAll(async () => {
  upstream = createServer((_, response) => response.end("here"));
  await new Promise<void>((listening) => upstream.listen(0, "127.0.0.1", listening));
  const to = { upstream: "echo" };
  gateway = await startGateway({
    keyring: {
      workspaces: [{ id: "ws_off", enabled: false }],
      roles: [{ name: "reader", permissions: ["api.*.read_api"] }],
      keys: [
        keyringKey("key_one", KEYS.one, { permissions: ["api.api_1.read_api", "api.api_9.create_key", "api.q1.use"] }),
        keyringKey("key_all", KEYS.all, { roles: ["reader"] }),
        keyringKey("key_nest", KEYS.nest, { permissions: ["api.c.z"] }),
        keyringKey("key_expired", KEYS.expired, { expiresAt: "2020-01-01T00:00:00Z" }),
        keyringKey("key_disabled", KEYS.disabled, { enabled: false }),
        keyringKey("key_off", KEYS.off, { workspaceId: "ws_off" }),
      ],
    },
    config: {
      upstreams: [{ name: "echo", targets: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }],
      routes: [
        {
          name: "read",
          match: { methods: ["GET"], path: "/apis/{apiId}" },
          permissions: "api.{path.apiId}.read_api",
          ...to,
        },
        { name: "all", match: { path: "/all" }, permissions: "api.*.read_api", ...to },
        {
          name: "nest",
          match: { path: "/nest" },
          permissions: "(api.a.x AND api.b.y) OR (api.c.z AND (api.d.w OR api.e.v))",
          ...to,
        },
        { name: "both", match: { path: "/both" }, permissions: "api.api_1.read_api AND rbac.*.read_role", ...to },
        { name: "either", match: { path: "/either" }, permissions: "a.b.c OR d.e.f", ...to },
        {
          name: "create",
          match: { methods: ["POST"], path: "/keys" },
          permissions: "api.{body.apiId}.create_key",
          ...to,
        },
        { name: "query", match: { path: "/query" }, permissions: "api.{query.id}.use", ...to },
        { name: "header", match: { path: "/header" }, permissions: "api.{header.X-Id}.use", ...to },
        { name: "hosted", match: { host: "api.example.com", path: "/hosted" }, permissions: "x.y.z", ...to },
        { name: "health", match: { path: "/health" }, auth: "none", ...to },
        { name: "rest", match: { pathPrefix: "/rest" }, rewrite: { stripPrefix: "/rest" }, ...to },
        { name: "small", match: { path: "/small" }, maxBodySize: "8B", ...to },
        { name: "socket", match: { path: "/socket" }, websocket: true, ...to },
      ],
    },
  });
});
afterAll(async () => {
  await gateway?.stop();
  upstream?.close();
});

function explainIt(method: string, url: string, headers: readonly string[], body?: string): Promise<CommandResult> {
  const given = headers.flatMap((field) => ["-H", field]);
  const data = body === undefined ? [] : ["-d", body];
  return runCommand(["explain", "-c", `${gateway.folder}/sentinel.yaml`, method, url, ...given, ...data, "--json"]);
}

interface Told {
  readonly verdict: { readonly admitted: boolean; readonly detail: string | null };
  readonly answer: { readonly status: number; readonly body: string } | null;
  readonly upstream: { readonly headers: readonly (readonly [name: string, value: string])[] } | null;
  readonly notes: readonly string[];
}

/** What the running gateway answers to the very same request. */
async function askIt(method: string, url: string, headers: readonly string[], body: string | undefined) {
  const client = await RawClient.connect(gateway.port);
  const length = body === undefined ? [] : [`Content-Length: ${body.length}`];
  const lines = [`${method} ${url} HTTP/1.1`, ...headers, ...length, "", body ?? ""];
  await client.write(lines.join("\r\n"));
  const answer = await client.answer(method);
  client.destroy();
  if (answer === null) throw new Error("the gateway closed the connection without an answer");
  return answer;
}

describe("sentinel explain says what the gateway answers", () => {
  const at = "Host: localhost";
  it.each<[string, string, string, readonly string[], string?]>([
    ["a granted id", "GET", "/apis/api_1", [key("one")]],
    ["an id that is not granted", "GET", "/apis/api_2", [key("one")]],
    ["a wildcard grant of a role", "GET", "/apis/api_2", [key("all")]],
    ["all, of a key with all", "GET", "/all", [key("all")]],
    ["all, of a key with one", "GET", "/all", [key("one")]],
    ["no key", "GET", "/apis/api_1", []],
    ["an unknown key", "GET", "/apis/api_1", [key("unknown")]],
    ["a disabled key", "GET", "/apis/api_1", [key("disabled")]],
    ["an expired key", "GET", "/apis/api_1", [key("expired")]],
    ["a key of a disabled workspace", "GET", "/apis/api_1", [key("off")]],
    ["another case of Bearer", "GET", "/apis/api_1", [key("one").replace("Bearer", "bearer")]],
    ["two fields", "GET", "/apis/api_1", [key("one"), key("one")]],
    ["two fields on an open route", "GET", "/health", [key("one"), key("one")]],
    ["a wildcard for an id", "GET", "/apis/*", [key("all")]],
    ["alternatives, one of them half granted", "GET", "/nest", [key("nest")]],
    ["alternatives, nothing granted", "GET", "/nest", [key("one")]],
    ["an AND, half granted", "GET", "/both", [key("one")]],
    ["an OR, nothing granted", "GET", "/either", [key("one")]],
    ["no route", "GET", "/nothing", [key("one")]],
    ["another host", "GET", "/hosted", [key("one")]],
    ["another method", "POST", "/apis/api_1", [key("one")]],
    ["an id of the body", "POST", "/keys", [key("one"), JSON_BODY], '{"apiId":"api_9"}'],
    ["an id of the body that is not granted", "POST", "/keys", [key("one"), JSON_BODY], '{"apiId":"api_8"}'],
    ["a wildcard in the body", "POST", "/keys", [key("one"), JSON_BODY], '{"apiId":"*"}'],
    ["a member twice", "POST", "/keys", [key("one"), JSON_BODY], '{"apiId":"a","apiId":"b"}'],
    ["a form", "POST", "/keys", [key("one"), "Content-Type: text/plain"], '{"apiId":"api_9"}'],
    ["an unknown key before a bad body", "POST", "/keys", [key("unknown"), JSON_BODY], "{"],
    ["an open route", "GET", "/health", []],
    ["an id of the query", "GET", "/query?id=q1", [key("one")]],
    ["an id of the query, twice", "GET", "/query?id=q1&id=q1", [key("one")]],
    ["an id of the query that is not there", "GET", "/query", [key("one")]],
    ["an id of a field", "GET", "/header", [key("one"), "X-Id: q1"]],
    ["a rewritten path", "GET", "/rest/a/b", [key("one")]],
    ["a dot segment", "GET", "/rest/../health", []],
    ["an escape that is none", "GET", "/%61ll", [key("all")]],
    ["a semicolon", "GET", "/health;x", []],
    ["TRACE", "TRACE", "/health", []],
    ["HEAD", "HEAD", "/all", [key("all")]],
    ["OPTIONS *", "OPTIONS", "*", []],
    ["GET *", "GET", "*", []],
    ["Connection that names Authorization", "GET", "/health", ["Connection: Authorization"]],
    ["another transfer coding", "GET", "/health", ["Transfer-Encoding: gzip"]],
    ["a target that is too long", "GET", `/health?${"a".repeat(9000)}`, []],
    ["another expectation", "GET", "/health", ["Expect: 200-ok"]],
    ["a body as large as the route takes", "POST", "/small", [key("one")], "12345678"],
    ["a body that is larger", "POST", "/small", [key("one")], "123456789"],
    ["a body that is larger, without a key", "POST", "/small", [], "123456789"],
    ["OPTIONS with no hop left", "OPTIONS", "/health", ["Max-Forwards: 0"]],
    ["HEAD that is refused", "HEAD", "/all", []],
    ["a space before the colon", "GET", "/health", ["X-Id : q1"]],
    ["a control character in a field", "GET", "/health", ["X-Id: q\u00011"]],
  ])("%s", async (_, method, url, headers, body) => {
    const { status, out, err } = await explainIt(method, url, [at, ...headers], body);
    const told = JSON.parse(out) as Told;
    const answer = await askIt(method, url, [at, ...headers], body);
    expect(told.answer?.status ?? 200).toBe(answer.status);
    expect((told.answer?.body ?? "") !== "").toBe(answer.status >= 400 && answer.body.length > 0);
    expect(told.verdict.admitted).toBe(answer.status < 400);
    expect(status).toBe(answer.status < 400 ? 0 : 1);
    if (answer.status >= 400 && method !== "HEAD") {
      const { error } = JSON.parse(answer.body.toString()) as { error: { detail: string } };
      expect(told.verdict.detail).toBe(error.detail);
    }
    for (const secret of Object.values(KEYS)) expect(out + err).not.toContain(secret.slice("unkey_".length));
  });
});

async function upstreamFields(url: string, headers: readonly string[], config = "sentinel.yaml") {
  const given = [key("one"), ...headers].flatMap((field) => ["-H", field]);
  const { out } = await runCommand(["explain", "-c", join(gateway.folder, config), "GET", url, ...given, "--json"]);
  return (JSON.parse(out) as Told).upstream?.headers.map((field) => field.join(": "));
}

const HANDSHAKE = ["Connection: Upgrade", "Upgrade: websocket"];

it("sentinel explain shows the Upgrade of a WebSocket where the route lets it through", async () => {
  expect(await upstreamFields("/socket", HANDSHAKE)).toEqual(expect.arrayContaining(HANDSHAKE));
  expect(await upstreamFields("/rest", HANDSHAKE)).not.toContain("Upgrade: websocket");
});

it("sentinel explain believes X-Forwarded-* where the gateway would believe this machine", async () => {
  const told = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"];
  expect(await upstreamFields("/rest", told)).toEqual(
    expect.arrayContaining(["X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"]),
  );
  const text = readFileSync(join(gateway.folder, "sentinel.yaml"), "utf8");
  writeFileSync(join(gateway.folder, "trusting.yaml"), stringify({ ...parse(text), trustedProxies: ["127.0.0.0/8"] }));
  expect(await upstreamFields("/rest", told, "trusting.yaml")).toEqual(
    expect.arrayContaining(["X-Forwarded-For: 192.0.2.7, 127.0.0.1", "X-Forwarded-Proto: https"]),
  );
});

it("sentinel explain shows the target's Host as the gateway sends it", async () => {
  const text = `keys: { source: { type: file, path: ./keys.yaml } }
upstreams: [{ name: echo, targets: ["http://Orders.Internal:80"] }]
routes: [{ name: all, auth: none, upstream: echo, preserveHost: false }]
`;
  writeFileSync(join(gateway.folder, "target-host.yaml"), text);
  expect(await upstreamFields("/", [], "target-host.yaml")).toContain("Host: orders.internal");
});

it("sentinel explain says why credentials are malformed", async () => {
  const { out } = await explainIt("GET", "/all", [key("one").replace("Bearer", "Bearer ")]);
  expect((JSON.parse(out) as Told).notes).toEqual(["Authorization is malformed: more than one space follows Bearer."]);
});

it("sentinel explain says why nobody can tell, and ends in 3", async () => {
  const port = await freePort();
  const text = `keys: { source: { type: http, url: "http://127.0.0.1:${port}/lookup" } }
upstreams: [{ name: echo, targets: ["http://127.0.0.1:1"] }]
routes: [{ name: all, upstream: echo }]
`;
  const config = join(gateway.folder, "outage.yaml");
  writeFileSync(config, text);
  const { status, out } = await runCommand(["explain", "-c", config, "GET", "/", "-H", key("one")]);
  expect(out).toContain("verdict   503 source_unavailable\n");
  expect(out).toMatch(/^note: Nobody can tell about the key: the key service .*\.$/m);
  expect(status).toBe(3);
});

it.each([
  ["get", /^'get' is not a method that requests can have: write GET\.$/m],
  ["FOO", /^'FOO' is not a method that requests can have\.$/m],
  ["G T", /^'G T' is not a method that requests can have\.$/m],
])("sentinel explain has no answer to the method %s, which the gateway would not read", async (method, said) => {
  const { status, out, err } = await runCommand([
    "explain",
    "-c",
    join(gateway.folder, "sentinel.yaml"),
    method,
    "/health",
  ]);
  expect([status, out]).toEqual([2, ""]);
  expect(err).toMatch(said);
  expect((await askIt(method, "/health", ["Host: localhost"], undefined)).status).toBe(400);
});

it.each([
  [["explain", "GET"], "sentinel explain --help"],
  [["keys", "verify"], "sentinel keys verify --help"],
  [["keys", "make"], "sentinel keys --help"],
  [["explian"], "sentinel --help"],
])("wrong usage of %j leads to the help of that command", async (args, help) => {
  const { status, err } = await runCommand(args);
  expect(status).toBe(2);
  expect(err).toContain(`\`${help}\``);
});

it("the help of explain shows no default that nobody can write", async () => {
  const { out } = await runCommand(["explain", "--help"]);
  expect(out).toContain("--header <field>");
  expect(out).not.toContain("[]");
});
