import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Environment } from "../../src/config/environment.ts";
import { loadConfig, resolveConfigPath } from "../../src/config/load.ts";
import { formatProblems } from "../../src/config/problem.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-load-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Ends in what is valid on its own: mistakes are put in front or within. */
const REST = `
keys: { source: { type: file, path: keys.yaml } }
upstreams:
  - { name: orders, targets: [http://127.0.0.1:3000] }
routes:
  - { name: all, upstream: orders }
`;

async function load(text: string, env: Environment = {}) {
  const path = join(folder, "sentinel.yaml");
  writeFileSync(path, text);
  return loadConfig(path, env);
}

async function mistakes(text: string, env: Environment = {}): Promise<string[]> {
  const result = await load(text, env);
  if (result.ok) return [];
  return result.problems.map(({ line, column, message }) => `${line}:${column}: ${message.replaceAll(folder, "")}`);
}

async function valid(text: string, env: Environment = {}) {
  const result = await load(text, env);
  if (!result.ok) throw new Error(formatProblems(result.problems, { colour: false }));
  return result.config;
}

describe("a valid configuration", () => {
  test("has every default, durations in milliseconds and sizes in bytes", async () => {
    const config = await valid(REST);
    expect(config).toMatchObject({
      listen: "0.0.0.0:8080",
      admin: { listen: "127.0.0.1:9090" },
      workers: 1,
      trustedProxies: [],
      limits: {
        headerTimeout: 10_000,
        requestTimeout: 60_000,
        idleTimeout: 75_000,
        headerBytes: 16_384,
        headerLines: 100,
        targetBytes: 8192,
        maxConnections: 10_000,
        maxPipelined: 100,
      },
      drain: { delay: 5000, timeout: 20_000 },
      log: { level: "info", format: "auto", sampleSuccess: 1 },
      serverTiming: false,
      keys: {
        prefix: "unkey_",
        source: { type: "file", path: join(folder, "keys.yaml") },
        cache: {
          maxKeys: 100_000,
          fresh: 10_000,
          staleIfError: 300_000,
          missing: 5000,
          shared: true,
          sharedFresh: 60_000,
        },
      },
      errors: { typeBase: "https://unkey.com/docs/errors", overrides: {} },
      upstreams: [
        {
          name: "orders",
          targets: ["http://127.0.0.1:3000"],
          timeouts: { connect: 2000, response: 30_000, idle: 60_000 },
        },
      ],
      routes: [{ name: "all", upstream: "orders", preserveHost: true, authorization: "preserve", websocket: false }],
    });
  });

  test("resolves an admin socket relative to the file", async () => {
    const config = await valid(`admin: { listen: "unix:run/admin.sock" }${REST}`);
    expect(config.admin.listen).toBe(`unix:${join(folder, "run/admin.sock")}`);
  });

  test("may use anchors", async () => {
    const config = await valid(`
keys: { source: { type: file, path: keys.yaml } }
upstreams:
  - { name: a, targets: ["http://127.0.0.1:1"], timeouts: &slow { response: 5m } }
  - { name: b, targets: ["http://127.0.0.1:2"], timeouts: *slow }
routes: [{ name: all, upstream: a }]`);
    expect(config.upstreams[1]?.timeouts.response).toBe(300_000);
  });
});

