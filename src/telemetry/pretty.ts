import { toAsciiJson } from "../octets.ts";
import type { LineWriter } from "./line-writer.ts";

/** Rewrites JSON log lines for a person at a terminal: time, level, then what happened. */
export function prettyWriter(writer: LineWriter, colors: boolean): LineWriter {
  return { ...bind(writer), write: (line) => writer.write(formatPretty(line, colors)) };
}

/** One JSON log line as one line to read. Text that could steer a terminal stays escaped, as JSON has it. */
export function formatPretty(line: string, colors: boolean): string {
  const fields = JSON.parse(line) as Record<string, unknown>;
  const { level, time, ...rest } = fields;
  const head = `${new Date(Number(time)).toISOString().slice(11, 23)} ${label(Number(level), colors)}`;
  return `${head} ${"requestId" in rest && "status" in rest ? exchange(rest) : event(rest)}\n`;
}

function exchange(fields: Record<string, unknown>): string {
  const { method, path, status, durationMs, requestId, code, route, ...rest } = fields;
  const shown = ["verdict", "keyId", "upstream", "clientIp", "cause"].filter((name) => present(rest[name]));
  const tail = shown.map((name) => `${name}=${bare(rest[name])}`).join(" ");
  const what = `${bare(status)} ${bare(method)} ${bare(path ?? "-")} ${bare(durationMs)}ms`;
  return [what, bare(code ?? ""), bare(route ?? ""), tail, bare(requestId)].filter((part) => part !== "").join("  ");
}

function event({ event, ...fields }: Record<string, unknown>): string {
  const tail = Object.entries(fields).map(([name, value]) => `${name}=${bare(value)}`);
  return [bare(event), ...tail].join(" ");
}

function present(value: unknown): boolean {
  return value !== null && value !== undefined;
}

/** Without quotes where it reads well without them. */
function bare(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "";
  return /^[\x21-\x7e ]*$/.test(value) ? value : toAsciiJson(JSON.stringify(value));
}

const LABELS: Readonly<Record<number, readonly [name: string, color: number]>> = {
  10: ["TRACE", 90],
  20: ["DEBUG", 90],
  30: ["INFO ", 32],
  40: ["WARN ", 33],
  50: ["ERROR", 31],
  60: ["FATAL", 31],
};

function label(level: number, colors: boolean): string {
  const [name, color] = LABELS[level] ?? [String(level), 0];
  return colors ? `\x1b[${color}m${name}\x1b[0m` : name;
}

function bind(writer: LineWriter): LineWriter {
  return {
    write: (line) => writer.write(line),
    flush: (withinMs) => writer.flush(withinMs),
    flushSync: (withinMs) => writer.flushSync(withinMs),
    close: () => writer.close(),
  };
}
