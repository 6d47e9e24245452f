import { type Level, pino } from "pino";
import type { Config } from "../config/schema.ts";
import { toAsciiJson } from "../octets.ts";
import type { LineWriter } from "./line-writer.ts";
import type { Redact } from "./redact.ts";

export type LogLevel = Level;

/** Flat values only: objects, headers and requests have no way into the log. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined | Error>>;

/** The log and its level, which a reload may change. */
export interface Logger {
  readonly log: Log;
  setLevel(level: Config["log"]["level"]): void;
}

/** Logs a change of state. `event` is a stable name such as `config_reloaded`; errors are reduced to name, code and message. */
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

export interface LoggerOptions {
  readonly level: Config["log"]["level"];
  readonly writer: LineWriter;
  readonly redact: Redact;
}

/** The log of everything but requests. Every text goes through `redact`; what is not a flat value is left out. */
export function createLogger(options: LoggerOptions): Logger {
  const destination = { write: (line: string) => options.writer.write(toAsciiJson(line)) };
  const logger = pino({ level: options.level, base: null, messageKey: "event" }, destination);
  return {
    log: (level, event, fields = {}) => {
      if (logger.isLevelEnabled(level)) logger[level](flatten(fields, options.redact), event);
    },
    setLevel: (level) => {
      logger.level = level;
    },
  };
}

/** `ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1`: what is known of anything thrown, on one line, without a secret. */
export function describeError(thrown: unknown, redact: Redact): string {
  if (!(thrown instanceof Error)) return redact(typeof thrown === "string" ? thrown : `threw ${typeof thrown}`);
  const code = (thrown as NodeJS.ErrnoException).code;
  const name = typeof code === "string" ? code : thrown.name;
  return redact(`${name}: ${thrown.message}`).slice(0, 500);
}

/** What was thrown, as a field of the log. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function flatten(fields: LogFields, redact: Redact): Record<string, string | number | boolean | null> {
  const flat: Record<string, string | number | boolean | null> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Error) flat[name] = describeError(value, redact);
    else if (typeof value === "string") flat[name] = redact(value);
    else if (value === null || typeof value === "number" || typeof value === "boolean") flat[name] = value;
  }
  return flat;
}
