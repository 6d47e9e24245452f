import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { UpstreamCall, UpstreamRequest } from "../../src/forward/forwarder.ts";
import { KnownHeads } from "../../src/forward/known-heads.ts";
import { Ticks } from "../../src/forward/ticks.ts";
import { UpstreamConnection } from "../../src/forward/upstream-connection.ts";
import { RecordingHandler, upstreamRequest } from "./support.ts";

/** A connected socket that takes what it was given when it is told to. */
class SlowSocket extends Duplex {
  readonly taken: Buffer[] = [];
  /** Pieces that it was given. */
  given = 0;
  #take: (() => void) | null = null;

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#keep([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], done: () => void): void {
    this.#keep(
      chunks.map(({ chunk, encoding }) => Buffer.from(chunk as unknown as string, encoding)),
      done,
    );
  }

  #keep(chunks: readonly Buffer[], done: () => void): void {
    this.given += chunks.filter(({ length }) => length > 0).length;
    this.#take = () => {
      this.taken.push(...chunks);
      done();
    };
  }

  /** False: there is nothing to be taken. */
  takeOne(): boolean {
    const take = this.#take;
    this.#take = null;
    take?.();
    return take !== null;
  }

  get text(): string {
    return Buffer.concat(this.taken).toString("latin1");
  }
}

const HEAD = "HEAD\r\n\r\n";

const turn = () => new Promise((done) => setImmediate(done));

/** An exchange on a socket that is slow; its head is with the upstream, or leaves together with what comes at once. */
async function begun(
  body: "length" | "chunked",
  length: number,
  headLeft = true,
): Promise<{ socket: SlowSocket; call: UpstreamCall; handler: RecordingHandler }> {
  const socket = new SlowSocket();
  const owner = {
    ticks: new Ticks(50, () => {}),
    knownHeads: new KnownHeads(),
    idleMs: 0,
    longIdleMs: 0,
    ageMsMax: 0,
    awaitsAddress: false,
    keepsForLong: false,
    giveUpUnheard: () => {},
    release: () => {},
    gone: () => {},
  };
  const kind = { connectEvent: "connect", ownMemory: true } as const;
  const connection = new UpstreamConnection(() => socket as unknown as Socket, kind, owner);
  const handler = new RecordingHandler();
  const framing = body === "length" ? ["Content-Length", String(length)] : ["Transfer-Encoding", "chunked"];
  const request: UpstreamRequest = {
    ...upstreamRequest({ hostname: "127.0.0.1", port: 1, tls: null }),
    method: "POST",
    body,
    headers: framing,
  };
  const call = connection.start(request, HEAD, handler);
  socket.emit("connect");
  expect(handler.count("drain")).toBe(1);
  if (headLeft) {
    await turn();
    while (socket.takeOne()) await turn();
    socket.given = 0;
  }
  return { socket, call, handler };
}

/** What a body in chunks says. */
function readChunks(text: string): string {
  let body = "";
  for (let at = 0; ; ) {
    const lineEnd = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (size === 0) return body;
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
  }
}

describe.each(["length", "chunked"] as const)("a body by %s that comes in pieces of one byte", (body) => {
  it("is a few pieces for the socket of an upstream that does not read, and is full in time", async () => {
    const { socket, call, handler } = await begun(body, 200_000);
    let bytes = 0;
    while (call.write(Buffer.from("x")) !== "full") bytes++;
    expect(bytes).toBeGreaterThan(8 * 1024);
    expect(bytes).toBeLessThanOrEqual(64 * 1024);
    // Whoever does not wait is no reason to keep each of them either.
    for (let more = 0; more < 10_000; more++) call.write(Buffer.from("x"));
    await turn();
    expect(handler.count("drain")).toBe(1);
    while (socket.takeOne()) await turn();
    expect(handler.count("drain")).toBe(2);
    expect(socket.given).toBeLessThan(20);
    call.abort();
  });
});

it("a body arrives whole and in order, whatever its pieces are and whenever the upstream takes them", async () => {
  const steps = fc.array(
    fc.oneof(
      fc.constantFrom(1, 1, 1, 1023, 1024, 1025),
      fc.integer({ min: 1, max: 90_000 }),
      fc.constant("take" as const),
      fc.constant("turn" as const),
    ),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(
      steps,
      fc.constantFrom("length" as const, "chunked" as const),
      fc.boolean(),
      async (steps, body, headLeft) => {
        const sizes = steps.filter((step) => typeof step === "number");
        const length = sizes.reduce((sum, size) => sum + size, 0);
        const { socket, call, handler } = await begun(body, length, headLeft);
        let sent = "";
        let full = false;
        let drains = 1;
        for (const step of steps) {
          if (step === "take") socket.takeOne();
          else if (step === "turn") await turn();
          else {
            const piece = String.fromCharCode(33 + (sent.length % 90)).repeat(step);
            const memory = Buffer.from(piece);
            const written = call.write(memory);
            // What was taken is used again.
            if (written === "taken") memory.fill(0);
            full ||= written === "full";
            sent += piece;
          }
          if (handler.count("drain") > drains) {
            expect(full).toBe(true);
            drains = handler.count("drain");
            full = false;
          }
        }
        do await turn();
        while (socket.takeOne());
        // Whoever was told that it is full is told when it is not.
        if (full) expect(handler.count("drain")).toBe(drains + 1);
        call.end();
        do await turn();
        while (socket.takeOne());
        const text = socket.text.slice(HEAD.length);
        expect(body === "length" ? text : readChunks(text)).toBe(sent);
        call.abort();
      },
    ),
    { numRuns: 500 },
  );
});
