/**
 * Three readings of the same bytes. What the gateway sends is only unambiguous when a strict server, a server that
 * forgives (bare LF, white space before the colon, `_` for `-`, Transfer-Encoding over Content-Length) and one that
 * looks at Content-Length first all find the same requests in it.
 */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  /** In order, as they came; latin1. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  readonly trailers: readonly (readonly [name: string, value: string])[];
  /** False: the head is whole, the body is not (yet). */
  readonly complete: boolean;
  /** Where it ends in the stream. */
  readonly end: number;
}

export type ParseStep =
  | { readonly kind: "request"; readonly request: SeenRequest }
  /** Nothing whole yet; `begun` is the request whose body is still to come, null while the head is. */
  | { readonly kind: "incomplete"; readonly begun: SeenRequest | null }
  | { readonly kind: "invalid"; readonly reason: string };

export type ParserName = "strict" | "lenient" | "lengthFirst";

export const PARSER_NAMES: readonly ParserName[] = ["strict", "lenient", "lengthFirst"];

interface Dialect {
  readonly bareLf: boolean;
  readonly forgiving: boolean;
  readonly framing: "one only" | "coding first" | "length first";
}

const DIALECTS: Readonly<Record<ParserName, Dialect>> = {
  strict: { bareLf: false, forgiving: false, framing: "one only" },
  lenient: { bareLf: true, forgiving: true, framing: "coding first" },
  lengthFirst: { bareLf: false, forgiving: true, framing: "length first" },
};

/** Reads the request that begins at `from`. */
export function parseRequest(name: ParserName, bytes: Buffer, from: number): ParseStep {
  const dialect = DIALECTS[name];
  const block = readBlock(bytes, dialect.forgiving ? skipBlankLines(bytes, from) : from, dialect);
  if (block === null) return { kind: "incomplete", begun: null };
  if (typeof block === "string") return { kind: "invalid", reason: block };
  const [requestLine = "", ...fields] = block.lines;
  const line = parseRequestLine(requestLine, dialect);
  if (typeof line === "string") return { kind: "invalid", reason: line };
  const headers = parseFields(fields, dialect);
  if (typeof headers === "string") return { kind: "invalid", reason: headers };
  const framing = readFraming(headers, line.version, dialect);
  if (typeof framing === "string") return { kind: "invalid", reason: framing };
  const body = readBody(bytes, block.end, framing, dialect);
  if (typeof body === "string") return { kind: "invalid", reason: body };
  const request: SeenRequest = { ...line, headers, ...body };
  return body.complete ? { kind: "request", request } : { kind: "incomplete", begun: request };
}

/** The values of a field, by name in any case. */
export function valuesOf(message: { readonly headers: SeenRequest["headers"] }, name: string): string[] {
  const wanted = name.toLowerCase();
  return message.headers.filter(([each]) => each.toLowerCase() === wanted).map(([, value]) => value);
}

function skipBlankLines(bytes: Buffer, from: number): number {
  let at = from;
  while (bytes[at] === 13 || bytes[at] === 10) at += 1;
  return at;
}

interface Block {
  readonly lines: string[];
  readonly end: number;
}

/** The lines up to the empty one; null while it has not come. */
function readBlock(bytes: Buffer, from: number, dialect: Dialect): Block | string | null {
  const lines: string[] = [];
  let at = from;
  for (;;) {
    const feed = bytes.indexOf(10, at);
    if (feed === -1) return null;
    const endsInCr = feed > at && bytes[feed - 1] === 13;
    if (!endsInCr && !dialect.bareLf) return "bare LF";
    const line = bytes.toString("latin1", at, endsInCr ? feed - 1 : feed);
    at = feed + 1;
    if (line === "") return { lines, end: at };
    lines.push(line);
  }
}

function parseRequestLine(
  line: string,
  dialect: Dialect,
): { method: string; target: string; version: string } | string {
  const match = dialect.forgiving
    ? /^([^\s]+)[ \t]+(.*?)[ \t]+(HTTP\/[\d.]+)[ \t]*$/.exec(line)
    : /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) (HTTP\/1\.[01])$/.exec(line);
  if (match === null) return `request line: ${JSON.stringify(line.slice(0, 80))}`;
  const [, method = "", target = "", version = ""] = match;
  return { method, target, version };
}

