import { hexDigit, IN_TOKEN, isBlank, isInFieldValue, TOKEN } from "../octets.ts";
import { type KnownHead, KnownHeads } from "./known-heads.ts";

/**
 * Reads HTTP/1.1 answers off the bytes of one connection, strictly: what is not clean HTTP (RFC 9112) is a problem, and
 * nothing is repaired or guessed. It does no I/O, never throws, and gives the same events however the bytes are cut.
 *
 * Stricter than the RFC asks, since an answer two readers understand differently is how responses get split: one form
 * of status line, CRLF only, no folding, `chunked` as the only transfer coding, no second Content-Length even when equal.
 */
export class ResponseParser {
  /** The answer allows another request on this connection; read once it is complete. */
  keepAlive = false;
  /**
   * Milliseconds that the upstream keeps an idle connection (`Keep-Alive: timeout=N`); -1 where it did not say. The least
   * where it says several: a proxy in front of it may add its own.
   */
  keepAliveMs = -1;
  /** There were bytes behind the end of the answer: the connection can not be trusted with another request. */
  excess = false;
  /** A byte of something that is not a whole interim answer was seen. */
  begun = false;

  readonly #sink: ResponseSink;
  readonly #known: KnownHeads;
  #state: State = IDLE;
  #headRequest = false;
  #upgradeAsked = false;
  #interims = 0;
  /** An unfinished line, latin1. */
  #pending = "";
  /** Of the current head or trailer section: bytes and lines read. */
  #sectionBytes = 0;
  #lines = 0;
  /** Never changed once it was told of. */
  #headers: string[] = [];
  #status = 0;
  #minor = 0;
  #reason = "";
  #length = -1;
  #chunked = false;
  #close = false;
  /** Body bytes still to come, of the message or of the chunk. */
  #remaining = 0;
  #extensionBytes = 0;
  /** The last Keep-Alive value: an upstream says the same each time. */
  #keepAliveField = "";
  #keepAliveFieldMs = -1;

  /** `known`: shared by the connections to one origin. */
  constructor(sink: ResponseSink, known: KnownHeads = new KnownHeads()) {
    this.#sink = sink;
    this.#known = known;
  }

  /** Expects an answer. `headRequest`: none has a body. `upgradeAsked`: a 101 is an answer. */
  begin(headRequest: boolean, upgradeAsked: boolean): void {
    this.#headRequest = headRequest;
    this.#upgradeAsked = upgradeAsked;
    this.#interims = 0;
    this.#pending = "";
    this.keepAlive = false;
    this.excess = false;
    this.begun = false;
    this.#expectHead();
  }

  /** No further event is given. */
  stop(): void {
    this.#state = DEAD;
  }

  /** The next bytes. Body chunks handed on are views of them. */
  feed(chunk: Buffer): void {
    const size = chunk.length;
    let at = 0;
    while (at < size) {
      switch (this.#state) {
        case HEAD:
          at = this.#readHead(chunk, at);
          break;
        case LENGTH:
          at = this.#readLength(chunk, at);
          break;
        case CHUNK_SIZE:
          at = this.#readChunkSize(chunk, at);
          break;
        case CHUNK_DATA:
          at = this.#readChunkData(chunk, at);
          break;
        case CHUNK_CR:
          at = this.#readChunkEnd(chunk, at, CR, CHUNK_LF);
          break;
        case CHUNK_LF:
          at = this.#readChunkEnd(chunk, at, LF, CHUNK_SIZE);
          break;
        case TRAILERS:
          at = this.#readTrailers(chunk, at);
          break;
        case UNTIL_CLOSE:
          this.#sink.onBody(at === 0 ? chunk : chunk.subarray(at), false);
          return;
        case DONE:
        case IDLE:
          this.excess = true;
          return;
        case DEAD:
          return;
      }
    }
  }

  /** The connection ended. False: in the midst of an answer, which is thereby cut short. */
  finish(): boolean {
    if (this.#state === UNTIL_CLOSE) {
      this.#complete(NO_FIELDS, false);
      return true;
    }
    return this.#state === DONE || this.#state === IDLE || this.#state === DEAD;
  }