describe("the environment", () => {
  test("fills parsed scalars, never the raw text", async () => {
    const config = await valid(`log: { level: info }\nerrors: { typeBase: "\${BASE}" }${REST}`, {
      BASE: 'x"\nworkers: 7 # ${BASE}',
    });
    expect(config.errors.typeBase).toBe('x"\nworkers: 7 # ${BASE}');
    expect(config.workers).toBe(1);
  });

  test.each([
    ["${A}", { A: "x" }, "x"],
    ["a-${A}-${B:-b}-c", { A: "x" }, "a-x-b-c"],
    ["${A:-b}", { A: "" }, "b"],
    ["x${A:-}", {}, "x"],
    ["$${A}", {}, "${A}"],
    ["$$${A}", {}, "$${A}"],
    ["$A $", {}, "$A $"],
  ])("%s becomes what a shell would make of it", async (text, env: Environment, expected) => {
    const config = await valid(`errors: { typeBase: '${text}' }${REST}`, env);
    expect(config.errors.typeBase).toBe(expected);
  });

  test("a placeholder alone may be a number or a boolean where one is wanted", async () => {
    const text = `workers: \${W}\nlog: { sampleSuccess: "\${S}" }${REST.replace("upstream: orders", 'upstream: orders, websocket: "${WS}"')}`;
    const config = await valid(text, { W: "4", S: "0.5", WS: "true" });
    expect(config).toMatchObject({ workers: 4, log: { sampleSuccess: 0.5 }, routes: [{ websocket: true }] });
  });

  test("text that is wanted stays text, whatever it looks like", async () => {
    const config = await valid(`redis: { sentinels: { name: m, hosts: ["h:1"], password: "\${PW}" } }${REST}`, {
      PW: "12345",
    });
    expect(config.redis?.sentinels?.password).toBe("12345");
  });

  test("a missing name is an error at its column, and its member is not judged twice", async () => {
    expect(await mistakes(`limits:\n  headerTimeout: "\${T}"${REST}`)).toEqual([
      "2:19: the environment has no T; set it, or give a default with ${T:-default}",
    ]);
  });

  test("names of the prototype are not in the environment", async () => {
    expect(await mistakes(`log: { level: "\${constructor}" }${REST}`)).toEqual([
      "1:16: the environment has no constructor; set it, or give a default with ${constructor:-default}",
    ]);
  });
});

describe("secrets in files", () => {
  test("are read relative to the configuration, their last line end dropped, and are watched", async () => {
    mkdirSync(join(folder, "secrets"), { recursive: true });
    writeFileSync(join(folder, "secrets/pw"), "s3cret\r\n");
    const result = await load(`redis: { cluster: { hosts: ["h:1"], password: { file: secrets/pw } } }${REST}`);
    expect(result.ok && result.config.redis?.cluster?.password).toBe("s3cret");
    expect([...result.files.keys()]).toEqual(
      ["sentinel.yaml", "secrets/pw", "keys.yaml"].map((name) => join(folder, name)),
    );
  });

  test("an unreadable one is an error at its name, and is watched all the same", async () => {
    const text = `tls:\n  cert: { file: none.crt }\n  key: { file: . }${REST}`;
    expect(await mistakes(text)).toEqual([
      "2:17: /none.crt can not be read: there is no such file",
      "3:16:  can not be read: it is a folder",
    ]);
    expect([...(await load(text)).files.keys()]).toContain(join(folder, "none.crt"));
  });

  test("an empty one is an error", async () => {
    writeFileSync(join(folder, "empty"), "\n");
    expect(await mistakes(`redis: { url: { file: empty } }${REST}`)).toEqual(["1:23: /empty is empty"]);
  });

  test("a header that is called file is a header", async () => {
    const config = await valid(REST.replace("upstream: orders", "upstream: orders, match: { headers: { file: x } }"));
    expect(config.routes[0]?.match.headers).toEqual({ file: "x" });
  });
});

