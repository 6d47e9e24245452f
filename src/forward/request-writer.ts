import type { UpstreamRequest } from "./forwarder.ts";

/**
 * The request's head as one latin1 string. Every part was found clean before; it is looked at once more here, since a
 * line break that slipped through would be a second request on a connection others use. Throws then: it is our mistake.
 * Only the longest is not, who is asking: it is printable ASCII by how it is made, once for a key (`principalOf`).
 */
export function formatRequestHead(request: UpstreamRequest): string {
  const { method, path, headers } = request;
  if (!METHOD.test(method) || NOT_IN_PATH.test(path)) throw new TypeError("unclean request line for the upstream");
  let head = `${method} ${path} HTTP/1.1\r\n`;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (!isCleanName(name) || !(name === "X-Unkey-Principal" || isCleanValue(value)))
      throw new TypeError("unclean header field for the upstream");
    head = `${head + name}: ${value}\r\n`;
  }
  return `${head}\r\n`;
}

/** What the head announces for `body: "length"`; -1 when it does not. */
export function announcedLength(headers: readonly string[]): number {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length === 14 && name.toLowerCase() === "content-length") return Number(headers[i + 1]);
  }
  return -1;
}

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/;
const NOT_IN_PATH = /[^!-~]/;
const NOT_IN_NAME = /[^!#$%&'*+\-.^_`|~0-9A-Za-z]/;
const NOT_IN_VALUE = /[^\t -~\x80-\xff]/;

/** Clean, as anybody can see: the names that most fields have. Looking for one costs less than looking at it. */
const USUAL_NAMES: ReadonlySet<string> = new Set([
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
]);

function isCleanName(name: string): boolean {
  return USUAL_NAMES.has(name) || (name !== "" && !NOT_IN_NAME.test(name));
}

/** Up to so many characters a loop costs less than the call of a regular expression. */
const SHORT = 16;

function isCleanValue(value: string): boolean {
  if (value.length > SHORT) return !NOT_IN_VALUE.test(value);
  for (let i = 0; i < value.length; i++) if (!isCleanCode(value.charCodeAt(i))) return false;
  return true;
}

function isCleanCode(code: number): boolean {
  return (code >= 0x20 && code <= 0xff && code !== 0x7f) || code === 0x09;
}
