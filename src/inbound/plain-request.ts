import { IN_TOKEN, octetSet } from "../octets.ts";

/** The head of a request that was read without Node's parser: just what that would have read. */
export interface PlainRequest {
  readonly method: string;
  /** Origin-form. */
  readonly url: string;
  /** Name, value, name, value ...: as `IncomingMessage.rawHeaders`. */
  readonly rawHeaders: string[];
  /** Bytes of the body that its Content-Length announces; 0: it has none. */
  readonly bodyBytes: number;
  /** Bytes of the head: what is behind them in the same read is the beginning of the body. */
  readonly headBytes: number;
}

/** Longer heads are rare, and left to Node's parser. Bytes. */
export const PLAIN_REQUEST_BYTES = 8 * 1024;

/**
 * Reads what came in one read, if it is one whole request of the plainest kind and nothing else, or one whose body is on
 * its way: GET, HEAD or DELETE without a body, POST, PUT or PATCH with a Content-Length, in HTTP/1.1, nothing said about
 * the connection but keep-alive, and not a byte on which two parsers were ever of two minds. Null for all that is not: it
 * is not wrong, but for Node's parser to judge. So what is read here is a part of what that takes, and read alike, which
 * a property test holds.
 *
 * `maxHeadBytes`: a longer head is Node's too.
 */
export function readPlainRequest(bytes: Buffer, maxHeadBytes = PLAIN_REQUEST_BYTES): PlainRequest | null {
  const mayHaveBody = bytes[0] === LETTER_P;
  const length = mayHaveBody ? bytes.indexOf(HEAD_END) + HEAD_END.length : bytes.length;
  if (length > maxHeadBytes || length < LEAST_BYTES || bytes[length - 1] !== LF) return null;
  const text = bytes.toString("latin1", 0, length);
  const method = mayHaveBody ? readBodyMethod(text) : readMethod(text);
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
  let bodyBytes = -1;
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
    if (mayHaveBody && name.length === CONTENT_LENGTH.length && name.toLowerCase() === CONTENT_LENGTH) {
      if (bodyBytes !== -1 || !PLAIN_LENGTH.test(value)) return null;
      bodyBytes = Number(value);
    } else if (!isPlainField(name, value)) {
      return null;
    }
    rawHeaders.push(name, value);
    at += 2;
  }
  // The empty line is the last.
  if (at !== length - 2) return null;
  bodyBytes = Math.max(bodyBytes, 0);
  // Another request behind it.
  if (bytes.length - length > bodyBytes) return null;
  return { method, url, rawHeaders, bodyBytes, headBytes: length };
}

function readMethod(text: string): string | null {
  if (text.startsWith("GET ")) return "GET";
  if (text.startsWith("HEAD ")) return "HEAD";
  if (text.startsWith("DELETE ")) return "DELETE";
  return null;
}

function readBodyMethod(text: string): string | null {
  if (text.startsWith("POST ")) return "POST";
  if (text.startsWith("PUT ")) return "PUT";
  if (text.startsWith("PATCH ")) return "PATCH";
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

const CONTENT_LENGTH = "content-length";
/** As few digits as say it, and no more than are exact as a number. */
const PLAIN_LENGTH = /^(?:0|[1-9]\d{0,14})$/;

const HEAD_END = "\r\n\r\n";
const VERSION_AND_LINE_END = " HTTP/1.1\r\n";
const LEAST_BYTES = "GET / HTTP/1.1\r\n\r\n".length;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const SLASH = 0x2f;
const LETTER_P = 0x50;
const COLON = 0x3a;

/** RFC 3986: what a path and a query are made of, and nothing that some take and others do not. */
const IN_TARGET = octetSet(/[A-Za-z0-9\-._~%!$&'()*+,;=:@/?]/);
/** Less than a value may hold: neither tabs nor what is above 127. */
const IN_PLAIN_VALUE = octetSet(/[ -~]/);
