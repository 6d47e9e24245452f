import type { Fault } from "./faults/fault.ts";
import type { Target } from "./routes/target.ts";

/**
 * The head of one request, read once off the raw header list: what was clean, and where each field that matters to
 * the decision stands. Everything after this works on it; nothing goes back to `req.headers`, which hides repeats.
 */
export interface RequestHead {
  readonly method: string;
  readonly version: "1.0" | "1.1";
  readonly target: Target;
  /** Name, value, name, value ... as they came. */
  readonly rawHeaders: readonly string[];
  /** The Host field as it came, port included; null only on HTTP/1.0. For an absolute-form target: its authority. */
  readonly hostField: string | null;
  /** For matching: lower case, without port and without a trailing dot. */
  readonly host: string | null;
  /** The first Authorization value; null when there is no such field. */
  readonly authorization: string | null;
  /** How many Authorization fields there are, in any spelling with `_` or `.` too. */
  readonly authorizationCount: number;
  /** Lower-case names that Connection lists beyond close, keep-alive and upgrade; null when none. */
  readonly nominated: ReadonlySet<string> | null;
  /** How the body is framed. `length: 0` is "no body, said so"; `none` is neither field. */
  readonly body: BodyFraming;
  readonly contentType: string | null;
  /** `Expect: 100-continue` is asked for (HTTP/1.1 only). */
  readonly expectContinue: boolean;
  /** `Connection: upgrade` with `Upgrade: websocket` alone, on an HTTP/1.1 GET without a body. */
  readonly upgradeWebSocket: boolean;
  /** The client asked for the connection to end after this exchange (or is HTTP/1.0 without keep-alive). */
  readonly closeAfter: boolean;
}

export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" };

export interface HeadLimits {
  readonly headerLines: number;
  readonly targetBytes: number;
  /** This instance's token in `Via`: a request that carries it already went through here (508). */
  readonly viaToken: string;
}

/**
 * Reads a request's head. The fault is the answer; after it the connection closes. Checks, in order: number of header
 * lines, version, CONNECT and TRACE, framing and repeated fields, Host, Connection, Expect, loop, the target.
 * `OPTIONS *` is the gateway's and never comes here.
 */
export declare function readHead(
  method: string,
  rawTarget: string,
  httpVersion: string,
  rawHeaders: readonly string[],
  limits: HeadLimits,
): RequestHead | Fault;

/** The value of a field that is there exactly once, by lower-case name; null when absent or repeated. */
export declare function headerValue(head: RequestHead, name: string): string | null;

/** How often a field is there, by lower-case name. */
export declare function headerCount(head: RequestHead, name: string): number;
