import { isFieldValue, isToken } from "../octets.ts";
import { inOnePiece } from "../one-piece.ts";
import type { UpstreamRequest } from "./forwarder.ts";

/**
 * The request's head as one latin1 string. Every part was found clean before; it is looked at once more here, since a
 * line break that slipped through would be a second request on a connection others use. Throws then: it is our mistake.
 * Not what we made ourselves of printable ASCII, and nobody else may say: who is asking (`principalOf`), the request's id.
 */
export function formatRequestHead(request: UpstreamRequest): string {
  const { method, path, headers } = request;
  if (!isCleanMethod(method) || NOT_IN_PATH.test(path)) throw new TypeError("unclean request line for the upstream");
  let head = `${method} ${path} HTTP/1.1`;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    const before = USUAL_NAMES.get(name) ?? lineBefore(name);
    if (before === null || !(isOurs(name) || isFieldValue(value)))
      throw new TypeError("unclean header field for the upstream");
    // Each piece that is added is garbage in a moment: there are as few as can be.
    head = head + before + value;
  }
  return `${head}\r\n\r\n`;
}

/** What the head announces for `body: "length"`; -1 when it does not. */
export function announcedLength(headers: readonly string[]): number {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length === 14 && name.toLowerCase() === "content-length") return Number(headers[i + 1]);
  }
  return -1;
}

const NOT_IN_PATH = /[^!-~]/;

/** A line end, the name and its colon; null for a name that is not clean. */
function lineBefore(name: string): string | null {
  return isToken(name) ? `\r\n${name}: ` : null;
}

/**
 * Clean, as anybody can see: the names that most fields have, with what stands before their values. Looking for one costs
 * less than looking at it.
 */
const USUAL_NAMES: ReadonlyMap<string, string> = new Map(
  [
    "Host",
    "User-Agent",
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Unkey-Principal",
    "X-Request-Id",
    "Via",
  ].map((name) => [name, inOnePiece(`\r\n${name}: `)]),
);

function isOurs(name: string): boolean {
  return name === "X-Unkey-Principal" || name === "X-Request-Id";
}

function isCleanMethod(method: string): boolean {
  return method === "GET" || method === "POST" || (method.length <= 64 && isToken(method));
}
