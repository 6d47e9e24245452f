import { type IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ClientMessages, RequestBody } from "../exchange.ts";
import { createStage } from "../turn.ts";
import { NO_BODY, type PlainBody } from "./plain-body.ts";
import type { PlainRequest } from "./plain-request.ts";

/**
 * The client's side of an exchange whose request was read without Node's server. Most are answered in one piece; for
 * any other answer Node's own objects are made.
 */
export class PlainMessages implements ClientMessages {
  readonly socket: Socket;
  readonly method: string;
  readonly url: string;
  readonly httpVersion = "1.1";
  readonly rawHeaders: string[];
  readonly #body: PlainBody | null;
  readonly #keepAliveHeaders: readonly string[];
  readonly #answerLeft: () => void;
  #keepAlive = true;
  /** Whole, past `response`; null: nothing was handed over so. */
  #answer: string | Buffer | null = null;
  /** How long its client may leave that lying. */
  #answerIdleMs = 0;
  #request: IncomingMessage | null = null;
  #response: ServerResponse | null = null;

  /**
   * `keepAliveHeaders`: what an answer through `response` says of its connection where that is kept; name, value, name,
   * value. `answerLeft` is told once that the answer has left, whole; not where the connection broke before.
   */
  constructor(
    socket: Socket,
    request: PlainRequest,
    body: PlainBody | null,
    keepAliveHeaders: readonly string[],
    answerLeft: () => void,
  ) {
    this.socket = socket;
    this.#body = body;
    this.method = request.method;
    this.url = request.url;
    this.rawHeaders = request.rawHeaders;
    this.#keepAliveHeaders = keepAliveHeaders;
    this.#answerLeft = answerLeft;
  }

  get complete(): boolean {
    return this.#body === null || this.#body.complete;
  }

  get body(): RequestBody {
    return this.#body ?? NO_BODY;
  }

  get request(): IncomingMessage {
    this.#request ??= this.#makeRequest();
    return this.#request;
  }

  get response(): ServerResponse {
    this.#response ??= this.#makeResponse();
    return this.#response;
  }

  get keepAlive(): boolean {
    return this.#response === null ? this.#keepAlive : this.#response.shouldKeepAlive;
  }

  set keepAlive(keeps: boolean) {
    this.#keepAlive = keeps;
    if (this.#response !== null) this.#response.shouldKeepAlive = keeps;
  }

  get answerBegun(): boolean {
    return this.#answer !== null || this.#response?.headersSent === true;
  }

  get answerEnded(): boolean {
    return this.#answer !== null || this.#response?.writableEnded === true;
  }

  get gone(): boolean {
    return this.socket.destroyed;
  }

  get canPass(): boolean {
    return this.#response === null;
  }

  pass(answer: string | Buffer, _status: number, idleMs: number): void {
    this.#answer = answer;
    this.#answerIdleMs = idleMs;
    ANSWERS.add(this);
  }

  /** At the end of the turn. */
  send(): void {
    if (this.#answer !== null) this.socket.write(this.#answer, "latin1");
    ENDS.add(this);
  }

  /** What was sent is with the kernel, or will be: then the exchange is over. */
  end(): void {
    const { socket } = this;
    if (socket.writableLength === 0) {
      this.#left();
      return;
    }
    socket.setTimeout(this.#answerIdleMs);
    socket.write("", () => this.#left());
  }

  giveBackTimeout(ms: number): void {
    this.socket.setTimeout(ms);
  }

  #left(): void {
    if (!this.socket.destroyed) this.#answerLeft();
  }

  #makeRequest(): IncomingMessage {
    const request = new IncomingMessage(this.socket);
    request.method = this.method;
    request.url = this.url;
    request.httpVersion = this.httpVersion;
    request.httpVersionMajor = 1;
    request.httpVersionMinor = 1;
    request.rawHeaders = this.rawHeaders;
    request.headers = joinHeaders(this.rawHeaders);
    request.complete = this.complete;
    request.push(null);
    return request;
  }

  #makeResponse(): ServerResponse {
    const { socket } = this;
    const response = new PlainResponse(this.request, this.#keepAliveHeaders);
    response.shouldKeepAlive = this.#keepAlive;
    response.assignSocket(socket);
    const drained = () => response.emit("drain");
    socket.on("drain", drained);
    response.on("error", noop);
    response.once("finish", () => {
      socket.off("drain", drained);
      response.detachSocket(socket);
      if (response.saidClose) socket.destroySoon();
      this.#answerLeft();
    });
    return response;
  }
}

const ANSWERS = createStage<PlainMessages>("answers", (messages) => messages.send());
const ENDS = createStage<PlainMessages>("ends", (messages) => messages.end());

/** Says of the connection what a response of Node's server says. */
class PlainResponse extends ServerResponse {
  /** What its client was told in the head holds, whatever is decided while the body is under way. */
  saidClose = false;
  readonly #keepAliveHeaders: readonly string[];

  constructor(request: IncomingMessage, keepAliveHeaders: readonly string[]) {
    super(request);
    this.#keepAliveHeaders = keepAliveHeaders;
  }

  override writeHead(status: number, ...rest: unknown[]): this {
    this.saidClose = !this.shouldKeepAlive;
    const headers: unknown = rest.at(-1);
    if (this.shouldKeepAlive && Array.isArray(headers)) rest[rest.length - 1] = [...headers, ...this.#keepAliveHeaders];
    return super.writeHead(status, ...(rest as []));
  }
}

/** By lower-case name; those that are there repeatedly as one list. */
function joinHeaders(rawHeaders: readonly string[]): IncomingHttpHeaders {
  const headers: Record<string, string> = Object.create(null);
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase();
    const known = headers[name];
    headers[name] = known === undefined ? rawHeaders[at + 1]! : `${known}, ${rawHeaders[at + 1]}`;
  }
  return headers;
}

function noop(): void {}