describe("mistakes", () => {
  const cases: [name: string, text: string, expected: string[]][] = [
    ["unknown member, near", `lisen: 0.0.0.0:1${REST}`, ['1:1: unknown member "lisen"; did you mean "listen"?']],
    [
      "unknown member, far",
      `drain: { colour: red }${REST}`,
      ['1:10: unknown member "colour" in "drain"; known here: delay and timeout'],
    ],
    [
      "unknown member that belongs a level down",
      `${REST}    host: a.example.com\n`.replace(
        "- { name: all, upstream: orders }\n",
        "- name: all\n    upstream: orders\n",
      ),
      ['8:5: unknown member "host" in "routes[0]"; it belongs in "match"'],
    ],
    [
      "member in the wrong case",
      `trustedproxies: []${REST}`,
      ['1:1: unknown member "trustedproxies"; did you mean "trustedProxies"?'],
    ],
    [
      "__proto__",
      `__proto__: { listen: x }${REST}`,
      [
        '1:1: unknown member "__proto__"; known here: listen, admin, workers, tls, trustedProxies, limits, drain, log, serverTiming, keys, redis, errors, upstreams and routes',
      ],
    ],
    [
      "missing members, at what should hold them",
      "keys: {}\nupstreams: [{ name: a, targets: [http://h:1] }]\nroutes:\n  - name: r\n",
      [
        '1:1: member "source" is missing in "keys": Where key records come from',
        '4:5: member "upstream" is missing in "routes[0]": The name of the upstream that serves it',
      ],
    ],
    [
      "an empty file",
      "# nothing\n",
      [
        '1:1: member "keys" is missing: Root keys: what they look like and where their records are',
        '1:1: member "upstreams" is missing: Services behind the gateway',
        '1:1: member "routes" is missing: Which requests go where, and who may send them',
      ],
    ],
    ["a list at the top", "- a\n", ["1:1: the configuration must be a mapping, not a list"]],
    ["a member without a value", `limits:${REST}`, ['1:1: "limits" has no value; leave the member out or give it one']],
    [
      "a duration",
      `drain: { delay: 5 }${REST}`,
      ['1:17: "delay" must be a duration such as 250ms, 10s, 5m or 24h, not 5'],
    ],
    [
      "a duration that no timer holds",
      `drain: { delay: 577h }${REST}`,
      ['1:17: "delay" must be at most 576h, not "577h"'],
    ],
    [
      "a time-out of nothing",
      `limits: { headerTimeout: 0s }${REST}`,
      ['1:26: "headerTimeout" must be longer than 0, not "0s"'],
    ],
    [
      "a size",
      `limits: { headerBytes: 16kb }${REST}`,
      ['1:24: "headerBytes" must be a size such as 512B, 64KiB or 1MiB, not "16kb"'],
    ],
    [
      "limits that no request keeps to",
      `limits: { headerBytes: 0B, targetBytes: 0KiB }${REST}`,
      [
        '1:24: "headerBytes" must be larger than 0B, not "0B"',
        '1:41: "targetBytes" must be larger than 0B, not "0KiB"',
      ],
    ],
    ["a number out of range", `limits: { headerLines: 0 }${REST}`, ['1:24: "headerLines" must be at least 1, not 0']],
    ["a fraction", `workers: 1.5${REST}`, ['1:10: "workers" must be a whole number or "auto", not 1.5']],
    [
      "one of some words",
      `log: { level: warning }${REST}`,
      ['1:15: "level" must be "trace", "debug", "info", "warn", "error", "fatal" or "silent", not "warning"'],
    ],
    [
      "one of some words, near",
      `log: { format: jsn }${REST}`,
      ['1:16: "format" must be "auto", "json" or "pretty", not "jsn"; did you mean "json"?'],
    ],
    [
      "a port where an address belongs",
      `listen: 8080${REST}`,
      ['1:9: "listen" must be host:port such as 0.0.0.0:8080, not 8080'],
    ],
    [
      "the same for operators",
      `admin: { listen: 9090 }${REST}`,
      ['1:18: "listen" must be host:port such as 127.0.0.1:9090, or unix:/path, not 9090'],
    ],
    [
      "a number where text belongs",
      `errors: { typeBase: 8080 }${REST}`,
      ['1:21: "typeBase" must be text; put it in quotes'],
    ],
    [
      "a mapping where text belongs",
      `listen: { port: 1 }${REST}`,
      ['1:9: "listen" must be host:port such as 0.0.0.0:8080, not a mapping'],
    ],
    [
      "text where a list belongs",
      `trustedProxies: 10.0.0.0/8${REST}`,
      ['1:17: "trustedProxies" must be a list, not "10.0.0.0/8"'],
    ],
    [
      "a list where a permission query belongs",
      REST.replace("upstream: orders", "permissions: [api.*.read_api, api.*.update_api], upstream: orders"),
      [
        '6:31: "permissions" must be tuples joined by AND or OR, such as api.*.read_api OR api.*.update_api, not a list',
      ],
    ],
    [
      "a key source of no kind",
      REST.replace("type: file", "type: fiel"),
      ['2:25: "type" must be "file", "redis" or "http", not "fiel"; did you mean "file"?'],
    ],
    [
      "a member of another kind of key source",
      REST.replace("path: keys.yaml", "path: keys.yaml, url: x"),
      ['2:48: unknown member "url" in "source"; known here: type and path'],
    ],
    [
      "both rewrites",
      REST.replace("upstream: orders", "upstream: orders, rewrite: { stripPrefix: /a, addPrefix: /b }"),
      ['6:45: "rewrite" must be { stripPrefix: /x } or { addPrefix: /y }'],
    ],
    [
      "a slip inside a union",
      REST.replace("[http://127.0.0.1:3000]", "[{ url: http://h:1, wieght: 2 }]"),
      ['4:50: unknown member "wieght" in "targets[0]"; did you mean "weight"?'],
    ],
    [
      "an auth that is not none",
      REST.replace("upstream: orders", "upstream: orders, auth: off"),
      ['6:42: "auth" must be "none", not "off"'],
    ],
    [
      "a name",
      REST.replace("name: all", "name: 'a b'"),
      ['6:13: "name" must be 1 to 100 letters, digits and . _ : / -, a letter or digit first, not "a b"'],
    ],
    ["empty text", `listen: ""${REST}`, ['1:9: "listen" must not be empty']],
    [
      "an empty list",
      REST.replace("- { name: all, upstream: orders }", "[]"),
      ['6:3: "routes" must have at least one entry; it is empty'],
    ],
    ["a member given twice", `workers: 1\nworkers: 2${REST}`, ['2:1: "workers" is given twice; keep one of them']],
    [
      "an entry that is indented more than those below it",
      "routes:\n   - name: a\n    upstream: b\n",
      ['3:1: an entry of the list above begins with "- ", all of them in one column; is something here one space off?'],
    ],
    ["a tab", "limits:\n\theaderLines: 1\n", ["2:1: a tab can not indent YAML; use spaces"]],
    [
      "a tab behind spaces",
      "limits:\n  headerLines: 1\n  \theaderBytes: 1KiB\n",
      ["3:3: a tab can not indent YAML; use spaces"],
    ],
    ["two documents", `listen: a\n---\nlisten: b\n`, ["2:1: a second document begins here; a file holds one"]],
    [
      "a placeholder in a flow mapping",
      "drain: { delay: ${D} }\n",
      ['1:17: within { } and [ ] a placeholder needs quotes: "${NAME}"'],
    ],
    [
      "placeholders in flow collections, among mistakes of other kinds",
      `drain: { delay: \${D}, timeout: "\${T}" }
trustedProxies: [ \${A:-10.0.0.0/8, x}, 10.\${B}.0.0/16 ]
limits: { headerLines: \${L
}
routes:
\t- a
`,
      [
        '1:17: within { } and [ ] a placeholder needs quotes: "${NAME}"',
        "1:33: the environment has no T; set it, or give a default with ${T:-default}",
        '2:19: within { } and [ ] a placeholder needs quotes: "${NAME}"',
        '2:43: within { } and [ ] a placeholder needs quotes: "${NAME}"',
        '3:24: within { } and [ ] a placeholder needs quotes: "${NAME}"',
        "6:1: a tab can not indent YAML; use spaces",
      ],
    ],
    [
      "the first ten of many placeholders in a flow sequence",
      `trustedProxies: [${"${A}, ".repeat(30)}]\n`,
      Array.from(
        { length: 10 },
        (_, i) => `1:${18 + 6 * i}: within { } and [ ] a placeholder needs quotes: "\${NAME}"`,
      ),
    ],
    [
      "a broken placeholder",
      `listen: \${A-b}${REST}`,
      ["1:9: a placeholder is ${NAME} or ${NAME:-default}; write $${ for a literal ${"],
    ],
    ["an alias of nothing", `workers: *none${REST}`, ["1:10: there is no anchor &none above this alias"]],
    [
      "an alias inside what it names",
      `drain: &a { delay: *a }${REST}`,
      ["1:20: the alias *a stands inside what it names"],
    ],
    ["a tag", `listen: !env 0.0.0.0:1${REST}`, ["1:9: YAML tags (!name) mean nothing here; leave it out"]],
    ["a mapping as a name", `? { a: b }\n: c${REST}`, ["1:3: the name of a member must be plain text"]],
  ];
  test.each(cases)("%s", async (_, text, expected) => {
    expect(await mistakes(text)).toEqual(expected);
  });

  test("ten at once", async () => {
    const text = `lisen: 0.0.0.0:8080
workers: many
limits: { headerTimeout: 10 s, headerLines: 2000 }
admin:
keys:
  source: { type: file }
upstreams:
  - name: orders
    connect: 2s
    targets: [http://127.0.0.1:3000]
routes:
  - name: x
    auth: nne
    websocket: \${WS}
    timeouts: { connect: "\${MISSING}" }
`;
    expect(await mistakes(text, { WS: "yes" })).toEqual([
      '1:1: unknown member "lisen"; did you mean "listen"?',
      '2:10: "workers" must be a number or "auto", not "many"',
      '3:26: "headerTimeout" must be a duration such as 250ms, 10s, 5m or 24h, not "10 s"',
      '3:45: "headerLines" must be at most 1000, not 2000',
      '4:1: "admin" has no value; leave the member out or give it one',
      '6:3: member "path" is missing in "source": The keyring file, relative to the configuration file',
      '9:5: unknown member "connect" in "upstreams[0]"; it belongs in "timeouts"',
      '12:5: member "upstream" is missing in "routes[0]": The name of the upstream that serves it',
      '13:11: "auth" must be "none", not "nne"; did you mean "none"?',
      '14:16: "websocket" must be true or false, not "yes"',
      "15:27: the environment has no MISSING; set it, or give a default with ${MISSING:-default}",
    ]);
  });

  test("a file that is not there", async () => {
    const result = await loadConfig(join(folder, "none.yaml"), {});
    expect(result).toMatchObject({
      ok: false,
      files: new Map([[join(folder, "none.yaml"), "unreadable: ENOENT"]]),
      problems: [{ line: 1, column: 1, message: "the configuration can not be read: there is no such file" }],
    });
  });

  test("a file that is not UTF-8", async () => {
    writeFileSync(join(folder, "latin1.yaml"), Buffer.from([0x61, 0x3a, 0x20, 0xe9]));
    const result = await loadConfig(join(folder, "latin1.yaml"), {});
    expect(!result.ok && result.problems[0]?.message).toBe("the configuration can not be read: it is not UTF-8 text");
  });
});

