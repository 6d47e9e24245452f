import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ClientMessages } from "../exchange.ts";
import { NodeBody } from "./node-body.ts";

/** The client's side of an exchange whose request Node's server read. */
export class NodeMessages implements ClientMessages {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly socket: Socket;
  readonly body: NodeBody;
  /** The whole answer went past `response`. */
  #passed = false;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.request = request;
    this.response = response;
    this.socket = request.socket;
    this.body = new NodeBody(request);
  }

  get method(): string | undefined {
    return this.request.method;
  }

  get url(): string | undefined {
    return this.request.url;
  }

  get httpVersion(): string {
    return this.request.httpVersion;
  }

  get rawHeaders(): readonly string[] {
    return this.request.rawHeaders;
  }

  get complete(): boolean {
    return this.request.complete;
  }

  get keepAlive(): boolean {
    return this.response.shouldKeepAlive;
  }

  set keepAlive(keeps: boolean) {
    this.response.shouldKeepAlive = keeps;
  }

  get answerBegun(): boolean {
    return this.#passed || this.response.headersSent;
  }

  get answerEnded(): boolean {
    return this.#passed || this.response.writableEnded;
  }

  get gone(): boolean {
    return this.response.destroyed;
  }

  get canPass(): boolean {
    return !this.response.headersSent && this.response.socket === this.socket;
  }

  pass(answer: string | Buffer, status: number, idleMs: number): void {
    const { request, response, socket } = this;
    this.#passed = true;
    // For whoever listens to 'finish' with us.
    response.statusCode = status;
    socket.write(answer, "latin1");
    if (socket.writableLength > 0) {
      socket.setTimeout(idleMs);
      socket.write("", () => finish(this));
    } else if (request.complete) {
      finish(this);
    } else {
      // A request that is being parsed is not over before its parser is done with it.
      process.nextTick(finish, this);
    }
  }

  giveBackTimeout(ms: number): void {
    // Behind an answer, Node has set the time-out of a connection between requests.
    if (!this.response.writableFinished) this.socket.setTimeout(ms);
  }
}

/** 'finish' is how `http.Server` learns that a response was sent: it goes on to the next request of the connection. */
function finish({ response, socket }: NodeMessages): void {
  if (!socket.destroyed) response.emit("finish");
}
