import { createServer, type Server, type Socket } from "node:net";
import { PARSER_NAMES, type ParserName, parseRequest, type SeenRequest } from "./http-parsers.ts";

/**
 * What the upstream says to a request: bytes as they go on the wire, null for nothing (the script talks to the socket
 * itself, or stays silent).
 */
export type Script = (request: SeenRequest, connection: UpstreamConnection) => Reply | Promise<Reply>;
type Reply = string | Buffer | null;

/** Called once the head is there and the body is not, for answers that come early. True: the answer has been given. */
export type HeadScript = (head: SeenRequest, connection: UpstreamConnection) => boolean;

/** A raw TCP server that keeps every byte it was sent, per connection, and answers as its script says. */
export class RecordingUpstream {
  readonly connections: UpstreamConnection[] = [];
  script: Script = answerOk;
  headScript: HeadScript = () => false;
  /** Called for every connection before a byte is read. */
  onConnection: (connection: UpstreamConnection) => void = () => {};
  port = 0;
  readonly #server: Server;
  readonly #watchers = new Set<() => void>();

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start(script?: Script): Promise<RecordingUpstream> {
    const upstream = new RecordingUpstream();
    if (script !== undefined) upstream.script = script;
    await new Promise<void>((done) => upstream.#server.listen(0, "127.0.0.1", done));
    const address = upstream.#server.address();
    upstream.port = typeof address === "object" && address !== null ? address.port : 0;
    return upstream;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Requests, whole or begun, as one parser reads all connections, in the order of connections. */
  requests(parser: ParserName = "strict"): SeenRequest[] {
    return this.connections.flatMap((connection) => connection.seen(parser));
  }

  get openConnections(): number {
    return this.connections.filter((connection) => !connection.closed).length;
  }

  /** Resolves as soon as `holds` does, asked after each byte and each close; rejects after `timeoutMs`. */
  async until(holds: () => boolean, timeoutMs = 8000): Promise<void> {
    if (holds()) return;
    await new Promise<void>((done, failed) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(watch);
        failed(new Error(`the upstream saw no such thing within ${timeoutMs} ms`));
      }, timeoutMs);
      const watch = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#watchers.delete(watch);
        done();
      };
      this.#watchers.add(watch);
    });
  }

  /** Back to the plain script, and forgets the connections that are closed. */
  reset(): void {
    this.script = answerOk;
    this.headScript = () => false;
    this.onConnection = () => {};
    const open = this.connections.filter((connection) => !connection.closed);
    this.connections.splice(0, this.connections.length, ...open);
  }

  async stop(): Promise<void> {
    for (const connection of this.connections) connection.socket.destroy();
    await new Promise<void>((done) => this.#server.close(() => done()));
  }

  #accept(socket: Socket): void {
    const connection = new UpstreamConnection(socket, this, () => {
      for (const watch of [...this.#watchers]) watch();
    });
    this.connections.push(connection);
    this.onConnection(connection);
  }
}

/** One connection of the gateway to the upstream. */
export class UpstreamConnection {
  readonly socket: Socket;
  closed = false;
  /** The gateway ended its side. */
  ended = false;
  /** Requests answered on it so far. */
  answered = 0;
  /** No more answers: the rest of the bytes is only recorded (a tunnel, a broken stream). */
  silent = false;
  readonly #upstream: RecordingUpstream;
  readonly #notify: () => void;
  readonly #readings = new Map<ParserName, Reading>();
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;
  #answers: Promise<void> = Promise.resolve();
  #headHandled = -1;

  constructor(socket: Socket, upstream: RecordingUpstream, notify: () => void) {
    this.socket = socket;
    this.#upstream = upstream;
    this.#notify = notify;
    for (const name of PARSER_NAMES) this.#readings.set(name, { at: 0, requests: [], begun: null, invalid: null });
    socket.on("data", (chunk) => this.#take(chunk));
    socket.on("end", () => {
      this.ended = true;
      socket.end();
      notify();
    });
    // A reset is one way for the gateway to give up an exchange; `close` follows and is what tests wait for.
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      notify();
    });
  }

  /** Every byte received. */
  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Requests as one parser reads them, the one whose body is unfinished included. */
  seen(parser: ParserName): SeenRequest[] {
    const { requests, begun } = this.#read(parser);
    return begun === null ? requests : [...requests, begun];
  }

  /** Bytes after the last whole request that are no request's head yet. */
  remainder(parser: ParserName): Buffer {
    const { at, begun } = this.#read(parser);
    return begun === null ? this.bytes().subarray(at) : Buffer.alloc(0);
  }

  invalid(parser: ParserName): string | null {
    return this.#read(parser).invalid;
  }

  /** Writes raw bytes of an answer. */
  send(bytes: string | Buffer): void {
    if (!this.socket.destroyed) this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** RST in place of FIN. */
  resetNow(): void {
    this.socket.resetAndDestroy();
  }

  #take(chunk: Buffer): void {
    if (this.#length + chunk.length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(4096, 2 * (this.#length + chunk.length)));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length += chunk.length;
    if (!this.silent) {
      for (const name of PARSER_NAMES) this.#read(name);
      this.#answer();
    }
    this.#notify();
  }

  #answer(): void {
    const { requests, begun, invalid } = this.#read("strict");
    while (this.answered < requests.length && !this.silent) {
      const request = requests[this.answered] as SeenRequest;
      const handled = this.#headHandled === this.answered;
      this.answered += 1;
      if (handled) continue;
      this.#answers = this.#answers.then(async () => {
        const replying = this.#upstream.script(request, this);
        this.#notify();
        const reply = await replying;
        if (reply !== null) this.send(reply);
        this.#notify();
      });
    }
    if (begun !== null && !this.silent && this.#headHandled !== this.answered) {
      if (this.#upstream.headScript(begun, this)) this.#headHandled = this.answered;
    }
    if (invalid !== null && !this.silent) {
      this.silent = true;
      this.send(`HTTP/1.1 400 Bad Request\r\nX-Recorder: invalid\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      this.socket.end();
    }
  }

  #read(parser: ParserName): Reading {
    const reading = this.#readings.get(parser) as Reading;
    const bytes = this.bytes();
    while (reading.invalid === null && !this.silent) {
      if (reading.at >= bytes.length) {
        reading.begun = null;
        break;
      }
      const step = parseRequest(parser, bytes, reading.at);
      if (step.kind === "request") {
        reading.requests.push({ ...step.request, body: Buffer.from(step.request.body) });
        reading.at = step.request.end;
        reading.begun = null;
        continue;
      }
      if (step.kind === "invalid") reading.invalid = step.reason;
      else reading.begun = step.begun;
      break;
    }
    return reading;
  }
}

interface Reading {
  at: number;
  requests: SeenRequest[];
  begun: SeenRequest | null;
  invalid: string | null;
}

/** The plain answer: 200, says what was asked in JSON, and carries `X-Recorder` so that tests know whose it is. */
export function answerOk(request: SeenRequest): string {
  const body = JSON.stringify({ method: request.method, target: request.target, bodyBytes: request.body.length });
  return answer(
    200,
    request.method === "HEAD" ? null : body,
    request.method === "HEAD" ? [`Content-Length: ${body.length}`] : [],
  );
}

/** An answer with a length; null sends no body and no length. */
export function answer(status: number, body: string | null, headers: readonly string[] = []): string {
  const length = body === null ? [] : [`Content-Length: ${Buffer.byteLength(body, "latin1")}`];
  return [`HTTP/1.1 ${status} Recorded`, "X-Recorder: 1", ...headers, ...length, "", body ?? ""].join("\r\n");
}
