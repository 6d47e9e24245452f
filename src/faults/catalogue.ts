/**
 * THE TABLE: every failure a client can see, keyed by the code without its `err:`.
 *
 * `status`, `title` and `detail` are the contract's (section 5); a `detail` of null means that whoever returns the
 * fault says what happened. `level` is the log level of the request's record. `docs/errors.md`, the envelope's `type`,
 * the metric and log labels and the test that walks every row through a real gateway derive from here.
 */
export const CATALOGUE = {
  "unkey:authentication:missing": row(401, "Unauthorized", "Authentication credentials were not provided"),
  "unkey:authentication:malformed": row(401, "Unauthorized", "Authentication credentials were incorrectly formatted"),
  "unkey:authentication:key_not_found": row(401, "Unauthorized", "The provided API key was not found"),
  "unkey:authorization:insufficient_permissions": row(403, "Forbidden", null),
  "unkey:authorization:key_disabled": row(403, "Forbidden", "The API key used for authentication has been disabled"),
  "unkey:authorization:workspace_disabled": row(
    403,
    "Forbidden",
    "The workspace associated with this API key has been disabled",
  ),
  "unkey:authorization:forbidden": row(403, "Forbidden", "This operation is not allowed"),
  "unkey:application:service_unavailable": row(
    503,
    "Service Unavailable",
    "The service is temporarily unavailable. Please try again later.",
    "warn",
  ),
  "unkey:application:unexpected_error": row(
    500,
    "Internal Server Error",
    "An unexpected error occurred while processing your request",
    "error",
  ),
  "user:bad_request:request_body_too_large": row(413, "Content Too Large", null),
  "user:bad_request:invalid_resource_id": row(400, "Bad Request", null),
  "user:bad_request:invalid_body": row(400, "Bad Request", null),
  "user:bad_request:ambiguous_path": row(400, "Bad Request", null),
  "user:bad_request:invalid_request": row(400, "Bad Request", null),
  "user:bad_request:target_too_long": row(414, "URI Too Long", null),
  "user:bad_request:expectation_failed": row(
    417,
    "Expectation Failed",
    "The only expectation this server can meet is 100-continue",
  ),
  "user:bad_request:headers_too_large": row(431, "Request Header Fields Too Large", null),
  "user:bad_request:http_version_not_supported": row(
    505,
    "HTTP Version Not Supported",
    "This server speaks HTTP/1.1 and HTTP/1.0",
  ),
  "user:bad_request:request_timeout": row(408, "Request Timeout", "The client did not finish its request in time"),
  "sentinel:routing:route_not_found": row(404, "Not Found", "No route matches this request"),
  "sentinel:routing:loop_detected": row(
    508,
    "Loop Detected",
    "This request has already passed through this gateway",
    "error",
  ),
  "sentinel:routing:method_not_allowed": row(405, "Method Not Allowed", null),
  "sentinel:upstream:bad_gateway": row(
    502,
    "Bad Gateway",
    "The upstream service gave an answer that is not valid HTTP, or ended the connection",
    "warn",
  ),
  "sentinel:upstream:service_unavailable": row(
    503,
    "Service Unavailable",
    "The upstream service could not be reached. Please try again later.",
    "warn",
  ),
  "sentinel:upstream:gateway_timeout": row(
    504,
    "Gateway Timeout",
    "The upstream service did not answer in time",
    "warn",
  ),
} as const satisfies Record<string, CatalogueRow>;

/** A fault's code without the leading `err:`, as in `unkey:authentication:missing`. */
export type FaultCode = keyof typeof CATALOGUE;

export interface CatalogueRow {
  readonly status: number;
  readonly title: string;
  /** Null: each occurrence brings its own. */
  readonly detail: string | null;
  readonly level: "info" | "warn" | "error";
}

export const FAULT_CODES = Object.keys(CATALOGUE) as readonly FaultCode[];

/** The code as clients, logs and `errors.overrides` spell it: `err:unkey:authentication:missing`. */
export function formatFaultCode(code: FaultCode): string {
  return `err:${code}`;
}

function row(
  status: number,
  title: string,
  detail: string | null,
  level: CatalogueRow["level"] = "info",
): CatalogueRow {
  return { status, title, detail, level };
}