  #expectHead(): void {
    this.#state = HEAD;
    this.#sectionBytes = 0;
    this.#lines = 0;
    this.#headers = [];
    this.#status = 0;
    this.#length = -1;
    this.#chunked = false;
    this.#close = false;
    this.#extensionBytes = 0;
    this.keepAliveMs = -1;
  }

  #refuse(detail: string): void {
    this.#state = DEAD;
    this.#sink.onProblem(detail);
  }

  /** Reads what is there of a head, line by line; gives where the rest begins (the chunk's end when all was used). */
  #readHead(chunk: Buffer, at: number): number {
    this.begun = true;
    const carried = this.#pending.length;
    const untouched = this.#status === 0 && carried === 0;
    const again = untouched ? this.#known.again(chunk, at) : null;
    if (again !== null) return this.#recall(again, chunk, at);
    const text = this.#sectionText(chunk, at, HEAD_BYTES_MAX);
    const known = untouched ? this.#known.find(text) : null;
    if (known !== null) return this.#recall(known, chunk, at);
    let from = 0;
    for (;;) {
      const to = text.indexOf("\n", from);
      if (this.#status === 0 && !hasVersionPrefix(text, to)) return this.#stopAt(chunk, "not an HTTP/1.x status line");
      if (to === -1) return this.#keepLine(chunk, text, from, HEAD_BYTES_MAX);
      this.#sectionBytes += to + 1 - from;
      if (this.#sectionBytes > HEAD_BYTES_MAX) return this.#stopAt(chunk, HEAD_TOO_LARGE);
      if (to === from || text.charCodeAt(to - 1) !== CR) return this.#stopAt(chunk, "line not ended by CRLF");
      if (to - 1 === from && this.#status !== 0) {
        this.#pending = "";
        if (untouched && this.#status >= 200) this.#remember(text);
        return this.#endHead(chunk, at + to + 1 - carried);
      }
      const problem =
        this.#status === 0 ? this.#readStatusLine(text, from, to - 1) : this.#readField(text, from, to - 1);
      if (problem !== null) return this.#stopAt(chunk, problem);
      from = to + 1;
    }
  }

  /** A head that was read before, byte for byte, says now what it said then. */
  #recall(head: KnownHead, chunk: Buffer, at: number): number {
    this.#status = head.status;
    this.#minor = head.minor;
    this.#reason = head.reason;
    this.#headers = head.headers;
    this.#length = head.length;
    this.#chunked = head.chunked;
    this.#close = head.close;
    this.keepAliveMs = head.keepAliveMs;
    return this.#endHead(chunk, at + head.text.length);
  }

  #remember(text: string): void {
    this.#known.keep({
      text,
      status: this.#status,
      minor: this.#minor,
      reason: this.#reason,
      headers: this.#headers,
      length: this.#length,
      chunked: this.#chunked,
      close: this.#close,
      keepAliveMs: this.keepAliveMs,
    });
  }

  /** The text to read lines from: what is left of an earlier chunk, and of this one no more than can matter. */
  #sectionText(chunk: Buffer, at: number, bytesMax: number): string {
    const terminator = chunk.indexOf(HEAD_END, at);
    const most = at + bytesMax + 1;
    const end = terminator === -1 ? Math.min(chunk.length, most) : Math.min(terminator + 4, most);
    const text = chunk.toString("latin1", at, end);
    return this.#pending === "" ? text : this.#pending + text;
  }

  /** Keeps an unfinished line for the next chunk. */
  #keepLine(chunk: Buffer, text: string, from: number, bytesMax: number): number {
    this.#pending = from === 0 ? text : text.slice(from);
    if (this.#sectionBytes + this.#pending.length > bytesMax) this.#refuse(HEAD_TOO_LARGE);
    return chunk.length;
  }

  #stopAt(chunk: Buffer, problem: string): number {
    this.#refuse(problem);
    return chunk.length;
  }

  /** `HTTP/1.1 200 OK`, `HTTP/1.1 200 ` or `HTTP/1.1 200`; the prefix has been looked at. */
  #readStatusLine(text: string, from: number, to: number): string | null {
    const hundreds = text.charCodeAt(from + 9) - ZERO;
    const tens = text.charCodeAt(from + 10) - ZERO;
    const ones = text.charCodeAt(from + 11) - ZERO;
    if (to - from < 12 || !isDigit(hundreds) || !isDigit(tens) || !isDigit(ones)) return "malformed status line";
    if (to - from > 12 && text.charCodeAt(from + 12) !== SP) return "malformed status line";
    if (hundreds < 1 || hundreds > 5) return "status outside 100 to 599";
    for (let i = from + 13; i < to; i++) {
      const code = text.charCodeAt(i);
      if (code < SP || code === DEL) return "control character in the reason phrase";
    }
    this.#minor = text.charCodeAt(from + 7) - ZERO;
    this.#status = hundreds * 100 + tens * 10 + ones;
    this.#reason = text.slice(from + 13, to);
    return null;
  }

  #readField(text: string, from: number, to: number): string | null {
    if (++this.#lines > LINES_MAX) return "too many header lines";
    let i = from;
    while (i < to && IN_TOKEN[text.charCodeAt(i)] === 1) i++;
    const first = text.charCodeAt(from);
    if (first === SP || first === HTAB) return "obsolete line folding";
    if (i === from || text.charCodeAt(i) !== COLON || i === to) return "malformed header name";
    const nameEnd = i++;
    let end = to;
    while (i < end && isBlank(text.charCodeAt(i))) i++;
    while (end > i && isBlank(text.charCodeAt(end - 1))) end--;
    for (let j = i; j < end; j++) {
      if (!isInFieldValue(text.charCodeAt(j))) return "control character in a header value";
    }
    const name = text.slice(from, nameEnd);
    const value = text.slice(i, end);
    this.#headers.push(name, value);
    const problem = this.#noteField(name, value);
    // Readers disagree whether a tab beside the value belongs to it; where framing hangs on that, nobody may guess.
    return problem === FRAMES
      ? text.slice(nameEnd, to).includes("\t")
        ? "tab beside a framing value"
        : null
      : problem;
  }

  /** The few fields that decide about framing and reuse; told apart by length first. A problem, null, or `FRAMES`. */
  #noteField(name: string, value: string): string | null {
    switch (name.length) {
      case 10:
        if (this.#state === TRAILERS) return null;
        if (isName(name, "connection")) this.#close ||= listsClose(value);
        else if (isName(name, "keep-alive")) this.#noteKeepAlive(value);
        return null;
      case 14:
        return isName(name, "content-length") ? this.#noteLength(value) : null;
      case 16:
        if (isName(name, "proxy-connection") && this.#state !== TRAILERS) this.#close ||= listsClose(value);
        return null;
      case 17:
        return isName(name, "transfer-encoding") ? this.#noteCoding(value) : null;
      default:
        return null;
    }
  }

  #noteLength(value: string): string | null {
    if (this.#state === TRAILERS) return "Content-Length in the trailer section";
    if (this.#length !== -1) return "two Content-Length fields";
    if (this.#chunked) return "both Content-Length and Transfer-Encoding";
    if (!DIGITS.test(value)) return "malformed Content-Length";
    this.#length = Number(value);
    return FRAMES;
  }

  #noteCoding(value: string): string | null {
    if (this.#state === TRAILERS) return "Transfer-Encoding in the trailer section";
    if (this.#chunked) return "two Transfer-Encoding fields";
    if (this.#length !== -1) return "both Content-Length and Transfer-Encoding";
    if (!isName(value, "chunked")) return "transfer coding other than chunked";
    if (this.#minor === 0) return "Transfer-Encoding on HTTP/1.0";
    this.#chunked = true;
    return FRAMES;
  }

  #noteKeepAlive(value: string): void {
    if (value !== this.#keepAliveField) {
      this.#keepAliveField = value;
      this.#keepAliveFieldMs = -1;
      // To the end, where it begins anew for the next value; `matchAll` would copy the pattern for each.
      for (let found = TIMEOUTS.exec(value); found !== null; found = TIMEOUTS.exec(value)) {
        this.#keepAliveFieldMs = shorterOf(this.#keepAliveFieldMs, Number(found[1]) * 1000);
      }
    }
    this.keepAliveMs = shorterOf(this.keepAliveMs, this.#keepAliveFieldMs);
  }

  /** The empty line was read; the rest of the chunk begins at `at`. */
  #endHead(chunk: Buffer, at: number): number {
    const status = this.#status;
    if (status < 200) return this.#endInterim(chunk, at);
    const empty = this.#headRequest || status === 204 || status === 304;
    const bodyless = empty || this.#length === 0;
    const untilClose = !bodyless && !this.#chunked && this.#length === -1;
    // Told of a body that is not to come: some servers send it all the same, as the answer to somebody's next request.
    // (The length of a 304 is that of the answer it stands for, and usual.)
    const mayFollow = empty && (this.#chunked || (this.#length > 0 && (this.#headRequest || status === 204)));
    this.keepAlive = this.#minor === 1 && !this.#close && !untilClose && !mayFollow;
    this.#remaining = bodyless ? 0 : this.#length;
    this.#state = untilClose ? UNTIL_CLOSE : this.#chunked ? CHUNK_SIZE : LENGTH;
    this.#sink.onHead(status, this.#reason, this.#headers, bodyless);
    if (bodyless && this.#state !== DEAD) this.#complete(NO_FIELDS, at < chunk.length);
    return at;
  }

  #endInterim(chunk: Buffer, at: number): number {
    const headers = this.#headers;
    if (this.#status === 101 && !this.#upgradeAsked) return this.#stopAt(chunk, "status 101 that nobody asked for");
    if (this.#minor === 0) return this.#stopAt(chunk, "interim answer on HTTP/1.0");
    if (this.#close) return this.#stopAt(chunk, "interim answer that closes the connection");
    if (this.#status === 101) {
      this.#state = DONE;
      this.#sink.onUpgrade(headers, chunk.subarray(at));
      return chunk.length;
    }
    if (++this.#interims > INTERIMS_MAX) return this.#stopAt(chunk, "too many interim answers");
    const status = this.#status;
    this.#expectHead();
    this.begun = false;
    this.#sink.onInterim(status, headers);
    return at;
  }

  #readLength(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#remaining);
    this.#remaining -= end - at;
    const last = this.#remaining === 0;
    this.#sink.onBody(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end), last);
    if (last && this.#state === LENGTH) this.#complete(NO_FIELDS, end < chunk.length);
    return end;
  }

  #readChunkSize(chunk: Buffer, at: number): number {
    const newline = chunk.indexOf(LF, at);
    const end = newline === -1 ? chunk.length : newline + 1;
    if (this.#pending.length + end - at > CHUNK_LINE_MAX) return this.#stopAt(chunk, "chunk size line too long");
    this.#pending += chunk.toString("latin1", at, end);
    if (newline === -1) return end;
    const line = this.#pending;
    this.#pending = "";
    if (line.charCodeAt(line.length - 2) !== CR) return this.#stopAt(chunk, "line not ended by CRLF");
    let digits = 0;
    let bytes = 0;
    for (let digit = hexDigit(line.charCodeAt(0)); digit !== -1; digit = hexDigit(line.charCodeAt(++digits))) {
      bytes = bytes * 16 + digit;
    }
    if (digits === 0 || digits > CHUNK_DIGITS_MAX || bytes > Number.MAX_SAFE_INTEGER) {
      return this.#stopAt(chunk, "malformed chunk size");
    }
    if (digits !== line.length - 2 && !this.#allowsExtension(line.slice(digits, -2))) {
      return this.#stopAt(chunk, "malformed chunk extension");
    }
    if (bytes === 0) {
      this.#state = TRAILERS;
      this.#sectionBytes = 0;
      this.#lines = 0;
      this.#headers = [];
    } else {
      this.#remaining = bytes;
      this.#state = CHUNK_DATA;
    }
    return end;
  }

  /** Extensions are dropped; what all of them of one answer may weigh is bounded. */
  #allowsExtension(text: string): boolean {
    this.#extensionBytes += text.length;
    return this.#extensionBytes <= EXTENSION_BYTES_MAX && EXTENSIONS.test(text);
  }

  #readChunkData(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#remaining);
    this.#remaining -= end - at;
    if (this.#remaining === 0) {
      if (endsMessage(chunk, end)) return this.#endInOneRead(chunk, at, end);
      this.#state = CHUNK_CR;
    }
    this.#sink.onBody(chunk.subarray(at, end), false);
    return end;
  }

  #readChunkEnd(chunk: Buffer, at: number, expected: number, next: State): number {
    if (chunk[at] !== expected) return this.#stopAt(chunk, "chunk data not followed by CRLF");
    this.#state = next;
    return at + 1;
  }

  /** The chunk's data is followed by the last chunk and nothing else of this answer: the usual short answer. */
  #endInOneRead(chunk: Buffer, at: number, end: number): number {
    this.#sink.onBody(chunk.subarray(at, end), true);
    if (this.#state === CHUNK_DATA) this.#complete(NO_FIELDS, end + LAST_CHUNK.length < chunk.length);
    return end + LAST_CHUNK.length;
  }

  #readTrailers(chunk: Buffer, at: number): number {
    const carried = this.#pending.length;
    const text = this.#sectionText(chunk, at, TRAILER_BYTES_MAX);
    let from = 0;
    for (;;) {
      const to = text.indexOf("\n", from);
      if (to === -1) return this.#keepLine(chunk, text, from, TRAILER_BYTES_MAX);
      this.#sectionBytes += to + 1 - from;
      if (this.#sectionBytes > TRAILER_BYTES_MAX) return this.#stopAt(chunk, HEAD_TOO_LARGE);
      if (to === from || text.charCodeAt(to - 1) !== CR) return this.#stopAt(chunk, "line not ended by CRLF");
      if (to - 1 === from) {
        this.#pending = "";
        const next = at + to + 1 - carried;
        this.#complete(this.#headers, next < chunk.length);
        return next;
      }
      const problem = this.#readField(text, from, to - 1);
      if (problem !== null) return this.#stopAt(chunk, problem);
      from = to + 1;
    }
  }

  #complete(trailers: readonly string[], excess: boolean): void {
    this.#state = DONE;
    this.excess = excess;
    this.#sink.onEnd(trailers);
  }
}

/** Told what an answer holds. After `onEnd`, `onUpgrade` or `onProblem` nothing follows until the next `begin`. */
export interface ResponseSink {
  onInterim(status: number, headers: readonly string[]): void;
  onHead(status: number, reason: string, headers: readonly string[], bodyless: boolean): void;
  /** `last`: `onEnd` follows at once, without trailers. Where the body's end is not in these bytes it is false. */
  onBody(chunk: Buffer, last: boolean): void;
  onEnd(trailers: readonly string[]): void;
  onUpgrade(headers: readonly string[], rest: Buffer): void;
  /** Not clean HTTP; `detail` names the rule and holds nothing of what was sent. */
  onProblem(detail: string): void;
}

type State = number;
const IDLE = 0;
const HEAD = 1;
const LENGTH = 2;
const CHUNK_SIZE = 3;
const CHUNK_DATA = 4;
const CHUNK_CR = 5;
const CHUNK_LF = 6;
const TRAILERS = 7;
const UNTIL_CLOSE = 8;
const DONE = 9;
const DEAD = 10;

const HEAD_BYTES_MAX = 64 * 1024;
const TRAILER_BYTES_MAX = 16 * 1024;
const LINES_MAX = 256;
const INTERIMS_MAX = 8;
/** Size, extensions and CRLF of one chunk. */
const CHUNK_LINE_MAX = 1024;
const CHUNK_DIGITS_MAX = 15;
const EXTENSION_BYTES_MAX = 16 * 1024;
/** Not a problem: the field was understood and frames the body. */
const FRAMES = "frames";
const HEAD_TOO_LARGE = "header block too large";

const HEAD_END = Buffer.from("\r\n\r\n");
const LAST_CHUNK = "\r\n0\r\n\r\n";
const NO_FIELDS: readonly string[] = Object.freeze([]);

const HTAB = 9;
const LF = 10;
const CR = 13;
const SP = 32;
const ZERO = 48;
const COLON = 58;
const DEL = 127;

const DIGITS = /^[0-9]{1,15}$/;
const TIMEOUTS = /(?:^|[,;\s])timeout\s{0,8}=\s{0,8}"?([0-9]{1,6})(?![0-9])/gi;
/** RFC 9110 section 5.6.4. */
const QUOTED_STRING = String.raw`"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`;
/** RFC 9112 section 7.1.1, without its optional white space. */
const EXTENSIONS = new RegExp(`^(?:;${TOKEN}(?:=(?:${TOKEN}|${QUOTED_STRING}))?)+$`);

/** As much as there is of the first line begins like `HTTP/1.1 ` or `HTTP/1.0 `; `to` is its end, or -1. */
function hasVersionPrefix(text: string, to: number): boolean {
  if (text.startsWith("HTTP/1.1 ") || text.startsWith("HTTP/1.0 ")) return true;
  return to === -1 && ("HTTP/1.1 ".startsWith(text) || "HTTP/1.0 ".startsWith(text));
}

function isDigit(value: number): boolean {
  return value >= 0 && value <= 9;
}

function isName(text: string, lowerCase: string): boolean {
  return text.length === lowerCase.length && text.toLowerCase() === lowerCase;
}

/** Of two times; -1 is none. */
function shorterOf(aMs: number, bMs: number): number {
  return aMs === -1 || (bMs !== -1 && bMs < aMs) ? bMs : aMs;
}

function listsClose(value: string): boolean {
  if (value.length < 5 || isName(value, "keep-alive")) return false;
  return value.split(",").some((option) => option.trim().toLowerCase() === "close");
}

function endsMessage(chunk: Buffer, at: number): boolean {
  if (chunk.length < at + LAST_CHUNK.length) return false;
  for (let i = 0; i < LAST_CHUNK.length; i++) {
    if (chunk[at + i] !== LAST_CHUNK.charCodeAt(i)) return false;
  }
  return true;
}
