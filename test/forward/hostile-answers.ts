/** Answers for the differential tests: made from the grammar, then bent. The same seed gives the same answers. */
export interface HostileAnswer {
  readonly head: boolean;
  readonly bytes: Buffer;
  /** Where the bytes are cut into reads, ascending. */
  readonly cuts: readonly number[];
}

export function hostileAnswers(seed: number): () => HostileAnswer {
  const random = mulberry32(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <T>(of: readonly T[]): T => of[below(of.length)] as T;
  const often = (share: number) => random() < share;

  function body(): { fields: string[]; text: string } {
    const text = pick(["", "x", "hello", "0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "y".repeat(below(3000))]);
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        return { fields: [`Content-Length: ${text.length}`], text };
      case 3:
      case 4:
      case 5:
        return {
          fields: [`Transfer-Encoding: ${pick(["chunked", "chunked", "Chunked", "CHUNKED"])}`],
          text: chunks(text),
        };
      case 6:
        return { fields: [], text };
      default:
        return { fields: [pick(FRAMING)], text: often(0.5) ? chunks(text) : text };
    }
  }

  function chunks(text: string): string {
    let out = "";
    for (let at = 0; at < text.length; ) {
      const size = Math.min(text.length - at, 1 + below(often(0.5) ? 8 : 4000));
      const digits = size.toString(16);
      const written = pick([
        digits,
        digits,
        digits.toUpperCase(),
        `0${digits}`,
        often(0.04) ? pick(CHUNK_SIZES) : digits,
      ]);
      out += `${written}${often(0.06) ? pick(EXTENSIONS) : ""}${often(0.01) ? pick(ENDS) : "\r\n"}`;
      out += `${text.slice(at, at + size)}${often(0.01) ? pick(ENDS) : "\r\n"}`;
      at += size;
    }
    const trailers = often(0.25) ? `${pick(FIELDS)}\r\n` : "";
    return `${out}${pick(["0", "0", "0", "00", "000000"])}${often(0.05) ? pick(EXTENSIONS) : ""}\r\n${trailers}\r\n`;
  }

  function answer(): string {
    const { fields, text } = body();
    for (let extra = below(4); extra > 0; extra--) fields.push(pick(often(0.95) ? FIELDS : BAD_FIELDS));
    if (often(0.05)) fields.push(pick(FRAMING));
    fields.sort(() => random() - 0.5);
    const end = () => (often(0.004) ? pick(ENDS) : "\r\n");
    const status = often(0.93) ? pick(GOOD_STATUS_LINES) : pick(STATUS_LINES);
    return `${often(0.15) ? pick(INTERIMS) : ""}${status}${end()}${fields.map((field) => field + end()).join("")}${end()}${text}`;
  }

  function bend(text: string): string {
    const at = below(text.length + 1);
    switch (below(5)) {
      case 0:
        return text.slice(0, at) + pick(BYTES) + text.slice(at);
      case 1:
        return text.slice(0, at) + text.slice(at + 1);
      case 2:
        return text.slice(0, at) + pick(BYTES) + text.slice(at + 1);
      case 3:
        return text.slice(0, at);
      default:
        return text + pick(TRAILING);
    }
  }

  return () => {
    let text = answer();
    while (often(0.25)) text = bend(text);
    const bytes = Buffer.from(text, "latin1");
    const cuts = Array.from({ length: often(0.5) ? 0 : 1 + below(5) }, () => below(bytes.length + 1));
    if (often(0.02)) cuts.push(...bytes.keys());
    return { head: often(0.15), bytes, cuts: [...new Set(cuts)].sort((a, b) => a - b) };
  };
}

const GOOD_STATUS_LINES = [
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200 OK",
  "HTTP/1.1 404 Not Found",
  "HTTP/1.1 204 No Content",
  "HTTP/1.1 304 Not Modified",
  "HTTP/1.1 500 ",
  "HTTP/1.1 599",
  "HTTP/1.0 200 OK",
];

const STATUS_LINES = [
  "HTTP/1.1 099 Low",
  "HTTP/1.1 600 High",
  "HTTP/1.1 999 Higher",
  "HTTP/1.1 1000 Long",
  "HTTP/1.1 20 Short",
  "HTTP/1.1 2x0 OK",
  "HTTP/1.1 -20 OK",
  "HTTP/1.1  200 OK",
  "HTTP/1.1 200OK",
  "HTTP/1.1\t200 OK",
  "HTTP/1.1 200\tOK",
  "HTTP/1.1 200 O\x01K",
  "HTTP/1.1 200 O\tK",
  "HTTP/1.1 200 caf\xe9",
  "HTTP/1.1 200",
  "HTTP/1.2 200 OK",
  "HTTP/2.0 200 OK",
  "HTTP/0.9 200 OK",
  "HTTP/1.10 200 OK",
  "HTTP/1.1 101 Switching Protocols",
  "HTTP/1.1 100 Continue",
  "http/1.1 200 OK",
  "ICY 200 OK",
  "RTSP/1.0 200 OK",
  " HTTP/1.1 200 OK",
  "\r\nHTTP/1.1 200 OK",
  "\nHTTP/1.1 200 OK",
  "220 smtp.example ESMTP",
];

const FRAMING = [
  "Content-Length: 5",
  "Content-Length: 0",
  "Content-Length: 05",
  "Content-Length: +5",
  "Content-Length: -5",
  "Content-Length: 5, 5",
  "Content-Length: 5 5",
  "Content-Length:",
  "Content-Length: 0x5",
  "Content-Length: 5\t",
  "Content-Length: 99999999999999999999",
  "Content-Length: 9007199254740993",
  "Content-Length\x0b: 5",
  "Content-Length : 5",
  "Content_Length: 5",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: chunked, gzip",
  "Transfer-Encoding: gzip",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding: chunkedx",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: ,chunked",
  "Transfer-Encoding: chunked,",
  "Transfer-Encoding: chunked;a=b",
  "Transfer-Encoding: \x0bchunked",
  "Transfer-Encoding:",
  "Transfer-Encoding:\tchunked \t",
  "Transfer_Encoding: chunked",
];

const FIELDS = [
  "X-A: 1",
  "x-a: 2",
  "X-Empty:",
  "X-Blank: \t ",
  "X-Inner: a \t b",
  "X-Latin: caf\xe9\xff",
  `X-Long: ${"v".repeat(2000)}`,
  "Set-Cookie: a=1; Path=/",
  "Set-Cookie: b=2",
  "Connection: close",
  "Connection: keep-alive",
  "Connection: x-a, Close",
  "Connection: upgrade",
  "Upgrade: websocket",
  "Keep-Alive: timeout=5",
  "Trailer: X-A",
  "Proxy-Connection: close",
  "__proto__: a",
  "!#$%&'*+-.^_`|~: token",
];

const BAD_FIELDS = [
  "X-Nul: a\0b",
  "X-Control: a\x01b",
  "X-Del: a\x7fb",
  "X-Cr: a\rb",
  "X-Fold: a\r\n b",
  "X-Fold: a\r\n\tb",
  " X-Lead: a",
  "X-Space : a",
  "X Two: a",
  ": nameless",
  "no colon",
  "X(paren): a",
  "X\xe9: a",
  "X\0: a",
];

const INTERIMS = [
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
  "HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
  "HTTP/1.1 199 Odd\r\n\r\n",
  "HTTP/1.0 100 Continue\r\n\r\n",
  "HTTP/1.1 102 Processing\r\n\r\n".repeat(8),
  "HTTP/1.1 102 Processing\r\n\r\n".repeat(9),
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
];

const CHUNK_SIZES = [
  "",
  "0x5",
  "+5",
  "-5",
  " 5",
  "5 ",
  "5\t",
  "g",
  "5g",
  "0000000000000005",
  "ffffffffffffffff",
  "1ffffffffffffff",
  "5_0",
];
const EXTENSIONS = [
  ";a",
  ";a=b",
  ";a;b=c",
  ';a="b c"',
  ';a="b\\"c"',
  ';a="b;c"',
  ';a="b\xe9"',
  ';a="unclosed',
  ";",
  "; a",
  ";a =b",
  ";a= b",
  ";=b",
  ";a=",
  ";;",
  " ;a",
  ";a\x01",
  ";a\n",
  `;${"a".repeat(900)}`,
  `;${"a".repeat(1100)}`,
  `;${"a".repeat(17_000)}`,
];
const ENDS = ["\n", "\r", "\r\r\n", "\n\r", "", " \r\n", "\0\r\n", "\r\n\r\n"];
const BYTES = ["\0", "\x01", "\t", "\n", "\r", "\r\n", " ", ":", ";", ",", '"', "0", "5", "a", "\x7f", "\x80", "\xff"];
const TRAILING = ["x", "\r\n", "\n", "\0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0\r\n\r\n"];

function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
