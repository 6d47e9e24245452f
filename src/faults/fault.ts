import { CATALOGUE, type FaultCode } from "./catalogue.ts";

/**
 * A refusal or breakage that a client is told about. Expected refusals are returned as values of this type; the
 * gateway alone answers with them. `detail` is public and never repeats what a client sent; `cause` is for the log.
 */
export interface Fault {
  readonly kind: "fault";
  readonly code: FaultCode;
  readonly detail: string;
  /** Where a 400 found the mistake; empty for other statuses. */
  readonly errors: readonly FaultLocation[];
  /** For 405: the methods that are allowed, as the `Allow` field lists them. */
  readonly allow?: readonly string[];
  /** For 503: whole seconds a client should wait. */
  readonly retryAfterSeconds?: number;
  /** Private: what went wrong, for the log. */
  readonly cause?: unknown;
}

/** One entry of a 400's `errors`, as the vendor's SDK reads it. `location` is e.g. `path`, `headers.host`, `body`. */
export interface FaultLocation {
  readonly location: string;
  readonly message: string;
  readonly fix?: string;
}

export interface FaultOptions {
  readonly detail?: string;
  /** For a 400: the place of the mistake, `request` unless given. */
  readonly location?: string;
  /** For a 400: what to send instead. */
  readonly fix?: string;
  readonly allow?: readonly string[];
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** Makes a fault of the table's row `code`. A row without its own detail needs `options.detail`. */
export function fault(code: FaultCode, options: FaultOptions = {}): Fault {
  const row = CATALOGUE[code];
  const detail = options.detail ?? row.detail ?? row.title;
  return {
    kind: "fault",
    code,
    detail,
    errors: row.status === 400 ? [locate(detail, options)] : NO_LOCATIONS,
    ...(options.allow !== undefined && { allow: options.allow }),
    ...(row.status === 503 && { retryAfterSeconds: options.retryAfterSeconds ?? 1 }),
    ...(options.cause !== undefined && { cause: options.cause }),
  };
}

export function isFault(value: unknown): value is Fault {
  return typeof value === "object" && value !== null && (value as { kind?: unknown }).kind === "fault";
}

const NO_LOCATIONS: readonly FaultLocation[] = [];

function locate(message: string, options: FaultOptions): FaultLocation {
  const location = options.location ?? "request";
  return options.fix === undefined ? { location, message } : { location, message, fix: options.fix };
}
