import type { BlockList } from "node:net";
import { availableParallelism } from "node:os";
import { FAULT_CODES, formatFaultCode } from "../faults/catalogue.ts";
import type { EnvelopeSettings } from "../faults/envelope.ts";
import type { UpstreamSettings } from "../forward/upstreams.ts";
import type { RedisSettings } from "../keys/redis-connection.ts";
import { isFieldValue, isToken } from "../octets.ts";
import { findConflicts } from "../routes/conflicts.ts";
import { findOpenOverlaps, findRewriteOverlaps } from "../routes/overlap.ts";
import type { Route } from "../routes/route.ts";
import { compileRouteTable, type RouteTable } from "../routes/table.ts";
import { findUnreachable } from "../routes/unreachable.ts";
import {
  addNetwork,
  isEverything,
  type ListenAddress,
  newNetworks,
  parseHostPort,
  parseListenAddress,
  sameAddress,
} from "./addresses.ts";
import { compileRoute } from "./compile-route.ts";
import { checkTlsFiles, compileUpstream } from "./compile-upstream.ts";
import { didYouMean, formatList } from "./did-you-mean.ts";
import { type Draft, type DraftItem, draftOf, type Sections } from "./draft.ts";
import { type Problem, sortProblems } from "./problem.ts";
import { collectFindings, type ProblemAt, type Report } from "./report.ts";
import type { Config, RedisConfig } from "./schema.ts";
import type { Path } from "./yaml-tree.ts";

/** What the gateway is built from: everything in the configuration that has to be worked out, worked out. */
export interface CompiledConfig {
  readonly table: RouteTable;
  readonly upstreams: readonly UpstreamSettings[];
  readonly trustedProxies: BlockList;
  readonly listen: ListenAddress;
  readonly admin: ListenAddress;
  /** At least 1. */
  readonly workers: number;
  readonly errors: EnvelopeSettings;
  readonly redis: RedisSettings | null;
  /** Nothing is wrong with these, but the operator will want to know. In the order of the file. */
  readonly warnings: readonly Problem[];
}

export type CompileResult =
  | ({ readonly ok: true } & CompiledConfig)
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Works out what the gateway is built from, or says every mistake that the schema alone can not see: in addresses, paths
 * and permission queries, and between members. `problemAt` is the loader's.
 */
export function compileConfig(config: Config, problemAt: ProblemAt): CompileResult {
  const { problems, warnings, report } = collectFindings(problemAt);
  const compiled = compileDraft(draftOf(config), report);
  if (problems.length > 0) return { ok: false, problems: sortProblems(problems) };
  const { listen, admin, trustedProxies, errors, redis, upstreams, table } = compiled;
  if (listen === null || admin === null || errors === null || table === null) {
    throw new Error("a configuration without problems did not compile");
  }
  const workers = config.workers === "auto" ? availableParallelism() : config.workers;
  return {
    ok: true,
    table,
    upstreams,
    trustedProxies,
    listen,
    admin,
    workers,
    errors,
    redis,
    warnings: sortProblems(warnings),
  };
}

/** The mistakes that can be seen in a configuration that has others. */
export function findFurtherProblems(draft: Draft, problemAt: ProblemAt): Problem[] {
  const { problems, report } = collectFindings(problemAt);
  compileDraft(draft, report);
  return problems;
}

function compileDraft(draft: Draft, report: Report) {
  const { sections } = draft;
  const redis = sections.redis === undefined ? null : compileRedis(sections.redis, report);
  checkKeys(draft, report);
  checkLimits(sections.limits, report);
  if (sections.tls !== undefined) checkTlsFiles(sections.tls, ["tls"], report);
  return {
    ...compileListeners(sections, report),
    trustedProxies: compileTrustedProxies(sections.trustedProxies ?? [], report),
    errors: sections.errors === undefined ? null : compileErrors(sections.errors, report),
    redis,
    upstreams: compileUpstreams(draft, report),
    table: compileRoutes(draft, report),
  };
}

function compileListeners(sections: Partial<Sections>, report: Report) {
  const listen = compileListen(sections.listen, ["listen"], false, report);
  const admin = compileListen(sections.admin?.listen, ["admin", "listen"], true, report);
  if (listen !== null && admin !== null && sameAddress(listen, admin)) {
    report.mistake(
      ["admin", "listen"],
      `"admin" must listen elsewhere than clients connect: "listen" is ${sections.listen}`,
    );
  }
  return { listen, admin };
}

