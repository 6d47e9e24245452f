import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileConfig } from "../../src/config/compile.ts";
import { loadConfig } from "../../src/config/load.ts";
import { formatProblems } from "../../src/config/problem.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-compile-"));
  for (const name of ["a", "b"]) makeCertificate(name);
  for (const file of ["expired.crt", "expired.key"]) cpSync(join("test/config/fixtures", file), join(folder, file));
});
afterAll(() => rmSync(folder, { recursive: true }));

function makeCertificate(name: string): void {
  const files = ["-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.crt`)];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`];
  execFileSync("openssl", ["req", "-x509", ...kind, ...files], { stdio: "ignore" });
}

async function compile(text: string) {
  const path = join(folder, "sentinel.yaml");
  writeFileSync(path, text);
  const loaded = await loadConfig(path, {});
  return loaded.ok ? compileConfig(loaded.config, loaded.problemAt) : loaded;
}

async function compiled(text: string) {
  const result = await compile(text);
  if (!result.ok) throw new Error(formatProblems(result.problems, { colour: false }));
  return result;
}

const places = (problems: readonly { line: number; column: number; message: string }[]) =>
  problems.map(({ line, column, message }) => `${line}:${column}: ${message}`);

async function mistakes(text: string): Promise<string[]> {
  const result = await compile(text);
  return result.ok ? [] : places(result.problems);
}

const KEYS = "keys: { source: { type: file, path: keys.yaml } }\n";
const UPSTREAMS = "upstreams: [{ name: orders, targets: ['http://127.0.0.1:3000'] }]\n";
/** Line 1: keys; line 2: upstreams; line 3: `routes:`; line 4: the first route. */
const routes = (...items: string[]) => `${KEYS}${UPSTREAMS}routes:\n${items.map((item) => `  - ${item}\n`).join("")}`;
/** Line 1: whatever is given. */
const top = (text: string) => `${text}\n${routes("{ name: all, upstream: orders }")}`;
const upstream = (members: string) =>
  `${KEYS}upstreams:\n  - { name: orders, ${members} }\nroutes: [{ name: all, upstream: orders }]\n`;

describe("a valid configuration", () => {
  test("becomes routes", async () => {
    const { table } = await compiled(
      routes(
        "{ name: read, upstream: orders, match: { host: '*.Example.com', methods: [GET, GET], path: '/v2/apis/{apiId}', headers: { X-V: '2' } }, permissions: 'api.{path.apiId}.read_api' }",
        "{ name: make, upstream: orders, match: { methods: [POST], path: /v2/keys.createKey }, permissions: 'api.{body.apiId}.create_key' }",
        "{ name: open, upstream: orders, auth: none, match: { pathPrefix: /public }, rewrite: { stripPrefix: /public }, timeouts: { response: 5m }, maxBodySize: 1KiB }",
      ),
    );
    expect(table.routes.map(({ name }) => name).sort()).toEqual(["make", "open", "read"]);
    const byName = (name: string) => table.routes.find((route) => route.name === name);
    expect(byName("read")).toMatchObject({
      index: 0,
      match: {
        host: { kind: "wildcard", suffix: ".example.com" },
        methods: ["GET"],
        headers: [["x-v", "2"]],
        path: { kind: "whole", text: "/v2/apis/{apiId}" },
      },
      access: { kind: "rootKey", requires: { needsBody: false, text: "api.{path.apiId}.read_api" } },
      maxBodyBytes: 10 * 1024 ** 2,
      timeouts: { connectMs: null, responseMs: null, idleMs: null },
      rewrite: null,
    });
    expect(byName("make")?.maxBodyBytes).toBe(1024 ** 2);
    expect(byName("open")).toMatchObject({
      access: { kind: "open" },
      rewrite: { kind: "stripPrefix", prefix: "/public" },
      timeouts: { connectMs: null, responseMs: 300_000, idleMs: null },
      maxBodyBytes: 1024,
    });
    expect(table.find("GET", "a.example.com", "/v2/apis/api_1", () => "2")).toMatchObject({
      kind: "found",
      route: { name: "read" },
    });
  });

  test("becomes upstreams", async () => {
    const text = upstream(
      "targets: ['https://a.internal', { url: 'https://[::1]:8443', weight: 3 }], tls: { ca: { file: a.crt }, cert: { file: b.crt }, key: { file: b.key }, serverName: x.internal }, healthCheck: { path: '/health?x=1' }",
    );
    const { upstreams } = await compiled(text);
    const read = (name: string) => readFileSync(join(folder, name), "utf8").trimEnd();
    const tls = { ca: read("a.crt"), cert: read("b.crt"), key: read("b.key"), serverName: "x.internal" };
    expect(upstreams).toEqual([
      {
        name: "orders",
        targets: [
          { url: "https://a.internal", hostname: "a.internal", port: 443, weight: 1, tls },
          { url: "https://[::1]:8443", hostname: "::1", port: 8443, weight: 3, tls },
        ],
        timeouts: { connectMs: 2000, responseMs: 30_000, idleMs: 60_000 },
        healthCheck: { path: "/health?x=1", intervalMs: 5000, timeoutMs: 2000 },
      },
    ]);
  });

  test("an https target verifies its own host unless told otherwise, and http has no TLS", async () => {
    const { upstreams } = await compiled(upstream("targets: ['https://a.internal:1', 'http://b.internal']"));
    expect(upstreams[0]?.targets).toMatchObject([
      { tls: { ca: null, cert: null, key: null, serverName: "a.internal" } },
      { hostname: "b.internal", port: 80, tls: null },
    ]);
  });

  test("becomes addresses, networks and envelopes", async () => {
    const result = await compiled(
      top(
        "listen: '[::]:8080'\nadmin: { listen: 'unix:/run/s.sock' }\nworkers: 3\ntrustedProxies: [10.0.0.0/8, fd00::/8, 192.0.2.7]\nerrors: { typeBase: 'https://x.example/e/', overrides: { 'err:unkey:authentication:missing': { title: T } } }",
      ),
    );
    expect(result.listen).toEqual({ kind: "tcp", host: "::", port: 8080 });
    expect(result.admin).toEqual({ kind: "unix", path: "/run/s.sock" });
    expect(result.workers).toBe(3);
    expect(result.errors).toEqual({
      typeBase: "https://x.example/e",
      overrides: { "err:unkey:authentication:missing": { title: "T" } },
    });
    const { trustedProxies } = result;
    expect(["10.1.2.3", "192.0.2.7", "192.0.2.8"].map((address) => trustedProxies.check(address))).toEqual([
      true,
      true,
      false,
    ]);
    expect(trustedProxies.check("fd00::1", "ipv6")).toBe(true);
    expect(trustedProxies.check("::ffff:10.1.2.3", "ipv6")).toBe(true);
  });

  test("auto is at least one worker", async () => {
    expect((await compiled(top("workers: auto"))).workers).toBeGreaterThanOrEqual(1);
  });
});

describe("mistakes", () => {
  const cases: [name: string, text: string, expected: string[]][] = [
    [
      "an unknown upstream, near",
      routes("{ name: a, upstream: odrers }"),
      ['4:26: there is no upstream "odrers"; did you mean "orders"?'],
    ],
    [
      "an unknown upstream, far",
      routes("{ name: a, upstream: x }"),
      ['4:26: there is no upstream "x"; there is "orders"'],
    ],
    [
      "two upstreams of one name",
      `${KEYS}upstreams:\n  - { name: a, targets: ['http://h:1'] }\n  - { name: a, targets: ['http://h:2'] }\nroutes: [{ name: r, upstream: a }]`,
      ['4:13: two upstreams are called "a", the other on line 3; rename one'],
    ],
    [
      "two routes of one name",
      routes(
        "{ name: a, upstream: orders, match: { path: /a } }",
        "{ name: a, upstream: orders, match: { path: /b } }",
      ),
      ['5:13: two routes are called "a", the other on line 4; rename one'],
    ],
    [
      "two routes that can not be told apart",
      routes(
        "{ name: a, upstream: orders, match: { path: '/x/{id}' } }",
        "{ name: b, upstream: orders, match: { path: '/x/{other}' } }",
      ),
      ['5:5: the routes "b" and "a" (line 4) can not be told apart: give one another path, host, methods or headers'],
    ],
    [
      "an open route over a guarded one",
      routes(
        "{ name: admin, upstream: orders, match: { path: /admin } }",
        "{ name: all, upstream: orders, auth: none }",
      ),
      [
        '5:5: the open route "all" covers the guarded route "admin" (line 4) on the upstream "orders": servers that ignore case or trailing dots would let anyone in; narrow its match, or say allowOverlap: true',
      ],
    ],
    [
      "a permission query, at its column",
      routes("{ name: a, upstream: orders, permissions: 'api.*.read_api AND' }"),
      [expect.stringMatching(/^4:66: permission query: The query ends after 'AND'/)],
    ],
    [
      "a permission query over several lines",
      routes("name: a\n    upstream: orders\n    permissions: >-\n      api.*.read_api\n      AND )"),
      [expect.stringMatching(/^8:11: permission query: /)],
    ],
    [
      "a permission query that is folded into a plain scalar",
      routes("name: a\n    upstream: orders\n    permissions: api.*.read_api\n      OR api.x"),
      [expect.stringMatching(/^7:10: permission query: 'api.x' is no permission/)],
    ],
    [
      "a placeholder that the path does not have",
      routes(
        "{ name: a, upstream: orders, match: { path: '/x/{apiId}' }, permissions: 'a.*.b OR api.{path.apiID}.read' }",
      ),
      ['4:92: {path.apiID}: the route\'s path has no {apiID}; did you mean "apiId"?'],
    ],
    [
      "a placeholder of a path without any",
      routes("{ name: a, upstream: orders, permissions: 'api.{path.id}.read' }"),
      ["4:52: {path.id}: the route's path has no {id}; it has no {name}"],
    ],
    [
      "permissions of an open route",
      routes("{ name: a, upstream: orders, auth: none, permissions: api.*.read }"),
      ['4:59: "permissions" needs a key, and "auth: none" asks for none; leave one out'],
    ],
    [
      "allowOverlap of a guarded route",
      routes("{ name: a, upstream: orders, allowOverlap: true }"),
      ['4:48: "allowOverlap" is for open routes; this one needs a key'],
    ],
    [
      "path and pathPrefix",
      routes("{ name: a, upstream: orders, match: { path: /a, pathPrefix: /b } }"),
      ['4:65: "path" and "pathPrefix" exclude each other; leave one out'],
    ],
    [
      "a path without a slash",
      routes("{ name: a, upstream: orders, match: { path: a } }"),
      ['4:49: "path" must begin with a slash: /a'],
    ],
    [
      "a path that no request can have, at its column",
      routes("{ name: a, upstream: orders, match: { path: /a//b } }"),
      [expect.stringMatching(/^4:52: "path" must not hold an empty segment/)],
    ],
    [
      "a host with a port",
      routes("{ name: a, upstream: orders, match: { host: 'a.example:80' } }"),
      [expect.stringMatching(/^4:59: "host" must not name a port/)],
    ],
    [
      "a host that is none",
      routes("{ name: a, upstream: orders, match: { host: 'a b' } }"),
      [expect.stringMatching(/^4:49: "host" must be a host name/)],
    ],
    [
      "a method in lower case",
      routes("{ name: a, upstream: orders, match: { methods: [GET, post] } }"),
      ['4:58: "post" is not a method that requests can have; did you mean "POST"?'],
    ],
    [
      "a method with a slip",
      routes("{ name: a, upstream: orders, match: { methods: [GTE] } }"),
      ['4:53: "GTE" is not a method that requests can have; did you mean "GET"?'],
    ],
    [
      "a method that is always refused",
      routes("{ name: a, upstream: orders, match: { methods: [TRACE] } }"),
      ["4:53: TRACE is always answered with 405; leave it out"],
    ],
    [
      "a header's name",
      routes("{ name: a, upstream: orders, match: { headers: { 'x y': z } } }"),
      ['4:61: "x y" is not the name of a header field: letters, digits and - are'],
    ],
    [
      "a header given twice",
      routes("{ name: a, upstream: orders, match: { headers: { x-y: z, X-Y: z } } }"),
      ['4:67: the field "X-Y" is given twice; the case of its name makes no difference'],
    ],
    [
      "a rewrite that is not canonical",
      routes("{ name: a, upstream: orders, rewrite: { addPrefix: /a/../b } }"),
      [expect.stringMatching(/^4:59: "addPrefix" must not hold a dot segment/)],
    ],
    [
      "a WebSocket with ids from the body",
      routes("{ name: a, upstream: orders, websocket: true, permissions: 'a.{body.id}.r' }"),
      ['4:45: a WebSocket has no body for "permissions" to take an id from'],
    ],
    [
      "a WebSocket without GET",
      routes("{ name: a, upstream: orders, websocket: true, match: { methods: [POST] } }"),
      ['4:45: a WebSocket begins with GET, which "methods" leaves out'],
    ],
    [
      "a target without a scheme",
      upstream("targets: [10.0.0.1:3000]"),
      ['3:31: a target must be a URL such as http://10.0.0.1:3000; did you mean "http://10.0.0.1:3000"?'],
    ],
    [
      "a target with a path",
      upstream("targets: [{ url: 'http://h:1/api' }]"),
      ["3:38: a target must be a URL such as http://10.0.0.1:3000, without a path or query at its end"],
    ],
    [
      "a target with a slash",
      upstream("targets: ['http://h:1/']"),
      ["3:31: a target must be a URL such as http://10.0.0.1:3000, without a slash at its end"],
    ],
    [
      "a target with a user",
      upstream("targets: ['http://u:p@h:1']"),
      ["3:31: a target must be a URL such as http://10.0.0.1:3000, without a user"],
    ],
    [
      "a target of no port",
      upstream("targets: ['http://h:0', 'http://h:99999', 'http://:1', 'ftp://h']"),
      [31, 45, 63, 76].map((column) => `3:${column}: a target must be a URL such as http://10.0.0.1:3000`),
    ],
    [
      "tls for an http target",
      upstream("targets: ['https://h:1', 'http://h:2'], tls: { serverName: x }"),
      ['3:46: "tls" is for https:// targets; make this https://, or leave "tls" out'],
    ],
    [
      "a client certificate without its key",
      upstream("targets: ['https://h:1'], tls: { cert: { file: a.crt } }"),
      ['3:52: "cert" needs "key" beside it'],
    ],
    [
      "a certificate that is none",
      upstream("targets: ['https://h:1'], tls: { ca: { file: a.key } }"),
      ["3:58: this is not a certificate in PEM form"],
    ],
    [
      "a health check's path",
      upstream("targets: ['http://h:1'], healthCheck: { path: health }"),
      ["3:67: a health check's path must be a path such as /health"],
    ],
    [
      "a key of another certificate",
      top("tls: { cert: { file: a.crt }, key: { file: b.key } }"),
      ['1:36: the private key does not belong to the certificate in "cert"'],
    ],
    ["a listen address", top("listen: ':8080'"), ['1:9: "listen" must be host:port such as 0.0.0.0:8080']],
    [
      "an admin address",
      top("admin: { listen: 9090:x }"),
      ['1:18: "listen" must be host:port such as 0.0.0.0:8080, or unix:/path'],
    ],
    [
      "admin on the client port",
      top("listen: 0.0.0.0:9090"),
      ['1:1: "admin" must listen elsewhere than clients connect: "listen" is 0.0.0.0:9090'],
    ],
    [
      "a CIDR",
      top("trustedProxies: [10.0.0.0/8, 10.0.0/8, 10.0.0.0/33, x, 'fe80::1%eth0']"),
      [
        '1:30: "trustedProxies[1]" must be a CIDR such as 10.0.0.0/8 or fd00::/8, or an address',
        '1:40: "trustedProxies[2]" must be a CIDR with 0 to 32 bits, such as 10.0.0.0/8',
        '1:53: "trustedProxies[3]" must be a CIDR such as 10.0.0.0/8 or fd00::/8, or an address',
        '1:56: "trustedProxies[4]" must be a CIDR such as 10.0.0.0/8 or fd00::/8, or an address',
      ],
    ],
    [
      "time-outs the wrong way round",
      top("limits: { headerTimeout: 2m }"),
      ['1:26: "headerTimeout" must not be longer than "requestTimeout", which includes it'],
    ],
    [
      "an unknown code",
      top("errors: { overrides: { missing: { status: 400 }, 'err:unkey:authentication:mising': {}, x: {} } }"),
      [
        '1:33: there is no error code "missing"; did you mean "err:unkey:authentication:missing"?',
        '1:85: there is no error code "err:unkey:authentication:mising"; did you mean "err:unkey:authentication:missing"?',
        '1:92: there is no error code "x"; docs/errors.md lists them all',
      ],
    ],
    [
      "a base of types that is no URL",
      top("errors: { typeBase: errors }"),
      ['1:21: "typeBase" must be a URL such as https://unkey.com/docs/errors'],
    ],
    [
      "Redis nowhere",
      top("redis: { keyPrefix: x }"),
      ['1:8: "redis" has none of "url", "sentinels" and "cluster"; give one'],
    ],
    [
      "Redis in two ways",
      top("redis: { url: 'redis://h', cluster: { hosts: ['h:1'] } }"),
      ['1:8: "redis" has "url" and "cluster"; keep one'],
    ],
    [
      "a Redis URL",
      top("redis: { url: 'http://:hunter2@h' }"),
      ['1:15: "url" must be a URL such as redis://127.0.0.1:6379 or rediss://user:password@host:6380/0'],
    ],
    [
      "a Redis host without its port",
      top("redis: { sentinels: { name: m, hosts: [a:1, b] } }"),
      ['1:45: "hosts[1]" must be host:port such as redis-0:6379'],
    ],
    [
      "a redis source without Redis",
      routes("{ name: a, upstream: orders }").replace("type: file, path: keys.yaml", "type: redis"),
      ['1:25: the redis source needs a "redis" section that says where Redis is'],
    ],
    [
      "a key service's URL",
      routes("{ name: a, upstream: orders }").replace(
        "type: file, path: keys.yaml",
        "type: http, url: 'https://u:hunter2@h/'",
      ),
      [
        '1:36: "url" must be a URL such as https://keys.internal/lookup, without a user or a #; credentials go in "headers"',
      ],
    ],
    [
      "a key service's headers",
      routes("{ name: a, upstream: orders }").replace(
        "type: file, path: keys.yaml",
        'type: http, url: "http://h/", headers: { "x y": z, Host: z, x: "a\\nb" }',
      ),
      [
        '1:67: "x y" is not the name of a header field: letters, digits and - are',
        '1:76: "Host" is set by the gateway; leave it out',
        '1:82: the value of "x" must not hold line breaks or control characters',
      ],
    ],
  ];
  test.each(cases)("%s", async (_, text, expected) => {
    expect(await mistakes(text)).toEqual(expected);
  });

  test("of both kinds are found in one round, without any that follow from others", async () => {
    const text = `listen: nowhere
redis: { url: { file: none } }
upstreams:
  - { name: orders, targets: [http:/x], timeouts: { conect: 1s } }
  - { nam: other, targets: ["http://127.0.0.1:1"] }
routes:
  - { name: a, upstream: other, match: { path: a }, auth: nne }
  - { name: b, upstream: orders, match: { pth: "/{id}" }, permissions: "api.{path.id}.read OR" }
  - { name: b, upstream: orders, match: { path: "/{id}", methods: [get] }, permissions: "api.{path.ix}.read" }
keys: { source: { type: redis } }
`;
    expect((await mistakes(text)).map((line) => line.replaceAll(folder, ""))).toEqual([
      '1:9: "listen" must be host:port such as 0.0.0.0:8080',
      "2:23: /none can not be read: there is no such file",
      "4:31: a target must be a URL such as http://10.0.0.1:3000",
      '4:53: unknown member "conect" in "timeouts"; did you mean "connect"?',
      '5:5: member "name" is missing in "upstreams[1]": The name by which routes, logs and metrics call it',
      '5:7: unknown member "nam" in "upstreams[1]"; did you mean "name"?',
      '7:48: "path" must begin with a slash: /a',
      '7:59: "auth" must be "none", not "nne"; did you mean "none"?',
      '8:43: unknown member "pth" in "match"; did you mean "path"?',
      expect.stringMatching(/^8:9\d: permission query: The query ends after 'OR'/),
      '9:13: two routes are called "b", the other on line 8; rename one',
      '9:68: "get" is not a method that requests can have; did you mean "GET"?',
    ]);
  });
});

describe("warnings", () => {
  const cases: [name: string, text: string, expected: string[]][] = [
    [
      "an upstream that no route leads to",
      routes("{ name: a, upstream: orders }").replace(
        "upstreams: [",
        "upstreams: [{ name: idle, targets: ['http://h:1'] }, ",
      ),
      ['2:21: no route leads to the upstream "idle"'],
    ],
    [
      "Redis that nothing uses",
      top("redis: { url: 'redis://h' }"),
      ["1:8: nothing uses Redis: the key source is a file"],
    ],
    [
      "every client as a trusted proxy",
      top("trustedProxies: [0.0.0.0/0]"),
      ["1:18: 0.0.0.0/0 believes the X-Forwarded-* of every client"],
    ],
    [
      "ids from the body of a GET",
      routes("{ name: a, upstream: orders, match: { methods: [GET] }, permissions: 'a.{body.id}.r' }"),
      ["4:74: GET requests seldom have a body: one without is answered with 400"],
    ],
    [
      "a prefix that is never there",
      routes("{ name: a, upstream: orders, match: { pathPrefix: /a }, rewrite: { stripPrefix: /b } }"),
      ["4:85: no path of this route begins with /b: nothing is taken off"],
    ],
    [
      "a certificate that has expired",
      top("tls: { cert: { file: expired.crt }, key: { file: expired.key } }"),
      ["1:14: this certificate has expired: it was valid to Jan  1 00:00:00 2021 GMT"],
    ],
    [
      "a star that someone took for a wildcard",
      routes("{ name: a, upstream: orders, match: { path: '/a/*' } }"),
      [
        '4:49: "path" holds a segment *, which stands for itself alone; {name} stands for any segment, pathPrefix for any rest',
      ],
    ],
    [
      "a colon that someone took for a name's",
      routes("{ name: a, upstream: orders, match: { pathPrefix: '/a/:id/b:c' } }"),
      ['4:55: "pathPrefix" holds a segment :id, which stands for itself alone; {id} stands for any segment'],
    ],
    [
      "a route that can not match",
      routes("{ name: a, upstream: orders, match: { path: '/a;b' } }"),
      [expect.stringMatching(/^4:5: the route "a" never takes a request: its path holds a semicolon/)],
    ],
  ];
  test.each(cases)("%s", async (_, text, expected) => {
    expect(places((await compiled(text)).warnings)).toEqual(expected);
  });

  test("none for an ordinary configuration", async () => {
    expect((await compiled(routes("{ name: a, upstream: orders }"))).warnings).toEqual([]);
  });
});
