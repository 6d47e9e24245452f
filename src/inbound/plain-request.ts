import { IN_TOKEN, octetSet } from "../octets.ts";

/** The head of a request that was read without Node's parser: just what that would have read. */
export interface PlainRequest {
  readonly method: string;
  /** Origin-form. */
  readonly url: string;
  /** Name, value, name, value ...: as `IncomingMessage.rawHeaders`. */
  readonly rawHeaders: string[];
}

/** Longer heads are rare, and left to Node's parser. Bytes. */
export const PLAIN_REQUEST_BYTES = 8 * 1024;

/**
 * Reads what came in one read, if it is one whole request of the plainest kind and nothing else: GET, HEAD or DELETE in
 * HTTP/1.1, no body, nothing said about the connection but keep-alive, and not a byte on which two parsers were ever of
 * two minds. Null for all that is not: it is not wrong, but for Node's parser to judge. So what is read here is a part of
 * what that takes, and read alike, which a property test holds.
 */
export function readPlainRequest(bytes: Buffer): PlainRequest | null {
  const { length } = bytes;
  if (length > PLAIN_REQUEST_BYTES || length < LEAST_BYTES || bytes[length - 1] !== LF) return null;
  const text = bytes.toString("latin1");
  const method = readMethod(text);
  if (method === null) return null;

  const targetAt = method.length + 1;
  if (bytes[targetAt] !== SLASH) return null;
  let at = targetAt;
  while (IN_TARGET[bytes[at]!] === 1) at++;
  const url = text.slice(targetAt, at);
  if (!text.startsWith(VERSION_AND_LINE_END, at)) return null;
  at += VERSION_AND_LINE_END.length;

  // What is looked at lies before the end: the last byte is in none of the sets.
  const rawHeaders: string[] = [];
  while (bytes[at] !== CR) {
    const nameAt = at;
    while (IN_TOKEN[bytes[at]!] === 1) at++;
    if (at === nameAt || bytes[at] !== COLON) return null;
    const name = text.slice(nameAt, at);
    at++;
    if (bytes[at] === SPACE) at++;
    const valueAt = at;
    while (IN_PLAIN_VALUE[bytes[at]!] === 1) at++;
    // A value with nothing in it, or blanks around it, is for those who take them off.
    if (at === valueAt || bytes[valueAt] === SPACE || bytes[at - 1] === SPACE) return null;
    if (bytes[at] !== CR || bytes[at + 1] !== LF) return null;
    const value = text.slice(valueAt, at);
    if (!isPlainField(name, value)) return null;
    rawHeaders.push(name, value);
    at += 2;
  }
  // The empty line is the last.
  return at === length - 2 ? { method, url, rawHeaders } : null;
}

function readMethod(text: string): string | null {
  if (text.startsWith("GET ")) return "GET";
  if (text.startsWith("HEAD ")) return "HEAD";
  if (text.startsWith("DELETE ")) return "DELETE";
  return null;
}

/** Neither a body nor anything about the connection. Lengths come first: most fields are told apart by that alone. */
function isPlainField(name: string, value: string): boolean {
  switch (name.length) {
    case 2: // TE
    case 6: // Expect
    case 7: // Upgrade, Trailer
    case 14: // Content-Length
    case 16: // Proxy-Connection
    case 17: // Transfer-Encoding
      return !NOT_PLAIN.has(name.toLowerCase());
    case 10:
      return name.toLowerCase() !== "connection" || value === "keep-alive" || value === "Keep-Alive";
    default:
      return true;
  }
}

const NOT_PLAIN: ReadonlySet<string> = new Set([
  "te",
  "expect",
  "upgrade",
  "trailer",
  "content-length",
  "proxy-connection",
  "transfer-encoding",
]);

const VERSION_AND_LINE_END = " HTTP/1.1\r\n";
const LEAST_BYTES = "GET / HTTP/1.1\r\n\r\n".length;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const SLASH = 0x2f;
const COLON = 0x3a;

/** RFC 3986: what a path and a query are made of, and nothing that some take and others do not. */
const IN_TARGET = octetSet(/[A-Za-z0-9\-._~%!$&'()*+,;=:@/?]/);
/** Less than a value may hold: neither tabs nor what is above 127. */
const IN_PLAIN_VALUE = octetSet(/[ -~]/);
