import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkConfiguration } from "../../src/config/check.ts";
import { describeWith, render } from "./support.ts";

type Config = Readonly<Record<string, unknown>>;
type Route = Readonly<Record<string, unknown>>;

const UPSTREAMS = [
  { name: "orders", targets: ["http://orders:3000"] },
  { name: "files", targets: [{ url: "https://files:3000", weight: 2 }] },
];

function configOf(...routes: readonly Route[]): Config {
  return { upstreams: UPSTREAMS, routes: routes.map((route, i) => ({ name: `r${i}`, upstream: "orders", ...route })) };
}

function withPermissions(permissions: string, path = "/a/{id}"): Config {
  return configOf({ match: { path }, permissions });
}

const target = (url: unknown): Config => ({
  upstreams: [{ name: "u", targets: [url] }],
  routes: [{ name: "r", upstream: "u" }],
});

/** Mistakes that the schema can not see, and what is said of them. */
const MISTAKES: readonly (readonly [name: string, config: Config, said: string])[] = [
  [
    "an upstream that is none",
    configOf({ upstream: "order" }),
    "The route r0: there is no upstream order; the upstreams are orders, files.",
  ],
  ["two routes of one name", configOf({ name: "x" }, { name: "x", match: { path: "/b" } }), "two are called x"],
  ["two upstreams of one name", { ...configOf({}), upstreams: [...UPSTREAMS, UPSTREAMS[0]] }, "two are called orders"],
  ["a target without a scheme", target("orders:3000"), "The upstream u: a target must be a URL"],
  ["the same with a weight", target({ url: "orders:3000", weight: 2 }), "The upstream u: a target must be a URL"],
  ["a path without a slash", configOf({ match: { path: "a" } }), "The route r0: its path must begin with a slash: a."],
  ["an empty segment", configOf({ match: { pathPrefix: "/a//b" } }), "must not hold an empty segment: /a//b."],
  ["two kinds of path", configOf({ match: { path: "/a", pathPrefix: "/a" } }), "exclude each other"],
  ["a method in lower case", configOf({ match: { methods: ["get"] } }), "write GET"],
  ["a permission of two parts", withPermissions("a.b"), "The route r0: a.b is no permission"],
  ["one among others", withPermissions("a.*.c AND (a.{path.id}.c or b)"), "The route r0: b is no permission"],
  ["a * in another place", withPermissions("a.b.*"), "The route r0: a.b.* is no permission"],
  ["an id that the path has not", withPermissions("a.{path.ID}.c"), "its path has no {ID}: /a/{id}."],
  [
    "routes that tie",
    configOf(
      { match: { path: "/a/{x}", methods: ["GET", "PUT"] } },
      { match: { path: "/a/{y}", methods: ["PUT", "GET"] } },
    ),
    "The routes r0 and r1 can not be told apart",
  ],
  ["routes for everything", configOf({}, { match: { pathPrefix: "/" } }), "The routes r0 and r1 can not be told apart"],
];

/** What looks like a mistake and is none: the chart must not be stricter than Sentinel. */
const NO_MISTAKES: readonly (readonly [name: string, config: Config])[] = [
  ["a path and a prefix of the same spelling", configOf({ match: { path: "/a" } }, { match: { pathPrefix: "/a" } })],
  ["other methods", configOf({ match: { methods: ["GET"] } }, { match: { methods: ["PUT"] } }, {})],
  ["other hosts", configOf({ match: { host: "a.example" } }, { match: { host: "*.example" } }, {})],
  ["other headers", configOf({ match: { headers: { "X-A": "1" } } }, { match: { headers: { "X-A": "2" } } }, {})],
  ["ids from everywhere", withPermissions("a.{query.x}.c OR (a.{header.X-Id}.c and a.{path.id}.c) or a.{path.id}.d")],
  ["an id from a body", withPermissions("a.{body.b.c}.d", "/x")],
  ["all characters of a part", withPermissions("a:b/c-d_e.f:g/h-i_j.k:l/m-n_o")],
  ["white space and parentheses", withPermissions("  ((a.b.c))\n  AND\t( a.*.c OR d.e.f )  ")],
  ["no permission, no match", configOf({})],
  ["an upstream of many targets", target({ url: "http://[::1]:3000", weight: 3 })],
];

/** The chart's own part of a configuration, and what Sentinel says to the rest. */
async function validate(config: Config): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-routes-"));
  try {
    writeFileSync(join(folder, "keys.yaml"), "keys: []\n");
    const keys = { source: { type: "file", path: "keys.yaml" } };
    writeFileSync(join(folder, "sentinel.yaml"), JSON.stringify({ keys, ...config }));
    const { problems } = await checkConfiguration(join(folder, "sentinel.yaml"), {});
    return problems.map(({ message }) => message);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const values = (config: Config) => ({ keyring: { existingSecret: "keyring" }, config });

describeWith("helm")("of upstreams and routes", () => {
  it.each(MISTAKES)("the chart refuses, as Sentinel does: %s", async (_, config, said) => {
    expect(await validate(config)).not.toEqual([]);
    await expect(render(values(config))).rejects.toThrow(said);
  });

  it.each(NO_MISTAKES)("the chart accepts, as Sentinel does: %s", async (_, config) => {
    expect(await validate(config)).toEqual([]);
    expect(await render(values(config))).not.toEqual([]);
  });

  it("the chart says every mistake at once", async () => {
    const config = configOf({ upstream: "order", match: { path: "a" }, permissions: "a.b" });
    await expect(render(values(config))).rejects.toThrow(
      /there is no upstream order[^\n]*\n[^\n]*slash: a\.\n[^\n]*a\.b is no permission/,
    );
  });

  it("the chart leaves what is filled from the environment to the pod", async () => {
    const name = "$" + "{NAME:-x}";
    const route = { upstream: name, match: { path: name, methods: [name] }, permissions: name };
    const config = { ...configOf(route, { ...route, upstream: "orders", match: { path: `/${name}` } }) };
    expect(await render(values(config))).not.toEqual([]);
    expect(await render(values(target(name)))).not.toEqual([]);
    const paths = ["/$" + "{FIRST}", "/$" + "{SECOND}"].map((path) => ({ match: { path } }));
    expect(await render(values(configOf(...paths)))).not.toEqual([]);
  });
});
