import { createHash } from "node:crypto";
import type { EpochMs } from "../keys/root-key.ts";
import type { RatesReading } from "./rates.ts";
import { type AdminState, isReady, type RouteState } from "./state.ts";

/** A page that loads nothing and runs nothing, made anew by the browser every five seconds. */
export function formatStatusPage(state: AdminState, rates: RatesReading | null, now: EpochMs): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>Sentinel: ${isReady(state) ? "ready" : "not ready"}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>Sentinel <small>${escapeHtml(state.version)}</small></h1>
${badge(isReady(state), "ready", "not ready")}
</header>
<main>
${summary(state, now)}
${checks(state)}
${routes(state.routes, rates)}
${upstreams(state)}
</main>
<footer><a href="/metrics">metrics</a> <a href="/readyz">readiness</a></footer>
</body>
</html>
`;
}

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --good: #16794a; --bad: #c2271d; --quiet: #777; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1.5rem; }
header { align-items: baseline; display: flex; gap: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h1 small, .quiet { color: var(--quiet); font-weight: normal; }
h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
.badge { border: 1px solid; border-radius: 1rem; font-size: .85rem; padding: 0 .6rem; white-space: nowrap; }
.good { color: var(--good); }
.bad { color: var(--bad); }
@media (prefers-color-scheme: dark) { :root { --good: #5fd39a; --bad: #ff8a80; --quiet: #999; } }
dl { display: grid; gap: .2rem 1rem; grid-template-columns: max-content 1fr; margin: 1rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: 50%; }
th { color: var(--quiet); font-weight: normal; text-align: left; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; vertical-align: top; }
.number { font-variant-numeric: tabular-nums; text-align: right; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { border-left: 3px solid var(--bad); margin: .3rem 0; overflow-x: auto; padding: .2rem .8rem; white-space: pre-wrap; }
footer { color: var(--quiet); margin-top: 2rem; }
footer a { color: inherit; margin-right: 1rem; }
`;

/** Nothing but the one style sheet in the page may take effect. */
export const STATUS_PAGE_HEADERS: Readonly<Record<string, string>> = {
  "Content-Security-Policy":
    `default-src 'none'; style-src 'sha256-${createHash("sha256").update(STYLE).digest("base64")}'; ` +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
};

function summary(state: AdminState, now: EpochMs): string {
  const { keys, redis } = state;
  return `<dl>
${entry("Up for", `${duration(now - state.startedAt)}, since ${instant(state.startedAt)}`)}
${entry("Listening on", state.addresses.map(code).join(" "))}
${entry("Processes", String(state.workers))}
${entry("Configuration", `${code(state.configFile)}, generation ${state.generation}`)}
${entry("Last reload", lastReload(state, now))}
${entry("Keys", `${escapeHtml(keys.source)}, ${keys.entries} in memory ${badge(keys.ready, "reached", keys.reason || "not reached")}`)}
${entry("Redis", redis === null ? quiet("none") : badge(redis.up, "up", redis.reason || "down"))}
</dl>`;
}

function lastReload({ lastReload }: AdminState, now: EpochMs): string {
  if (lastReload === null) return quiet("none yet");
  const { at, outcome, error, needsRestart } = lastReload;
  const when = `${duration(now - at)} ago`;
  const restart = needsRestart.length === 0 ? "" : ` Needs a restart: ${needsRestart.map(code).join(" ")}`;
  if (outcome === "success") return `${badge(true, "taken up", "")} ${when}.${restart}`;
  return `${badge(false, "", "refused")} ${when}; the last good one stays.<pre>${escapeHtml(error ?? "")}</pre>`;
}

function checks({ checks }: AdminState): string {
  const rows = checks.map(
    ({ name, ok, reason }) =>
      `<tr><td>${escapeHtml(name)}</td><td>${badge(ok, "ok", "not ok")}</td><td>${escapeHtml(reason)}</td></tr>`,
  );
  return section("Readiness", ["check", "", ""], rows);
}

function routes(all: readonly RouteState[], rates: RatesReading | null): string {
  const rows = all.map((route) => {
    const rate = rates?.byRoute.get(route.name);
    const figures = [rate?.requests, rate?.denied, rate?.failed].map(perSecond);
    return `<tr><td>${escapeHtml(route.name)}</td><td>${matches(route)}</td><td>${access(route)}</td><td>${escapeHtml(route.upstream)}</td>${figures.join("")}</tr>`;
  });
  return section("Routes", ["name", "takes", "asks for", "upstream", "req/s", "401+403/s", "5xx/s"], rows, 4);
}

function matches({ methods, host, path }: RouteState): string {
  const verbs = methods === null ? quiet("any method") : escapeHtml(methods.join(" "));
  return `${verbs} ${host === null ? "" : code(host)}${path === null ? quiet(" any path") : code(path)}`;
}

function access({ access }: RouteState): string {
  if (access.open) return '<span class="bad">nothing: open to anyone</span>';
  return access.permissions === "" ? "any valid key" : code(access.permissions);
}

function upstreams({ upstreams }: AdminState): string {
  const rows = upstreams.flatMap(({ name, targets }) =>
    targets.map(({ url, healthy }) => {
      return `<tr><td>${escapeHtml(name)}</td><td>${code(url)}</td><td>${badge(healthy, "healthy", "out")}</td></tr>`;
    }),
  );
  return section("Upstreams", ["name", "target", ""], rows);
}

/** Columns from `firstNumber` on hold numbers. */
function section(
  title: string,
  columns: readonly string[],
  rows: readonly string[],
  firstNumber = columns.length,
): string {
  const heads = columns.map(
    (column, at) => `<th scope="col"${at >= firstNumber ? ' class="number"' : ""}>${column}</th>`,
  );
  return `<h2>${title}</h2>
<div class="scroll"><table><thead><tr>${heads.join("")}</tr></thead><tbody>
${rows.join("\n")}
</tbody></table></div>`;
}

function entry(term: string, html: string): string {
  return `<dt>${term}</dt><dd>${html}</dd>`;
}

function badge(good: boolean, yes: string, no: string): string {
  return `<span class="badge ${good ? "good" : "bad"}">${escapeHtml(good ? yes : no)}</span>`;
}

function quiet(text: string): string {
  return `<span class="quiet">${escapeHtml(text)}</span>`;
}

function code(text: string): string {
  return `<code>${escapeHtml(text)}</code>`;
}

function perSecond(rate: number | undefined): string {
  return `<td class="number">${rate === undefined ? "–" : rate.toFixed(rate < 10 ? 1 : 0)}</td>`;
}

function instant(at: EpochMs): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}

/** The two largest units: `3 d 4 h`, `5 min 6 s`. */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const units: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = units.findIndex(([amount]) => amount > 0);
  if (first === -1) return "0 s";
  return units
    .slice(first, first + 2)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

/** Route names, paths and messages come from files that others write: none of it is markup. */
function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
