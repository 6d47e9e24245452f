import { type Fault, fault } from "../faults/fault.ts";
import { malformedField } from "../faults/malformed-field.ts";
import { fieldsTooLarge, targetTooLong } from "../faults/too-much.ts";
import type { ListenerLimits } from "./listener.ts";

/** What Node's server says of bytes that are no request, or that did not come in time. */
export interface ParseError extends Error {
  readonly code?: string;
  /** Where in `rawPacket` the parser gave up. */
  readonly bytesParsed?: number;
  readonly rawPacket?: Buffer;
}

type ParserLimits = Pick<ListenerLimits, "headerBytes" | "targetBytes">;

/** What a client is told of it; `limits` are those that Node's parser may have stopped at. */
export function faultOfParseError(error: ParseError, limits: ParserLimits): Fault {
  const { code } = error;
  // The error holds the raw bytes, key included: only its code goes on.
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return fault("user:bad_request:request_timeout");
  if (code === "HPE_HEADER_OVERFLOW") return overflow(error, limits);
  if ((code === "HPE_INVALID_VERSION" && !endsLineBadly(error)) || code === "HPE_PAUSED_H2_UPGRADE") {
    return fault("user:bad_request:http_version_not_supported");
  }
  if (code === "HPE_INVALID_URL") {
    const detail = "The request target holds characters that it may not, or does not begin with a slash";
    return fault("user:bad_request:ambiguous_path", { detail, location: "path", cause: code });
  }
  if (code === "HPE_INVALID_HEADER_TOKEN") return malformedField(code);
  const { detail, location } = REASONS[code ?? ""] ?? { detail: "The request is not valid HTTP/1.1" };
  return fault("user:bad_request:invalid_request", {
    detail,
    cause: code,
    ...(location !== undefined && { location }),
  });
}

interface Reason {
  readonly detail: string;
  readonly location?: string;
}

const LINE_END: Reason = { detail: "Every line must end in CR and LF" };

/** By llhttp's codes: what to tell of bytes that `head.ts` never gets to see. */
const REASONS: Readonly<Record<string, Reason>> = {
  HPE_UNEXPECTED_CONTENT_LENGTH: {
    detail: "The request has more than one Content-Length field",
    location: "headers.content-length",
  },
  HPE_INVALID_CONTENT_LENGTH: {
    detail: "Content-Length must be one number of bytes, in digits, and without Transfer-Encoding",
    location: "headers.content-length",
  },
  HPE_INVALID_TRANSFER_ENCODING: {
    detail: "The only transfer coding is chunked, by itself and without Content-Length",
    location: "headers.transfer-encoding",
  },
  HPE_CR_EXPECTED: LINE_END,
  HPE_LF_EXPECTED: LINE_END,
  HPE_INVALID_VERSION: LINE_END,
  HPE_INVALID_METHOD: { detail: "The request line does not begin with a method of HTTP" },
  HPE_INVALID_CHUNK_SIZE: { detail: "The size of a chunk must be a number in hexadecimal digits", location: "body" },
};

/** The version itself may be one of ours, but a bare LF or a space follows it. */
function endsLineBadly({ rawPacket, bytesParsed }: ParseError): boolean {
  const at = bytesParsed ?? 0;
  // The parser stops at a space, and behind a bare LF.
  return rawPacket?.[at] === 0x20 || rawPacket?.[at - 1] === 0x0a;
}

/** Too many bytes before the end of the head: whose they are shows in where the first line came to an end. */
function overflow({ rawPacket }: ParseError, limits: ParserLimits): Fault {
  if (rawPacket !== undefined && firstLineBytes(rawPacket) > limits.targetBytes) {
    return targetTooLong(limits.targetBytes);
  }
  return fieldsTooLarge(limits.headerBytes);
}

/** How long the request line in these bytes is, as far as they go; 0 when they do not begin with one. */
function firstLineBytes(bytes: Buffer): number {
  if (!/^[A-Z-]+ /.test(bytes.toString("latin1", 0, 32))) return 0;
  const end = bytes.indexOf("\n");
  return end === -1 ? bytes.length : end;
}