describe("secrets are never shown", () => {
  const SECRET = "hunter2-hunter2";
  test.each([
    ["a misspelt member", `redis: { cluster: { hosts: ["h:1"], pw: ${SECRET} } }${REST}`],
    ["a wrong type beside it", `redis: { url: redis://:${SECRET}@h:1, keyPrefix: 1 }${REST}`],
    ["given twice", `tls: { cert: a, key: b, key: ${SECRET} }${REST}`],
    ["in place of the mapping that it belongs in", `redis: redis://:${SECRET}@h${REST}`],
    ["in place of it, from the environment", `redis: \${PW}${REST}`],
    ["in place of a certificate's mapping", `tls: ${SECRET}${REST}`],
    ["in place of an upstream's", REST.replace("name: orders,", `name: orders, tls: ${SECRET},`)],
    [
      "in place of the fields for the key service",
      REST.replace("type: file, path: keys.yaml", `type: http, url: "http://k/", headers: ${SECRET}`),
    ],
    ["a syntax mistake on its line", `redis:\n  password: "${SECRET}" x\n`],
    ["a syntax mistake on an authorization line", `headers:\n  authorization: Bearer ${SECRET}: x\n`],
    ["a root key", `listen: unkey_${SECRET}\nlisten: unkey_${SECRET}${REST}`],
    ["filled from the environment", `redis: { url: "\${PW}", keyPrefix: 1 }\nkeyPrefix: 1${REST}`],
    [
      "a header of the key service",
      REST.replace("type: file, path: keys.yaml", `type: http, url: u, headers: { x: ${SECRET}, y: [1] }`),
    ],
    ["a private key in place", `tls:\n  key: { x: 1, y: "${SECRET}" }\n  cert: ""${REST}`],
  ])("%s", async (_, text) => {
    const result = await load(text, { PW: SECRET });
    expect(result.ok).toBe(false);
    const shown = result.ok ? "" : JSON.stringify(result.problems) + formatProblems(result.problems, { colour: true });
    expect(shown).not.toContain(SECRET);
  });

  test("a number that stands for one", async () => {
    const result = await load(`redis: { cluster: { hosts: ["h:1"], password: 31415926 } }${REST}`);
    expect(result.ok ? [] : result.problems.map(({ message }) => message)).toEqual([
      '"password" must be text, or { file: NAME }',
    ]);
  });

  test("but what stands in place of any other mapping is, to be recognised", async () => {
    expect(await mistakes(`limits: unlimited${REST}`)).toEqual(['1:9: "limits" must be a mapping, not "unlimited"']);
  });
});