function compileListen(text: string | undefined, path: Path, sockets: boolean, report: Report): ListenAddress | null {
  if (text === undefined) return null;
  const address = parseListenAddress(text, sockets);
  if (!("wrong" in address)) return address;
  report.mistake(path, `"listen" ${address.wrong}`);
  return null;
}

function compileTrustedProxies(networks: readonly string[], report: Report): BlockList {
  const list = newNetworks();
  for (const [i, network] of networks.entries()) {
    const path = ["trustedProxies", i];
    const problem = addNetwork(list, network);
    if (problem !== null) report.mistake(path, `"trustedProxies[${i}]" ${problem.wrong}`);
    else if (isEverything(network)) report.warning(path, `${network} believes the X-Forwarded-* of every client`);
  }
  return list;
}

/** Node refuses to serve with these the other way round. */
function checkLimits(limits: Sections["limits"] | undefined, report: Report): void {
  if (limits === undefined || limits.headerTimeout <= limits.requestTimeout) return;
  report.mistake(
    ["limits", "headerTimeout"],
    `"headerTimeout" must not be longer than "requestTimeout", which includes it`,
  );
}

function checkKeys({ sections, unknown }: Draft, report: Report): void {
  const source = sections.keys?.source;
  if (source === undefined) return;
  if (source.type === "redis" && sections.redis === undefined && !unknown.has("redis")) {
    report.mistake(["keys", "source", "type"], `the redis source needs a "redis" section that says where Redis is`);
  }
  if (source.type === "file" && sections.redis !== undefined) {
    report.warning(["redis"], `nothing uses Redis: the key source is a file`);
  }
  if (source.type !== "http") return;
  if (!/^https?:\/\/[^/?#@\s]+(?:[/?][^#@\s]*)?$/.test(source.url) || !URL.canParse(source.url)) {
    const message = `"url" must be a URL such as https://keys.internal/lookup, without a user or a #; credentials go in "headers"`;
    report.mistake(["keys", "source", "url"], message);
  }
  for (const [name, value] of Object.entries(source.headers)) checkSourceHeader(name, value, report);
}

const FRAMING = ["content-length", "transfer-encoding", "connection", "content-type", "expect", "upgrade", "host"];

function checkSourceHeader(name: string, value: string, report: Report): void {
  const path = ["keys", "source", "headers", name];
  if (!isToken(name)) report.mistake(path, `"${name}" is not the name of a header field: letters, digits and - are`);
  else if (FRAMING.includes(name.toLowerCase())) report.mistake(path, `"${name}" is set by the gateway; leave it out`);
  else if (!isFieldValue(value))
    report.mistake(path, `the value of "${name}" must not hold line breaks or control characters`);
}

function compileRedis(redis: RedisConfig, report: Report): RedisSettings | null {
  const { url, sentinels, cluster } = redis;
  const given = Object.entries({ url, sentinels, cluster }).flatMap(([name, value]) =>
    value === undefined ? [] : [name],
  );
  if (given.length !== 1) {
    const says =
      given.length === 0
        ? `has none of "url", "sentinels" and "cluster"; give one`
        : `has ${formatList(given.map((name) => `"${name}"`))}; keep one`;
    report.mistake(["redis"], `"redis" ${says}`);
    return null;
  }
  if (url !== undefined && !isRedisUrl(url)) {
    report.mistake(
      ["redis", "url"],
      `"url" must be a URL such as redis://127.0.0.1:6379 or rediss://user:password@host:6380/0`,
    );
  }
  for (const [member, nodes] of [
    ["sentinels", sentinels],
    ["cluster", cluster],
  ] as const) {
    for (const [i, host] of (nodes?.hosts ?? []).entries()) {
      if (parseHostPort(host) !== null) continue;
      report.mistake(["redis", member, "hosts", i], `"hosts[${i}]" must be host:port such as redis-0:6379`);
    }
  }
  return redis;
}

function isRedisUrl(text: string): boolean {
  if (!/^rediss?:\/\//.test(text) || !URL.canParse(text)) return false;
  const { hostname, pathname } = new URL(text);
  return hostname !== "" && /^(?:\/\d*)?$/.test(pathname);
}

const CODES = FAULT_CODES.map(formatFaultCode);

function compileErrors({ typeBase, overrides }: Sections["errors"], report: Report): EnvelopeSettings {
  if (!/^https?:\/\//.test(typeBase) || !URL.canParse(typeBase)) {
    report.mistake(["errors", "typeBase"], `"typeBase" must be a URL such as https://unkey.com/docs/errors`);
  }
  for (const code of Object.keys(overrides)) {
    if (!CODES.includes(code))
      report.mistake(["errors", "overrides", code], `there is no error code "${code}"${nearestCode(code)}`);
  }
  return { typeBase: typeBase.replace(/\/+$/, ""), overrides: overrides as EnvelopeSettings["overrides"] };
}

/** A code's last parts alone are enough to know what was meant. */
function nearestCode(text: string): string {
  const whole = CODES.filter((code) => code.endsWith(`:${text}`));
  const fallback = "; docs/errors.md lists them all";
  return whole.length === 1 ? `; did you mean "${whole[0]}"?` : didYouMean(text, CODES, fallback);
}

function compileUpstreams({ upstreams, routes }: Draft, report: Report): UpstreamSettings[] {
  checkNames(upstreams ?? [], "upstreams", report);
  const used = new Set(routes.map((route) => route?.value.upstream));
  return (upstreams ?? []).flatMap((item, i) => {
    if (item === null) return [];
    // Warnings are of configurations without mistakes only: of those everything is known.
    if (!used.has(item.value.name)) {
      report.warning(["upstreams", i, "name"], `no route leads to the upstream "${item.value.name}"`);
    }
    const compiled = compileUpstream(item.value, ["upstreams", i], report);
    return compiled === null ? [] : [compiled];
  });
}

function compileRoutes(draft: Draft, report: Report): RouteTable | null {
  checkNames(draft.routes, "routes", report);
  const names = upstreamNames(draft);
  const compiled = draft.routes.map((item, i) => {
    if (item === null) return null;
    const { upstream } = item.value;
    if (names !== null && !item.madeUp.has("upstream") && !names.includes(upstream)) {
      const known = `; there ${names.length === 1 ? "is" : "are"} ${formatList(names.map((name) => `"${name}"`))}`;
      report.mistake(
        ["routes", i, "upstream"],
        `there is no upstream "${upstream}"${didYouMean(upstream, names, known)}`,
      );
    }
    return compileRoute(item, i, report);
  });
  // What a route with a mistake would match is not known: it is not held against others.
  const routes = compiled.filter((route): route is Route => route !== null && isCertain(draft.routes[route.index]));
  comparePairs(routes, report);
  return compiled.includes(null) ? null : compileRouteTable(routes);
}

const DECISIVE = ["match", "auth", "permissions", "upstream", "rewrite", "allowOverlap"];

function isCertain(item: DraftItem<unknown> | null | undefined): boolean {
  return item !== null && item !== undefined && !DECISIVE.some((member) => item.madeUp.has(member));
}

function comparePairs(routes: readonly Route[], report: Report): void {
  const at = (route: Route) => `"${route.name}" (line ${report.lineOf(["routes", route.index])})`;
  for (const { first, second } of findConflicts(routes)) {
    const message = `the routes "${second.name}" and ${at(first)} can not be told apart: give one another path, host, methods or headers`;
    report.mistake(["routes", second.index], message);
  }
  for (const { open, guarded } of findOpenOverlaps(routes)) {
    const message =
      `the open route "${open.name}" covers the guarded route ${at(guarded)} on the upstream "${open.upstream}": ` +
      `servers that ignore case or trailing dots would let anyone in; narrow its match, or say allowOverlap: true`;
    report.mistake(["routes", open.index], message);
  }
  for (const { route, reason } of findUnreachable(routes)) {
    report.warning(["routes", route.index], `the route "${route.name}" never takes a request: ${reason}`);
  }
  for (const { open, guarded } of findRewriteOverlaps(routes)) {
    const message = `the open route "${open.name}" is rewritten to paths that the route ${at(guarded)} guards on the upstream "${open.upstream}"`;
    report.warning(["routes", open.index], message);
  }
}

/** Null where one of them is not known: it may be the one that a route names. */
function upstreamNames({ upstreams }: Draft): string[] | null {
  if (upstreams === null || upstreams.some((item) => item === null || item.madeUp.has("name"))) return null;
  return upstreams.flatMap((item) => (item === null ? [] : [item.value.name]));
}

function checkNames(
  items: readonly (DraftItem<{ name: string }> | null)[],
  list: "upstreams" | "routes",
  report: Report,
): void {
  const firsts = new Map<string, number>();
  for (const [i, item] of items.entries()) {
    if (item === null || item.madeUp.has("name")) continue;
    const { name } = item.value;
    const first = firsts.get(name);
    if (first === undefined) firsts.set(name, i);
    else
      report.mistake(
        [list, i, "name"],
        `two ${list} are called "${name}", the other on line ${report.lineOf([list, first])}; rename one`,
      );
  }
}
