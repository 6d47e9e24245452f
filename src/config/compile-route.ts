import { METHODS } from "node:http";
import { isToken } from "../octets.ts";
import { isQueryProblem, parseQuery } from "../permissions/parse-query.ts";
import type { Requirement } from "../permissions/requirement.ts";
import { formatPlaceholder } from "../permissions/resource-id.ts";
import { parseHostPattern } from "../routes/host.ts";
import { ANY_PATH, type PathPattern, parsePathPattern, parseRewritePrefix } from "../routes/pattern.ts";
import type { Access, Rewrite, Route, RouteMatch } from "../routes/route.ts";
import { didYouMean, formatList } from "./did-you-mean.ts";
import type { DraftItem } from "./draft.ts";
import type { Report } from "./report.ts";
import type { RouteConfig } from "./schema.ts";
import type { Path } from "./yaml-tree.ts";

const DEFAULT_BODY_BYTES = 10 * 1024 ** 2;
/** Where a permission takes an id from the body, which is then held in memory. */
const DEFAULT_READ_BODY_BYTES = 1024 ** 2;

/**
 * One route, compiled, or null where there are mistakes in it. Its parts are all looked at, whichever is wrong.
 */
export function compileRoute(item: DraftItem<RouteConfig>, index: number, report: Report): Route | null {
  const { value: route, madeUp } = item;
  const path: Path = ["routes", index];
  const match = compileMatch(route.match, [...path, "match"], report);
  const pattern = match === null || madeUp.has("match") ? null : match.path;
  const access = compileAccess(item, pattern, path, report);
  const rewrite = route.rewrite === undefined ? null : compileRewrite(route.rewrite, [...path, "rewrite"], report);
  if (match === null || access === null || rewrite === "wrong") return null;
  const readsBody = access.kind === "rootKey" && access.requires?.needsBody === true;
  if (!checkTogether(route, match, readsBody, path, report)) return null;
  if (rewrite?.kind === "stripPrefix") warnOfIdleRewrite(rewrite.prefix, match.path, path, report);
  const { connect, response, idle } = route.timeouts;
  return {
    name: route.name,
    index,
    match,
    access,
    upstream: route.upstream,
    rewrite,
    preserveHost: route.preserveHost,
    authorization: route.authorization,
    websocket: route.websocket,
    timeouts: { connectMs: connect ?? null, responseMs: response ?? null, idleMs: idle ?? null },
    maxBodyBytes: route.maxBodySize ?? (readsBody ? DEFAULT_READ_BODY_BYTES : DEFAULT_BODY_BYTES),
    allowEncodedSlash: route.allowEncodedSlash,
    allowSemicolon: route.allowSemicolon,
    allowOverlap: route.allowOverlap,
  };
}

function compileMatch(match: RouteConfig["match"], path: Path, report: Report): RouteMatch | null {
  const host = match.host === undefined ? ({ kind: "any" } as const) : parseHostPattern(match.host);
  if (host.kind === "problem") report.mistake([...path, "host"], `"host" ${host.message}`, host.column - 1);
  const methods = compileMethods(match.methods, [...path, "methods"], report);
  const pattern = compilePath(match, path, report);
  const headers = compileHeaders(match.headers ?? {}, [...path, "headers"], report);
  if (host.kind === "problem" || methods === "wrong" || pattern === null || headers === null) return null;
  return { host, methods, path: pattern, headers };
}

function compilePath(
  { path: whole, pathPrefix }: RouteConfig["match"],
  path: Path,
  report: Report,
): PathPattern | null {
  if (whole !== undefined && pathPrefix !== undefined) {
    report.mistake([...path, "pathPrefix"], `"path" and "pathPrefix" exclude each other; leave one out`);
    return null;
  }
  const [member, text] = whole === undefined ? ["pathPrefix", pathPrefix] : ["path", whole];
  if (text === undefined) return ANY_PATH;
  const pattern = parsePathPattern(text, member === "path" ? "whole" : "prefix");
  if (pattern.kind !== "problem") {
    const taken = takenForWildcard(text);
    if (taken !== null) report.warning([...path, member], `"${member}" ${taken}`);
    return pattern;
  }
  report.mistake([...path, member], `"${member}" ${pattern.message}`, pattern.column - 1);
  return null;
}

/** What other routers take for any segment is taken literally here. */
function takenForWildcard(pattern: string): string | null {
  if (/\/\*+(?:\/|$)/.test(pattern)) {
    return "holds a segment *, which stands for itself alone; {name} stands for any segment, pathPrefix for any rest";
  }
  const [, name] = /\/:(\w+)(?:\/|$)/.exec(pattern) ?? [];
  return name === undefined
    ? null
    : `holds a segment :${name}, which stands for itself alone; {${name}} stands for any segment`;
}

function compileMethods(
  methods: readonly string[] | undefined,
  path: Path,
  report: Report,
): readonly string[] | null | "wrong" {
  if (methods === undefined) return null;
  let right = true;
  for (const [i, method] of methods.entries()) {
    const wrong = methodProblem(method);
    if (wrong === null) continue;
    report.mistake([...path, i], wrong);
    right = false;
  }
  return right ? [...new Set(methods)] : "wrong";
}