function parseFields(lines: readonly string[], dialect: Dialect): SeenRequest["headers"] | string {
  const fields: [string, string][] = [];
  for (const line of lines) {
    const folded = /^[ \t]/.test(line);
    const last = fields.at(-1);
    if (folded && dialect.forgiving && last !== undefined) {
      last[1] += ` ${line.trim()}`;
      continue;
    }
    const colon = line.indexOf(":");
    if (dialect.forgiving) {
      if (colon > 0) fields.push([line.slice(0, colon).trim().replaceAll("_", "-"), line.slice(colon + 1).trim()]);
      continue;
    }
    const name = line.slice(0, Math.max(colon, 0));
    const value = line.slice(colon + 1);
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return `field name: ${JSON.stringify(line.slice(0, 80))}`;
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) return `control character in ${name}`;
    fields.push([name, value.replace(/^[ \t]+|[ \t]+$/g, "")]);
  }
  return fields;
}

type Framing = { readonly kind: "length"; readonly bytes: number } | { readonly kind: "chunked" };

function readFraming(headers: SeenRequest["headers"], version: string, dialect: Dialect): Framing | string {
  const lengths = valuesOf({ headers }, "content-length");
  const codings = valuesOf({ headers }, "transfer-encoding");
  if (dialect.framing === "one only") {
    if (lengths.length + codings.length > 1) return "more than one framing field";
    if (codings.length === 1 && codings[0]?.toLowerCase() !== "chunked") return "transfer coding";
    if (codings.length === 1 && version !== "HTTP/1.1") return "transfer coding on HTTP/1.0";
    if (lengths.length === 1 && !/^\d{1,15}$/.test(lengths[0] ?? "")) return "content length";
    if (version === "HTTP/1.1" && valuesOf({ headers }, "host").length !== 1) return "host";
  }
  const chunked = codings.some((value) => /chunked/i.test(value));
  const length = Number.parseInt(lengths.at(-1) ?? "", 10);
  const hasLength = lengths.length > 0 && Number.isFinite(length) && length >= 0;
  if (dialect.framing === "length first" && hasLength) return { kind: "length", bytes: length };
  if (chunked) return { kind: "chunked" };
  return { kind: "length", bytes: hasLength ? length : 0 };
}

type Body = Pick<SeenRequest, "body" | "trailers" | "complete" | "end">;

function readBody(bytes: Buffer, from: number, framing: Framing, dialect: Dialect): Body | string {
  if (framing.kind === "length") {
    const end = from + framing.bytes;
    const body = bytes.subarray(from, Math.min(end, bytes.length));
    return { body, trailers: [], complete: bytes.length >= end, end: Math.min(end, bytes.length) };
  }
  return readChunked(bytes, from, dialect);
}

/** Chunked coding; shared with the reading of answers. */
export function readChunked(
  bytes: Buffer,
  from: number,
  dialect: { readonly bareLf: boolean; readonly forgiving: boolean } = DIALECTS.strict,
): Body | string {
  const chunks: Buffer[] = [];
  let at = from;
  const unfinished = (): Body => ({ body: Buffer.concat(chunks), trailers: [], complete: false, end: bytes.length });
  for (;;) {
    const feed = bytes.indexOf(10, at);
    if (feed === -1) return unfinished();
    if (bytes[feed - 1] !== 13 && !dialect.bareLf) return "chunk size line ends in a bare LF";
    const line = bytes.toString("latin1", at, feed).replace(/\r$/, "");
    if (!dialect.forgiving && !/^[0-9a-fA-F]{1,12}(;[^\r\n\x00]*)?$/.test(line))
      return `chunk size: ${line.slice(0, 40)}`;
    const size = Number.parseInt(line.trim(), 16);
    if (!Number.isFinite(size) || size < 0) return `chunk size: ${line.slice(0, 40)}`;
    at = feed + 1;
    if (size === 0) break;
    if (bytes.length < at + size) {
      chunks.push(bytes.subarray(at));
      return unfinished();
    }
    chunks.push(bytes.subarray(at, at + size));
    at += size;
    if (bytes.length < at + 2) return unfinished();
    if (bytes[at] === 13 && bytes[at + 1] === 10) at += 2;
    else if (dialect.bareLf && bytes[at] === 10) at += 1;
    else return "chunk data is longer than its size";
  }
  const block = readBlock(bytes, at, { ...DIALECTS.strict, bareLf: dialect.bareLf });
  if (block === null) return unfinished();
  if (typeof block === "string") return block;
  const trailers = parseFields(block.lines, { ...DIALECTS.strict, forgiving: dialect.forgiving });
  if (typeof trailers === "string") return trailers;
  return { body: Buffer.concat(chunks), trailers, complete: true, end: block.end };
}
