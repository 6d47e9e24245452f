import { describe, expect, it } from "vitest";
import type { Prepared } from "../../src/assembly/prepare.ts";
import { restartMembers, withRunning } from "../../src/assembly/running-config.ts";
import { type Config, configSchema } from "../../src/config/schema.ts";

const PLAIN = {
  keys: { source: { type: "file", path: "/keys.yaml" } },
  upstreams: [{ name: "orders", targets: ["http://127.0.0.1:3000"] }],
  routes: [{ name: "all", upstream: "orders" }],
};

function configOf(members: Readonly<Record<string, unknown>>): Config {
  return configSchema.parse({ ...PLAIN, ...members });
}

/** What runs on after a reload from one to the other. */
function reloaded(running: Config, config: Config): Config {
  return withRunning({ config } as Prepared, running).config;
}

const TLS = { cert: "a certificate", key: "its key" };

const OTHERS: readonly (readonly [member: string, members: Readonly<Record<string, unknown>>])[] = [
  ["listen", { listen: "127.0.0.1:1" }],
  ["admin.listen", { admin: { listen: "127.0.0.1:1" } }],
  ["workers", { workers: 2 }],
  ["tls", { tls: TLS }],
  ["limits", { limits: { maxPipelined: 1 } }],
  ["keys.source", { keys: { source: { type: "http", url: "http://keys/" } } }],
  ["keys.cache", { keys: { ...PLAIN.keys, cache: { fresh: "1s" } } }],
  ["redis", { redis: { url: "redis://redis" } }],
  ["log.format", { log: { format: "json" } }],
];

describe.each(OTHERS)("%s", (member, members) => {
  const pairs = [
    ["given", configOf({}), configOf(members)],
    ["taken away", configOf(members), configOf({})],
  ] as const;

  it.each(pairs)("waits for a restart when it is %s, and is told of at each reload until then", (_, running, next) => {
    expect(restartMembers(running, next)).toEqual([member]);
    const now = reloaded(running, next);
    expect(restartMembers(now, next)).toEqual([member]);
    expect(restartMembers(now, running)).toEqual([]);
  });
});

it.each<[string, Record<string, unknown>, (config: Config) => unknown]>([
  ["limits.headerLines", { limits: { headerLines: 7 } }, ({ limits }) => limits.headerLines],
  ["log.level", { log: { level: "error" } }, ({ log }) => log.level],
  ["keys.prefix", { keys: { ...PLAIN.keys, prefix: "acme_" } }, ({ keys }) => keys.prefix],
  ["serverTiming", { serverTiming: true }, ({ serverTiming }) => serverTiming],
])("%s is taken up", (_, members, read) => {
  const [running, next] = [configOf({}), configOf(members)];
  expect(restartMembers(running, next)).toEqual([]);
  expect(read(reloaded(running, next))).toEqual(read(next));
});

it("takes up a renewed certificate, and keeps the last one where a later configuration has none", () => {
  const renewed = { cert: "another certificate", key: "its key" };
  const now = reloaded(configOf({ tls: TLS }), configOf({ tls: renewed }));
  expect(now.tls).toEqual(renewed);
  expect(reloaded(now, configOf({})).tls).toEqual(renewed);
});
