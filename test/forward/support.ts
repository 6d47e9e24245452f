import { createServer, type Server, Socket } from "node:net";
import type { UpstreamError, UpstreamHandler, UpstreamOrigin, UpstreamRequest } from "../../src/forward/forwarder.ts";

/** Waits for a state of affairs without sleeping: whoever changes it calls `changed`. */
export class Watch {
  private waiters: (() => void)[] = [];

  changed(): void {
    const waiters = this.waiters;
    this.waiters = [];
    for (const wake of waiters) wake();
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((wake) => this.waiters.push(wake));
  }
}

/** One connection seen from the side that keeps every byte. */
export class RawConnection extends Watch {
  readonly socket: Socket;
  readonly index: number;
  /** Everything received so far, as latin1. */
  received = "";
  ended = false;
  closed = false;

  constructor(socket: Socket, index: number) {
    super();
    this.socket = socket;
    this.index = index;
    socket.on("data", (chunk: Buffer) => {
      this.received += chunk.toString("latin1");
      this.changed();
    });
    socket.on("end", () => {
      this.ended = true;
      this.changed();
    });
    // Tests look at what was received and at `closed`; a reset is often what they provoke.
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.changed();
    });
  }

  /** Waits until the bytes received contain `text` `times` times. */
  seen(text: string, times = 1): Promise<void> {
    return this.until(() => this.received.split(text).length > times);
  }

  write(text: string): void {
    this.socket.write(Buffer.from(text, "latin1"));
  }

  /** Resolves when the other side has ended the connection, however. */
  gone(): Promise<void> {
    return this.until(() => this.ended || this.closed);
  }
}

/** A server that speaks no protocol: it keeps what it is sent, per connection, and answers what its script says. */
export class RawServer extends Watch {
  readonly connections: RawConnection[] = [];
  readonly origin: UpstreamOrigin;
  private readonly server: Server;

  constructor(server: Server, port: number) {
    super();
    this.server = server;
    this.origin = { hostname: "127.0.0.1", port, tls: null };
  }

  get port(): number {
    return this.origin.port;
  }

  async connection(index: number): Promise<RawConnection> {
    await this.until(() => this.connections.length > index);
    return this.connections[index]!;
  }

  /** How many requests came in over all connections: counted by the end of their heads. */
  get heads(): number {
    return this.connections.reduce((sum, { received }) => sum + received.split("\r\n\r\n").length - 1, 0);
  }

  close(): void {
    this.server.close();
    for (const connection of this.connections) connection.socket.destroy();
  }
}

export type Script = (connection: RawConnection) => void | Promise<void>;

/** `script` runs for each connection; unless it says otherwise nothing is answered. */
export async function rawServer(script: Script = () => {}): Promise<RawServer> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const raw = new RawServer(server, (server.address() as { port: number }).port);
  server.on("connection", (socket) => {
    const connection = new RawConnection(socket, raw.connections.length);
    raw.connections.push(connection);
    raw.changed();
    void script(connection);
  });
  return raw;
}

/** Answers every request head (bodies are not looked at) with `answer`. */
export function answering(answer: string | ((request: number) => string)): Script {
  return async (connection) => {
    for (let request = 1; ; request++) {
      await connection.seen("\r\n\r\n", request);
      connection.write(typeof answer === "string" ? answer : answer(request));
    }
  };
}

/** A client that keeps every byte. */
export async function rawClient(port: number, allowHalfOpen = true): Promise<RawConnection> {
  const socket = new Socket({ allowHalfOpen });
  const connection = new RawConnection(socket, 0);
  socket.connect(port, "127.0.0.1");
  await new Promise<void>((connected, refused) => {
    socket.once("connect", connected);
    socket.once("error", refused);
  });
  return connection;
}

/** A port that refuses: it was free a moment ago. */
export async function refusingPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

/** Ends a connection with a RST. */
export function reset(socket: Socket): void {
  socket.resetAndDestroy();
}

/** A socket whose kernel takes nothing until what this answers is called. */
export function holdWrites(socket: Socket): () => void {
  const held: (() => void)[] = [];
  for (const name of ["_write", "_writev", "_final"] as const) {
    const write = socket[name]!.bind(socket) as (...args: unknown[]) => void;
    Object.assign(socket, { [name]: (...args: unknown[]) => held.push(() => write(...args)) });
  }
  return () => {
    for (const name of ["_write", "_writev", "_final"] as const) Reflect.deleteProperty(socket, name);
    for (const each of held) each();
  };
}

/** Keeps everything an engine tells. */
export class RecordingHandler extends Watch implements UpstreamHandler {
  readonly calls: string[] = [];
  readonly interims: { status: number; headers: readonly string[] }[] = [];
  status = 0;
  reason = "";
  headers: readonly string[] = [];
  bodyless = false;
  readonly chunks: Buffer[] = [];
  bodyBytes = 0;
  trailers: readonly string[] | null = null;
  upgraded: { headers: readonly string[]; socket: Socket; rest: Buffer } | null = null;
  error: UpstreamError | null = null;
  /** False: chunks are counted, not kept. */
  keepBody = true;

  get body(): string {
    return Buffer.concat(this.chunks).toString("latin1");
  }

  get over(): boolean {
    return this.trailers !== null || this.error !== null || this.upgraded !== null;
  }

  count(call: string): number {
    return this.calls.filter((name) => name === call).length;
  }

  /** Waits for the end, however it comes. */
  async finished(): Promise<this> {
    await this.until(() => this.over);
    return this;
  }

  called(call: string, times = 1): Promise<void> {
    return this.until(() => this.count(call) >= times);
  }

  onInterim(status: number, headers: readonly string[]): void {
    this.interims.push({ status, headers });
    this.note("interim");
  }

  onHead(status: number, reason: string, headers: readonly string[], bodyless: boolean): void {
    this.status = status;
    this.reason = reason;
    this.headers = headers;
    this.bodyless = bodyless;
    this.note("head");
  }

  onBody(chunk: Buffer, _last: boolean, lent: boolean): boolean {
    this.bodyBytes += chunk.length;
    if (this.keepBody) this.chunks.push(lent ? Buffer.from(chunk) : chunk);
    this.note("body");
    return lent || !this.keepBody;
  }

  onEnd(trailers: readonly string[]): void {
    this.trailers = trailers;
    this.note("end");
  }

  onUpgrade(headers: readonly string[], socket: Socket, rest: Buffer): void {
    this.upgraded = { headers, socket, rest };
    this.note("upgrade");
  }

  onReadEnd(): void {}

  onDrain(): void {
    this.note("drain");
  }

  onError(error: UpstreamError): void {
    this.error = error;
    this.note("error");
  }

  private note(call: string): void {
    this.calls.push(call);
    this.changed();
  }
}

/** A GET of `/` to `origin`, changed as a test needs it. */
/** A connection whose answer has ended is there for another request by then. */
export async function rested(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((done) => setImmediate(done));
}

export function upstreamRequest(origin: UpstreamOrigin, changes: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    origin,
    method: "GET",
    path: "/",
    headers: ["Host", `127.0.0.1:${origin.port}`],
    body: "none",
    content: null,
    upgrade: false,
    connectMs: 5000,
    responseMs: 5000,
    idleMs: 5000,
    repeatable: true,
    freshSocket: false,
    ...changes,
  };
}
