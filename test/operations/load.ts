import { Agent, createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** Where a request is sent next; null sends none (every instance is out). */
export type PickOrigin = () => string | null;

export interface LoadOptions {
  readonly perSecond: number;
  readonly origin: PickOrigin;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One answer that came, or the error in its place. */
export interface Outcome {
  readonly origin: string;
  readonly status: number;
  readonly error: string | null;
  /** What the answer's Connection field says. */
  readonly connection: string;
  readonly sentAt: number;
  readonly body: string;
}

/**
 * Clients that keep their connections alive and send at a steady rate: a request that is not answered with 200 is there
 * as an outcome, never retried. Each client waits for its answer, so that a machine that is busy with other things gets
 * fewer requests rather than a backlog.
 */
export class Load {
  readonly outcomes: Outcome[] = [];
  readonly #options: LoadOptions;
  readonly #agent = new Agent({ keepAlive: true, scheduling: "fifo" });
  readonly #running = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  readonly #startedAt = performance.now();
  #sent = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#sendDue(), 4);
  }

  /** Requests a second that were in fact sent, over the whole run. */
  get perSecond(): number {
    return Math.round((this.outcomes.length / (performance.now() - this.#startedAt)) * 1000);
  }

  get failures(): Outcome[] {
    return this.outcomes.filter(({ status, error }) => status !== 200 || error !== null);
  }

  /** Resolves when as many outcomes are there as now and `count` more. */
  async more(count: number): Promise<void> {
    const until = this.outcomes.length + count;
    while (this.outcomes.length < until) await Promise.race([...this.#running, nextTurn()]);
  }

  /** Sends no more and waits for what was sent. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
    this.#agent.destroy();
  }

  #sendDue(): void {
    const due = ((performance.now() - this.#startedAt) / 1000) * this.#options.perSecond;
    for (; this.#sent < due; this.#sent++) {
      if (this.#running.size >= CLIENTS) continue;
      const origin = this.#options.origin();
      if (origin === null) continue;
      const running = this.#send(origin).then((outcome) => {
        this.outcomes.push(outcome);
        this.#running.delete(running);
      });
      this.#running.add(running);
    }
  }

  async #send(origin: string): Promise<Outcome> {
    const { path = "/", headers = {} } = this.#options;
    const sentAt = performance.now();
    const failed = (error: Error): Outcome => {
      return { origin, status: 0, error: error.message, connection: "", sentAt, body: "" };
    };
    return new Promise((resolve) => {
      const sent = httpRequest(`${origin}${path}`, { agent: this.#agent, headers });
      sent.once("error", (error) => resolve(failed(error)));
      sent.once("response", (response) => {
        readBody(response).then(
          (body) => {
            const { connection = "" } = response.headers;
            resolve({ origin, status: response.statusCode ?? 0, error: null, connection, sentAt, body });
          },
          (error: Error) => resolve(failed(error)),
        );
      });
      sent.end();
    });
  }
}

const CLIENTS = 64;

/** What failed, in as few words as tell it. */
export function describeFailures(failures: readonly Outcome[]): string[] {
  return failures.slice(0, 5).map(({ status, error, body }) => `${status} ${error ?? ""} ${body.slice(0, 120)}`);
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = "";
  response.setEncoding("utf8");
  for await (const chunk of response) body += chunk;
  if (!response.complete) throw new Error("the answer ended short");
  return body;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

/** An upstream that says its name; `/hold` is answered when `release()` is called. */
export class NamedUpstream {
  readonly #server: Server;
  readonly #held: (() => void)[] = [];
  readonly #sockets = new Set<Socket>();
  #onHeld: () => void = () => {};

  private constructor(name: string) {
    this.#server = createServer((request, response) => {
      if (request.url !== "/hold") return void response.end(name);
      this.#held.push(() => response.end(`held by ${name}`));
      this.#onHeld();
    });
    this.#server.keepAliveTimeout = 60_000;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(name: string): Promise<NamedUpstream> {
    const upstream = new NamedUpstream(name);
    await new Promise<void>((listening) => upstream.#server.listen(0, "127.0.0.1", listening));
    return upstream;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Requests to `/hold` that wait. */
  get holding(): number {
    return this.#held.length;
  }

  /** Resolves when a request to `/hold` is here. */
  held(): Promise<void> {
    if (this.#held.length > 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onHeld = resolve;
    });
  }

  release(): void {
    for (const answer of this.#held.splice(0)) answer();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }
}