describe("hostile files", () => {
  test("an alias bomb is refused at once", async () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let i = 1; i < 12; i++)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(", ")}]`,
      );
    const found = await mistakes(lines.join("\n"));
    expect(found).toEqual([
      expect.stringContaining("the file is too large here; aliases count each time they are used"),
    ]);
  });

  test("deep nesting is refused, not a crash", async () => {
    for (const text of ["[".repeat(20_000), `a: ${"[".repeat(100)}${"]".repeat(100)}`, "- ".repeat(20_000)]) {
      expect((await mistakes(text)).join()).toMatch(/nested too deeply|bracket|YAML/);
    }
  });

  // Two seconds on a quiet machine; the bound is for a busy one.
  test("a large mapping takes no time worth speaking of", async () => {
    const names = Array.from({ length: 20_000 }, (_, i) => `n${i}: 1`);
    expect((await mistakes(names.join("\n"))).length).toBeGreaterThan(0);
  }, 60_000);

  test("no text makes it throw, and every problem has a place in the file", async () => {
    const scrap = fc.constantFrom(
      ..."keys upstreams routes redis: - { } [ ] & * ! | > ' \" # % @ ` ? : , ${A} ${ $${ ${B:-1} \n \t &a *a --- ... <<: !!str 0x1 .inf null".split(
        " ",
      ),
      "\n  ",
      "\n- ",
      "routes:\n  - ",
      "\ufeff",
      "\u0000",
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(fc.oneof(scrap, fc.string()), { maxLength: 40 }).map((parts) => parts.join("")),
      fc.array(scrap, { maxLength: 40 }).map((parts) => `${REST}${parts.join(" ")}`),
    );
    await fc.assert(
      fc.asyncProperty(text, async (input) => {
        const result = await load(input, { A: "1" });
        if (result.ok) return;
        const lines = input.replace(/^\ufeff/, "").split("\n").length;
        expect(result.problems.length).toBeGreaterThan(0);
        for (const { line, column } of result.problems) {
          expect(line).toBeGreaterThanOrEqual(1);
          expect(line).toBeLessThanOrEqual(lines + 1);
          expect(column).toBeGreaterThanOrEqual(1);
        }
        formatProblems(result.problems, { colour: true });
      }),
      { numRuns: 800 },
    );
  });
});

describe("resolveConfigPath", () => {
  test("prefers the option, then the environment, then config/sentinel.yaml, then sentinel.yaml", () => {
    const cwd = mkdtempSync(join(folder, "cwd-"));
    expect(resolveConfigPath("a.yaml", { SENTINEL_CONFIG: "b.yaml" }, cwd)).toBe(join(cwd, "a.yaml"));
    expect(resolveConfigPath(undefined, { SENTINEL_CONFIG: "/x/b.yaml" }, cwd)).toBe("/x/b.yaml");
    expect(resolveConfigPath(undefined, { SENTINEL_CONFIG: "" }, cwd)).toBe(join(cwd, "config/sentinel.yaml"));
    writeFileSync(join(cwd, "sentinel.yaml"), "");
    expect(resolveConfigPath(undefined, {}, cwd)).toBe(join(cwd, "sentinel.yaml"));
    mkdirSync(join(cwd, "config"));
    writeFileSync(join(cwd, "config/sentinel.yaml"), "");
    expect(resolveConfigPath(undefined, {}, cwd)).toBe(join(cwd, "config/sentinel.yaml"));
  });
});
