import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KnownHeads } from "../../src/forward/known-heads.ts";
import { ResponseParser } from "../../src/forward/response-parser.ts";

/** What the parser told, body bytes joined, so that it can be compared whatever the cuts. */
type Event =
  | { interim: number; headers: readonly string[] }
  | { head: number; reason: string; headers: readonly string[]; bodyless: boolean }
  | { body: string }
  | { end: readonly string[] }
  | { upgrade: readonly string[]; rest: string }
  | { problem: string };

interface Run {
  readonly events: Event[];
  readonly keepAlive: boolean;
  readonly keepAliveMs: number;
  readonly excess: boolean;
}

function run(
  pieces: readonly Buffer[],
  options: { head?: boolean; upgrade?: boolean; fin?: boolean; known?: KnownHeads } = {},
): Run {
  const events: Event[] = [];
  let lastSeen = false;
  const parser = new ResponseParser(
    {
      onInterim: (interim, headers) => events.push({ interim, headers }),
      onHead: (head, reason, headers, bodyless) => events.push({ head, reason, headers, bodyless }),
      onBody: (chunk, last) => {
        expect(lastSeen).toBe(false);
        expect(chunk.length).toBeGreaterThan(0);
        lastSeen = last;
        const previous = events.at(-1);
        if (previous !== undefined && "body" in previous) previous.body += chunk.toString("latin1");
        else events.push({ body: chunk.toString("latin1") });
      },
      onEnd: (end) => {
        if (lastSeen) expect(end).toEqual([]);
        events.push({ end });
      },
      onUpgrade: (upgrade, rest) => events.push({ upgrade, rest: rest.toString("latin1") }),
      onProblem: (problem) => events.push({ problem }),
    },
    options.known,
  );
  parser.begin(options.head ?? false, options.upgrade ?? false);
  for (const piece of pieces) parser.feed(piece);
  const last = events.at(-1);
  const over = last !== undefined && ("end" in last || "problem" in last || "upgrade" in last);
  if (options.fin === true && !over && !parser.finish()) events.push({ problem: "cut short" });
  return { events, keepAlive: parser.keepAlive, keepAliveMs: parser.keepAliveMs, excess: parser.excess };
}

const parse = (text: string, options?: Parameters<typeof run>[1]) => run([Buffer.from(text, "latin1")], options);

const problemOf = (text: string, options?: Parameters<typeof run>[1]) => {
  const last = parse(text, options).events.at(-1);
  return last !== undefined && "problem" in last ? last.problem : null;
};

const OK = "HTTP/1.1 200 OK\r\n";