function methodProblem(method: string): string | null {
  if (method === "CONNECT" || method === "TRACE") return `${method} is always answered with 405; leave it out`;
  if (METHODS.includes(method)) return null;
  const usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
  const right = METHODS.includes(method.toUpperCase())
    ? `; did you mean "${method.toUpperCase()}"?`
    : didYouMean(method.toUpperCase(), usual, `; the usual ones are ${formatList(usual)}`);
  return `"${method}" is not a method that requests can have${right}`;
}

function compileHeaders(
  headers: Readonly<Record<string, string>>,
  path: Path,
  report: Report,
): RouteMatch["headers"] | null {
  const values = new Map<string, string>();
  let right = true;
  for (const [name, value] of Object.entries(headers)) {
    const wrong = isToken(name)
      ? values.has(name.toLowerCase()) && `the field "${name}" is given twice; the case of its name makes no difference`
      : `"${name}" is not the name of a header field: letters, digits and - are`;
    values.set(name.toLowerCase(), value);
    if (wrong === false) continue;
    report.mistake([...path, name], wrong);
    right = false;
  }
  return right ? [...values] : null;
}

/** `pattern` is null where it is not known. */
function compileAccess(
  { value: route, madeUp }: DraftItem<RouteConfig>,
  pattern: PathPattern | null,
  path: Path,
  report: Report,
): Access | null {
  const requires = compilePermissions(route.permissions, pattern, [...path, "permissions"], report);
  if (route.auth === "none") {
    if (route.permissions === undefined) return { kind: "open" };
    report.mistake(
      [...path, "permissions"],
      `"permissions" needs a key, and "auth: none" asks for none; leave one out`,
    );
    return null;
  }
  if (route.allowOverlap && !madeUp.has("auth")) {
    report.mistake([...path, "allowOverlap"], `"allowOverlap" is for open routes; this one needs a key`);
    return null;
  }
  return requires === "wrong" ? null : { kind: "rootKey", requires };
}

function compilePermissions(
  text: string | undefined,
  pattern: PathPattern | null,
  path: Path,
  report: Report,
): Requirement | null | "wrong" {
  if (text === undefined) return null;
  const parsed = parseQuery(text);
  if (isQueryProblem(parsed)) {
    report.mistake(path, `permission query: ${parsed.message.replace(/\.$/, "")}`, parsed.column - 1);
    return "wrong";
  }
  if (pattern === null) return parsed;
  const names = pattern.segments.flatMap((segment) => (segment.kind === "parameter" ? [segment.name] : []));
  let right = true;
  for (const placeholder of parsed.placeholders) {
    if (placeholder.kind !== "path" || names.includes(placeholder.name)) continue;
    const written = formatPlaceholder(placeholder);
    const known =
      names.length === 0 ? "; it has no {name}" : `; it has ${formatList(names.map((name) => `{${name}}`))}`;
    const message = `${written}: the route's path has no {${placeholder.name}}${didYouMean(placeholder.name, names, known)}`;
    report.mistake(path, message, text.indexOf(written));
    right = false;
  }
  return right ? parsed : "wrong";
}

function compileRewrite(rewrite: NonNullable<RouteConfig["rewrite"]>, path: Path, report: Report): Rewrite | "wrong" {
  const [kind, text] =
    "stripPrefix" in rewrite
      ? (["stripPrefix", rewrite.stripPrefix] as const)
      : (["addPrefix", rewrite.addPrefix] as const);
  const parsed = parseRewritePrefix(text);
  if (parsed.kind === "prefix") return { kind, prefix: parsed.prefix };
  report.mistake([...path, kind], `"${kind}" ${parsed.message}`, parsed.column - 1);
  return "wrong";
}

/** Members that are right alone, but not together. */
function checkTogether(route: RouteConfig, match: RouteMatch, readsBody: boolean, path: Path, report: Report): boolean {
  const takes = (method: string) => match.methods === null || match.methods.includes(method);
  if (route.websocket && readsBody) {
    report.mistake([...path, "websocket"], `a WebSocket has no body for "permissions" to take an id from`);
    return false;
  }
  if (route.websocket && !takes("GET")) {
    report.mistake([...path, "websocket"], `a WebSocket begins with GET, which "methods" leaves out`);
    return false;
  }
  if (readsBody && match.methods?.every((method) => method === "GET" || method === "HEAD")) {
    report.warning([...path, "permissions"], "GET requests seldom have a body: one without is answered with 400");
  }
  return true;
}

function warnOfIdleRewrite(prefix: string, pattern: PathPattern, path: Path, report: Report): void {
  const parts = prefix.slice(1).split("/");
  const meets = parts.every((part, i) => {
    const segment = pattern.segments[i];
    if (segment === undefined) return pattern.kind !== "whole";
    return segment.kind === "parameter" || segment.text === part;
  });
  if (!meets)
    report.warning(
      [...path, "rewrite", "stripPrefix"],
      `no path of this route begins with ${prefix}: nothing is taken off`,
    );
}
