import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Duplex } from "node:stream";

/** One request as Node's server hands it on. */
export interface NodeRequest {
  /** How: an ordinary request, one that expects an interim answer, or one that wants another protocol. */
  readonly event: "request" | "checkContinue" | "checkExpectation" | "upgrade" | "connect";
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly httpVersion: string;
  readonly rawHeaders: readonly string[];
  /** It was read to its end. */
  readonly complete: boolean;
  /** What came of its body; latin1. */
  readonly body: string;
  /** The connection may go on after its answer. */
  readonly keepsAlive: boolean;
}

export interface NodeReading {
  readonly requests: readonly NodeRequest[];
  /** Code of the error that the parser gave up with; null where it did not. */
  readonly error: string | null;
}

const EVENTS = ["request", "checkContinue", "checkExpectation", "upgrade", "connect"] as const;

/** Node's own HTTP server with the options of the gateway's, asked what it makes of bytes that come in one read. */
export class NodeParser {
  readonly #server: Server;
  #requests: (() => NodeRequest)[] = [];
  #error: string | null = null;

  constructor() {
    const options = { insecureHTTPParser: false, requireHostHeader: false, maxHeaderSize: 24 * 1024 + 64 };
    this.#server = createServer(options);
    this.#server.maxHeadersCount = 0;
    this.#server.timeout = 0;
    for (const event of EVENTS) this.#server.on(event, (request, response) => this.#saw(event, request, response));
    this.#server.on("clientError", (error: NodeJS.ErrnoException) => {
      this.#error ??= error.code ?? "unknown";
    });
  }

  /** Reads each piece at once, one after the other, on one connection. */
  read(...pieces: readonly Buffer[]): NodeReading {
    this.#requests = [];
    this.#error = null;
    const socket = new Silent();
    this.#server.emit("connection", socket);
    for (const piece of pieces) socket.emit("data", piece);
    const reading = { requests: this.#requests.map((look) => look()), error: this.#error };
    // The parser goes back at once; an event loop's turn for each case would be most of the time.
    socket.emit("close");
    return reading;
  }

  #saw(event: NodeRequest["event"], request: IncomingMessage, response: ServerResponse): void {
    this.#requests.push(() => ({
      event,
      method: request.method,
      url: request.url,
      httpVersion: request.httpVersion,
      rawHeaders: request.rawHeaders,
      complete: request.complete,
      body: (request.read() as Buffer | null)?.toString("latin1") ?? "",
      keepsAlive: response.shouldKeepAlive === true,
    }));
  }
}

/** A socket that says nothing by itself. */
class Silent extends Duplex {
  setTimeout(): this {
    return this;
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}