describe("an answer", () => {
  it("gives its head with names, order and repeats as they came", () => {
    const { events } = parse(
      `${OK}Set-Cookie: a=1\r\nX-ODD: \t two words\t\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nhi`,
    );
    const headers = ["Set-Cookie", "a=1", "X-ODD", "two words", "Set-Cookie", "b=2", "Content-Length", "2"];
    expect(events).toEqual([{ head: 200, reason: "OK", headers, bodyless: false }, { body: "hi" }, { end: [] }]);
  });

  it("keeps bytes above 127 in values", () => {
    const { events } = parse(`${OK}X: caf\xe9 \x80\r\nContent-Length: 0\r\n\r\n`);
    expect(events[0]).toMatchObject({ headers: ["X", "caf\xe9 \x80", "Content-Length", "0"] });
  });

  it.each([
    ["HTTP/1.1 200 OK", 200, "OK"],
    ["HTTP/1.1 204 ", 204, ""],
    ["HTTP/1.1 204", 204, ""],
    ["HTTP/1.1 599 a b  c", 599, "a b  c"],
    ["HTTP/1.0 404 Not Found", 404, "Not Found"],
    ["HTTP/1.1 200 caf\xe9", 200, "caf\xe9"],
  ])("takes the status line %j", (line, status, reason) => {
    expect(parse(`${line}\r\nContent-Length: 0\r\n\r\n`).events[0]).toMatchObject({ head: status, reason });
  });

  it("reads chunks of any size, drops extensions and gives the trailers", () => {
    const chunks = 'B;a=b;c="d;\\"e"\r\nhello world\r\n1\r\n!\r\n00;last\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n';
    const { events, keepAlive, excess } = parse(`${OK}Transfer-Encoding: Chunked\r\n\r\n${chunks}`);
    expect(events.slice(1)).toEqual([{ body: "hello world!" }, { end: ["X-Sum", "1", "X-Sum", "2"] }]);
    expect({ keepAlive, excess }).toEqual({ keepAlive: true, excess: false });
  });

  it("counts the lines of its head and of its trailers apart", () => {
    const [fields, trailers] = ["A: b\r\n".repeat(255), "C: d\r\n".repeat(256)];
    const { events } = parse(`${OK}Transfer-Encoding: chunked\r\n${fields}\r\n0\r\n${trailers}\r\n`);
    expect(events.at(-1)).toMatchObject({ end: { length: 512 } });
  });

  it.each([
    ["timeout=5", 5000],
    ["timeout=5, max=100", 5000],
    ['max=100, Timeout = "5"', 5000],
    ["timeout=0", 0],
    ["timeout=999999", 999_999_000],
    ["timeout=1000000", -1],
    ["timeout=1e9", 1000],
    ["timeout=1.9", 1000],
    ["timeout=-1", -1],
    ["timeout=", -1],
    ["timeout", -1],
    ["xtimeout=5", -1],
    ["max=1", -1],
    ["timeout=60, timeout=5", 5000],
    ["timeout=5, timeout=60", 5000],
    ["timeout=60\r\nKeep-Alive: timeout=5", 5000],
    ["timeout=5\r\nKeep-Alive: timeout=60", 5000],
    ["timeout=5\r\nKeep-Alive: max=100", 5000],
  ])("says how long its connection is kept, the shortest where it says several: Keep-Alive: %s", (value, ms) => {
    expect(parse(`${OK}Keep-Alive: ${value}\r\nContent-Length: 0\r\n\r\n`).keepAliveMs).toBe(ms);
  });

  it("without a length lasts until the connection ends", () => {
    const { events, keepAlive } = parse(`${OK}\r\nall of it`, { fin: true });
    expect(events.slice(1)).toEqual([{ body: "all of it" }, { end: [] }]);
    expect(keepAlive).toBe(false);
  });

  it.each([
    ["a HEAD request's", "HTTP/1.1 200 OK\r\n\r\n", true],
    ["a HEAD request's, of an empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true],
    ["204", "HTTP/1.1 204 No Content\r\n\r\n", false],
    ["304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false],
    ["length 0", "HTTP/1.1 200 OK\r\nContent-Length: 000\r\n\r\n", false],
  ])("has no body: %s", (_name, text, head) => {
    const { events, keepAlive, excess } = parse(text, { head });
    expect(events).toHaveLength(2);
    expect(events[0]).toMatchObject({ bodyless: true });
    expect(events[1]).toEqual({ end: [] });
    expect({ keepAlive, excess }).toEqual({ keepAlive: true, excess: false });
  });

  it.each([
    ["to a HEAD request with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true],
    ["to a HEAD request in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true],
    ["204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false],
    ["204 in chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false],
  ])("that speaks of a body and has none is the last on its connection: %s", (_name, text, head) => {
    const { events, keepAlive } = parse(text, { head });
    expect(events[0]).toMatchObject({ bodyless: true });
    expect(events[1]).toEqual({ end: [] });
    expect(keepAlive).toBe(false);
  });

  it("comes after its interim answers", () => {
    const interims = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    const { events } = parse(`${interims}${OK}Content-Length: 0\r\n\r\n`);
    expect(events.slice(0, 2)).toEqual([
      { interim: 100, headers: [] },
      { interim: 103, headers: ["Link", "</a>"] },
    ]);
    expect(events[2]).toMatchObject({ head: 200, headers: ["Content-Length", "0"] });
  });

  it("changes the protocol where that was asked for", () => {
    const text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00";
    expect(parse(text, { upgrade: true }).events).toEqual([{ upgrade: ["Upgrade", "websocket"], rest: "\x81\x00" }]);
  });
});

describe("the connection after an answer", () => {
  it.each([
    ["", true],
    ["Connection: keep-alive\r\n", true],
    ["Connection: close\r\n", false],
    ["connection: Foo , CLOSE\r\n", false],
    ["Connection: keep-alive\r\nConnection: close\r\n", false],
    ["Connection: closed\r\n", true],
    ["Proxy-Connection: close\r\n", false],
  ])("with %j is kept: %s", (field, kept) => {
    expect(parse(`${OK}${field}Content-Length: 0\r\n\r\n`).keepAlive).toBe(kept);
  });

  it("is never kept on HTTP/1.0, whatever it says", () => {
    expect(parse("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").keepAlive).toBe(false);
  });

  it.each([
    ["length", `${OK}Content-Length: 2\r\n\r\nhiX`],
    ["no body", `${OK}Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n`],
    ["chunks in one read", `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nX`],
    ["chunks and trailers", `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\nX`],
    ["204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi"],
    ["a body for HEAD", `${OK}Content-Length: 2\r\n\r\nhi`],
  ])("has seen bytes too many: %s", (name, text) => {
    const { events, excess } = parse(text, { head: name.endsWith("HEAD") });
    expect(events.at(-1)).toHaveProperty("end");
    expect(excess).toBe(true);
  });
});

describe("refuses", () => {
  const MANY = Array.from({ length: 257 }, (_, i) => `H${i}: x\r\n`).join("");
  const INTERIMS = "HTTP/1.1 102 Processing\r\n\r\n".repeat(9);
  const chunked = (body: string) => `${OK}Transfer-Encoding: chunked\r\n\r\n${body}`;
  const fields = (text: string) => `${OK}${text}\r\n\r\n`;
  it.each([
    ["a banner", "220 mail.example.com ESMTP\r\n", "not an HTTP/1.x status line"],
    ["a TLS alert", "\x15\x03\x01\x00\x02", "not an HTTP/1.x status line"],
    ["HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "not an HTTP/1.x status line"],
    ["HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", "not an HTTP/1.x status line"],
    ["lower case", "http/1.1 200 OK\r\n\r\n", "not an HTTP/1.x status line"],
    ["an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", "not an HTTP/1.x status line"],
    ["two spaces", "HTTP/1.1  200 OK\r\n\r\n", "malformed status line"],
    ["two digits", "HTTP/1.1 20 OK\r\n\r\n", "malformed status line"],
    ["four digits", "HTTP/1.1 2000 OK\r\n\r\n", "malformed status line"],
    ["status 099", "HTTP/1.1 099 OK\r\n\r\n", "status outside 100 to 599"],
    ["status 600", "HTTP/1.1 600 OK\r\n\r\n", "status outside 100 to 599"],
    ["a control character in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n", "control character in the reason phrase"],
    ["a bare LF after the status line", "HTTP/1.1 200 OK\nA: b\r\n\r\n", "line not ended by CRLF"],
    ["a bare LF after a header", fields("A: b\nC: d"), "line not ended by CRLF"],
    ["a bare LF as the empty line", `${OK}A: b\r\n\n`, "line not ended by CRLF"],
    ["a bare CR in a value", fields("A: b\rC: d"), "control character in a header value"],
    ["NUL in a value", fields("A: b\0"), "control character in a header value"],
    ["DEL in a value", fields("A: b\x7f"), "control character in a header value"],
    ["folding", fields("A: b\r\n c"), "obsolete line folding"],
    ["folding of the first header", fields("\tA: b"), "obsolete line folding"],
    ["a space before the colon", fields("A : b"), "malformed header name"],
    ["an empty name", fields(": b"), "malformed header name"],
    ["no colon", fields("A"), "malformed header name"],
    ["a name that is no token", fields("A(b): c"), "malformed header name"],
    ["a name above 127", fields("\xe9: c"), "malformed header name"],
    ["two lengths", fields("Content-Length: 1\r\nContent-Length: 2"), "two Content-Length fields"],
    ["two equal lengths", fields("Content-Length: 1\r\ncontent-length: 1"), "two Content-Length fields"],
    ["a list of lengths", fields("Content-Length: 1, 1"), "malformed Content-Length"],
    ["a signed length", fields("Content-Length: +1"), "malformed Content-Length"],
    ["an empty length", fields("Content-Length: "), "malformed Content-Length"],
    ["a hexadecimal length", fields("Content-Length: 0x1"), "malformed Content-Length"],
    ["a length beyond any number", fields("Content-Length: 1234567890123456"), "malformed Content-Length"],
    [
      "length and chunked",
      fields("Content-Length: 1\r\nTransfer-Encoding: chunked"),
      "both Content-Length and Transfer-Encoding",
    ],
    [
      "chunked and length",
      fields("Transfer-Encoding: chunked\r\nContent-Length: 1"),
      "both Content-Length and Transfer-Encoding",
    ],
    ["gzip, chunked", fields("Transfer-Encoding: gzip, chunked"), "transfer coding other than chunked"],
    ["chunked, chunked", fields("Transfer-Encoding: chunked, chunked"), "transfer coding other than chunked"],
    ["xchunked", fields("Transfer-Encoding: xchunked"), "transfer coding other than chunked"],
    ["an empty coding", fields("Transfer-Encoding:"), "transfer coding other than chunked"],
    [
      "chunked in two fields",
      fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
      "two Transfer-Encoding fields",
    ],
    ["chunked on 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding on HTTP/1.0"],
    ["101 that nobody asked for", "HTTP/1.1 101 X\r\n\r\n", "status 101 that nobody asked for"],
    ["an interim answer on 1.0", "HTTP/1.0 100 Continue\r\n\r\n", "interim answer on HTTP/1.0"],
    [
      "an interim answer that is the last",
      `HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n${OK}\r\n`,
      "interim answer that closes the connection",
    ],
    ["a tab before a length", fields("Content-Length:\t5"), "tab beside a framing value"],
    ["a tab after a coding", fields("Transfer-Encoding: chunked\t"), "tab beside a framing value"],
    ["a ninth interim answer", INTERIMS, "too many interim answers"],
    ["257 header lines", fields(MANY), "too many header lines"],
    ["a header block over 64 KiB", `${OK}A: ${"x".repeat(65_536)}\r\n\r\n`, "header block too large"],
    ["an endless line", `${OK}A: ${"x".repeat(65_536)}`, "header block too large"],
    ["a chunk size 0x1", chunked("0x1\r\na\r\n"), "malformed chunk extension"],
    ["a chunk size +1", chunked("+1\r\na\r\n"), "malformed chunk size"],
    ["a chunk size with a space", chunked("1 \r\na\r\n"), "malformed chunk extension"],
    ["a space before the size", chunked(" 1\r\na\r\n"), "malformed chunk size"],
    ["no size", chunked("\r\na\r\n"), "malformed chunk size"],
    ["16 digits", chunked("0000000000000001\r\na\r\n"), "malformed chunk size"],
    ["a size beyond any number", chunked("fffffffffffffff\r\na\r\n"), "malformed chunk size"],
    ["a bare extension", chunked("1;\r\na\r\n"), "malformed chunk extension"],
    ["a line break in an extension", chunked('1;a="\r\n"\r\na\r\n'), "malformed chunk extension"],
    ["a chunk line over 1 KiB", chunked(`1;${"a".repeat(1024)}\r\na\r\n`), "chunk size line too long"],
    ["16 KiB of extensions", chunked(`1;${"a".repeat(900)}\r\na\r\n`.repeat(20)), "malformed chunk extension"],
    ["a bare LF after the size", chunked("1\na\r\n"), "line not ended by CRLF"],
    ["a bare LF after the data", chunked("1\r\na\n"), "chunk data not followed by CRLF"],
    ["data longer than its size", chunked("1\r\nab\r\n"), "chunk data not followed by CRLF"],
    ["folding in trailers", chunked("0\r\nA: b\r\n c\r\n\r\n"), "obsolete line folding"],
    ["a length in trailers", chunked("0\r\nContent-Length: 1\r\n\r\n"), "Content-Length in the trailer section"],
    ["a coding in trailers", chunked("0\r\nTransfer-Encoding: x\r\n\r\n"), "Transfer-Encoding in the trailer section"],
    ["16 KiB of trailers", chunked(`0\r\n${"A: xxxxxxxxxxxxxxxx\r\n".repeat(900)}\r\n`), "too many header lines"],
    ["a trailer of 16 KiB", chunked(`0\r\nA: ${"x".repeat(16_384)}\r\n\r\n`), "header block too large"],
  ])("%s", (_name, text, problem) => {
    expect(problemOf(text)).toBe(problem);
    const bytes = Buffer.from(text, "latin1");
    if (bytes.length > 4096) return;
    expect(run([...bytes].map((byte) => Buffer.from([byte]))).events).toEqual(parse(text).events);
  });

  it.each([
    ["in the head", "HTTP/1.1 200 OK\r\nContent-"],
    ["in a body with a length", `${OK}Content-Length: 5\r\n\r\nhi`],
    ["between chunks", `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n`],
    ["in the trailers", `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n`],
    ["before anything", ""],
    ["after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n"],
  ])("to call it complete when the connection ends %s", (_name, text) => {
    expect(problemOf(text, { fin: true })).toBe("cut short");
  });
});

describe("whatever the bytes", () => {
  const line = fc.constantFrom(
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 103 Early\r\n\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    `X-Long: ${"v".repeat(300)}\r\n`,
    "\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nTrailer: x\r\n\r\n",
    "3;ext=1\r\nabc\r\n",
    "hello",
    "\n",
    "\r",
    " ",
    ":",
    "\0",
  );
  const bytes = fc
    .array(fc.oneof({ weight: 8, arbitrary: line }, { weight: 1, arbitrary: fc.string({ maxLength: 4 }) }), {
      maxLength: 14,
    })
    .map((lines) => Buffer.from(`HTTP/1.1 200 OK\r\n${lines.join("")}`, "latin1"));

  it("cuts change nothing, and nothing throws", () => {
    const property = fc.property(
      bytes,
      fc.array(fc.nat(), { maxLength: 12 }),
      fc.boolean(),
      fc.boolean(),
      (text, cuts, head, upgrade) => {
        const at = [...new Set(cuts.map((cut) => cut % (text.length + 1)))].sort((a, b) => a - b);
        const pieces = [0, ...at].map((from, i) => text.subarray(from, at[i] ?? text.length));
        const whole = run([text], { head, upgrade, fin: true });
        const cut = run(pieces, { head, upgrade, fin: true });
        // What came behind an upgrade or an answer is not the parser's: how much of it arrived in time does not count.
        const strip = (events: Event[]) =>
          events.map((event) => ("rest" in event ? { upgrade: event.upgrade } : event));
        expect(strip(cut.events)).toEqual(strip(whole.events));
        expect({ ...cut, events: 0 }).toEqual({ ...whole, events: 0 });
      },
    );
    fc.assert(property, { numRuns: 3000 });
  });
});

describe("a head that was seen before", () => {
  const status = fc.constantFrom(
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 ",
    "HTTP/1.1 304 x",
    "HTTP/1.1 103 e",
  );
  const field = fc.constantFrom(
    "Content-Length: 3",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "Keep-Alive: timeout=9",
    "Keep-Alive: timeout=5",
    "X-A: 1",
    "X-A: 2",
    "bad",
  );
  const answer = fc
    .tuple(status, fc.array(field, { maxLength: 3 }), fc.constantFrom("", "abc", "3\r\nabc\r\n0\r\n\r\n", "abcd", "a"))
    .map(([line, fields, body]) => `${[line, ...fields].join("\r\n")}\r\n\r\n${body}`);

  it("says what it says to who has not seen it, whatever was asked and however it is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(answer, fc.boolean(), fc.nat(80)), { minLength: 2, maxLength: 12 }), (answers) => {
        const known = new KnownHeads();
        for (const [text, head, cut] of [...answers, ...answers]) {
          const bytes = Buffer.from(text, "latin1");
          const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)].filter(({ length }) => length > 0);
          for (const each of [[bytes], pieces, [bytes]]) {
            expect(run(each, { head, fin: true, known })).toEqual(run(each, { head, fin: true }));
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is the very same list again, and is not looked for among others", () => {
    const known = new KnownHeads();
    const lists: (readonly string[])[] = [];
    const text = Buffer.from(`${OK}Content-Length: 0\r\nX-A: 1\r\n\r\n`);
    for (const bytes of [text, text, Buffer.from(`${OK}Content-Length: 0\r\nX-A: 2\r\n\r\n`)]) {
      const [event] = run([bytes], { known }).events;
      if (event !== undefined && "head" in event) lists.push(event.headers);
    }
    expect(lists[1]).toBe(lists[0]);
    expect(lists[2]).toEqual(["Content-Length", "0", "X-A", "2"]);
  });
});
