import {
  type Agent,
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP, type Socket } from "node:net";
import { checkServerIdentity } from "node:tls";
import { isFieldValue } from "../octets.ts";
import { answerProblem } from "./answer-framing.ts";
import type {
  EngineOptions,
  UpstreamCall,
  UpstreamEngine,
  UpstreamError,
  UpstreamErrorReason,
  UpstreamHandler,
  UpstreamOrigin,
  UpstreamRequest,
  Written,
} from "./forwarder.ts";

const IDLE_SOCKET_MS = 4000;
const MAX_SOCKET_AGE_MS = 60_000;
const MAX_FREE_SOCKETS = 1024;
/** Of one answer's head. */
const MAX_HEADER_BYTES = 64 * 1024;
const MAX_HEADER_FIELDS = 1000;
const MAX_INTERIM_ANSWERS = 8;
const NO_TRAILERS: readonly string[] = [];

/**
 * The reference engine, on node's own client: its parser (strict), its agent. It lets node add `Connection:
 * keep-alive`. `createSocketEngine` does the same at half the cost and is held to the same tests.
 */
export function createHttpEngine(options: EngineOptions = {}): UpstreamEngine {
  return new HttpEngine(options);
}

class HttpEngine implements UpstreamEngine {
  private readonly options: EngineOptions;
  /** By identity: equal origins that are two objects do not share connections. */
  private readonly agents = new Map<UpstreamOrigin, Agent>();
  private readonly exchanges = new Set<HttpExchange>();

  constructor(options: EngineOptions) {
    this.options = options;
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const exchange = new HttpExchange(request, handler, this.exchanges);
    exchange.start(this.agentFor(request));
    return exchange;
  }

  forget(origin: UpstreamOrigin): void {
    const agent = this.agents.get(origin);
    if (agent === undefined) return;
    this.agents.delete(origin);
    // Running exchanges finish; this makes the agent destroy their sockets then, in place of keeping them.
    (agent as Agent & { keepAlive: boolean }).keepAlive = false;
    for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }

  close(): void {
    for (const exchange of this.exchanges) exchange.shutDown();
    for (const agent of this.agents.values()) agent.destroy();
    this.agents.clear();
  }

  private agentFor(request: UpstreamRequest): Agent | false {
    // Node makes an agent of its own, without keep-alive, for `false`.
    if (request.upgrade || request.freshSocket) return false;
    let agent = this.agents.get(request.origin);
    if (agent === undefined) {
      agent = createAgent(request.origin, this.options);
      this.agents.set(request.origin, agent);
    }
    return agent;
  }
}

/**
 * One exchange. Every listener stays until its emitter is gone: node may emit 'error' at any moment, also after the
 * end.
 */
class HttpExchange implements UpstreamCall {
  private readonly request: UpstreamRequest;
  private readonly handler: UpstreamHandler;
  private readonly running: Set<HttpExchange>;
  private outgoing!: ClientRequest;
  private answer: IncomingMessage | null = null;
  private timer: NodeJS.Timeout | null = null;
  private timerReason: UpstreamErrorReason = "connect_timeout";
  private connected = false;
  private reused = false;
  private over = false;
  /** The request is complete: `end()` was called, or there is no body. */
  private requestEnded = false;
  private paused = false;
  private interims = 0;
  private answerBegun = false;
  private bodyBegun = false;
  /** The answer speaks of a body that it can not have. */
  private mayFollow = false;
  /** Bytes of the body that are still to come; -1 where no length is known. */
  private expected = -1;

  constructor(request: UpstreamRequest, handler: UpstreamHandler, running: Set<HttpExchange>) {
    this.request = request;
    this.handler = handler;
    this.running = running;
  }

  start(agent: Agent | false): void {
    const { origin, method, path, headers, body, content } = this.request;
    const send = origin.tls === null ? httpRequest : httpsRequest;
    const outgoing = send({
      ...(origin.tls !== null && tlsOptions(origin)),
      host: origin.hostname,
      port: origin.port,
      method,
      path,
      headers: headers as string[],
      agent,
      setHost: false,
      insecureHTTPParser: false,
      maxHeaderSize: MAX_HEADER_BYTES,
    });
    this.outgoing = outgoing;
    this.running.add(this);
    // Node would quietly leave out fields beyond its default, and still obey them; the size bounds them, then we count.
    outgoing.maxHeadersCount = 0;
    outgoing.on("socket", (socket) => this.onSocket(socket));
    outgoing.on("information", (answer) => this.onInformation(answer.statusCode, answer.rawHeaders));
    outgoing.on("response", (answer) => this.onResponse(answer));
    outgoing.on("upgrade", (answer, socket, rest) => this.onUpgrade(answer, socket as Socket, rest));
    outgoing.on("drain", () => this.onDrain());
    outgoing.on("error", (error) => this.onFailure(error));
    outgoing.on("close", () => this.fail("reset", "the connection ended"));
    this.arm(this.request.connectMs, "connect_timeout");
    if (body === "none" || content !== null) this.end(content);
  }

  write(chunk: Buffer): Written {
    if (this.over || this.requestEnded) return "taken";
    const more = this.outgoing.write(chunk);
    if (!more && this.connected && !this.bodyBegun) this.arm(this.request.idleMs, "idle_timeout");
    return more ? "kept" : "full";
  }

  end(content: Buffer | null = null): void {
    if (this.over || this.requestEnded) return;
    this.requestEnded = true;
    if (content === null) this.outgoing.end();
    else this.outgoing.end(content);
    if (this.connected && !this.bodyBegun) this.arm(this.request.responseMs, "response_timeout");
  }

  pause(): void {
    if (this.over || this.paused) return;
    this.paused = true;
    this.answer?.pause();
    if (this.bodyBegun) this.disarm();
  }

  resume(): void {
    if (this.over || !this.paused) return;
    this.paused = false;
    if (this.bodyBegun) this.arm(this.request.idleMs, "idle_timeout");
    this.answer?.resume();
  }

  abort(): void {
    if (this.over) return;
    this.finish();
    this.outgoing.destroy();
  }

  /** The engine closes under a running exchange. */
  shutDown(): void {
    this.fail("reset", "the gateway closed");
  }

  private onSocket(socket: Socket): void {
    this.reused = this.outgoing.reusedSocket;
    if (this.over) return;
    if (this.reused) this.onConnected();
    else socket.once(this.request.origin.tls === null ? "connect" : "secureConnect", () => this.onConnected());
  }

  private onConnected(): void {
    if (this.over) return;
    this.connected = true;
    if (this.requestEnded) this.arm(this.request.responseMs, "response_timeout");
    else this.disarm();
    if (this.request.body !== "none" && this.request.content === null) this.handler.onDrain();
  }

  private onDrain(): void {
    if (this.over || !this.connected) return;
    if (!this.requestEnded && this.timerReason === "idle_timeout" && !this.bodyBegun) this.disarm();
    this.handler.onDrain();
  }

  private onInformation(status: number, headers: readonly string[]): void {
    if (this.over) return;
    this.interims += 1;
    if (this.interims > MAX_INTERIM_ANSWERS) {
      this.fail("invalid_response", `more than ${MAX_INTERIM_ANSWERS} interim answers`);
    } else if (status !== 101) {
      this.handler.onInterim(status, headers);
    }
  }

  private onResponse(answer: IncomingMessage): void {
    answer.on("error", (error) => this.onFailure(error));
    if (this.over) {
      answer.resume();
      return;
    }
    this.answer = answer;
    const { statusCode: status = 0, rawHeaders } = answer;
    const problem = problemOf(answer, rawHeaders);
    if (problem !== null) {
      this.fail("invalid_response", problem);
      return;
    }
    this.answerBegun = true;
    const length = rawLength(rawHeaders);
    const isHead = this.request.method === "HEAD";
    const empty = isHead || status === 204 || status === 304;
    const bodyless = empty || length === 0;
    this.expected = bodyless ? 0 : length;
    // Some servers send such a body all the same, as the answer to somebody's next request.
    const { "transfer-encoding": coding } = answer.headers;
    this.mayFollow = empty && (coding !== undefined || (length > 0 && (isHead || status === 204)));
    answer.on("data", (chunk: Buffer) => this.onData(chunk));
    answer.on("end", () => this.onAnswerEnd());
    // A node stream that ends early says 'aborted' before 'error'; the parser's own error, where there is one, came
    // first.
    answer.on("aborted", () => this.fail("reset", "the connection ended within the answer"));
    if (this.paused) answer.pause();
    this.handler.onHead(status, answer.statusMessage ?? "", rawHeaders, bodyless);
    // Bytes behind an answer that has no body are no part of it, and no error of it either.
    if (bodyless) this.complete(NO_TRAILERS);
    else process.nextTick(() => this.over || this.handler.onReadEnd());
  }

  private onData(chunk: Buffer): void {
    if (this.over) return;
    this.bodyBegun = true;
    if (this.expected >= 0) this.expected -= chunk.length;
    const last = this.expected === 0;
    if (!last && !this.paused) this.arm(this.request.idleMs, "idle_timeout");
    this.handler.onBody(chunk, last, false);
    if (last) this.complete(NO_TRAILERS);
    else process.nextTick(() => this.over || this.handler.onReadEnd());
  }

  private onAnswerEnd(): void {
    this.complete(this.answer?.rawTrailers ?? NO_TRAILERS);
  }

  private onUpgrade(answer: IncomingMessage, socket: Socket, rest: Buffer): void {
    socket.on("error", ignore);
    const problem = this.request.upgrade ? answerProblem(answer.rawHeaders) : "a 101 that nobody asked for";
    if (this.over || problem !== null) {
      socket.destroy();
      this.fail("invalid_response", problem ?? "");
      return;
    }
    this.finish();
    socket.setTimeout(0);
    this.handler.onUpgrade(answer.rawHeaders, socket, rest);
  }

  private onFailure(error: NodeJS.ErrnoException): void {
    const code = error.code ?? error.name;
    // llhttp says INVALID_EOF_STATE of a connection that ended within a message, and the others of bytes that are
    // wrong.
    const unclean = code.startsWith("HPE_") && code !== "HPE_INVALID_EOF_STATE";
    this.fail(unclean && this.connected ? "invalid_response" : "reset", code);
  }

  private complete(trailers: readonly string[]): void {
    if (this.over) return;
    this.finish();
    // The upstream may still read the rest of this request as the next one.
    if (!this.requestEnded || this.mayFollow) this.outgoing.destroy();
    this.handler.onEnd(trailers);
  }

  private fail(reason: UpstreamErrorReason, detail: string): void {
    if (this.over) return;
    this.finish();
    this.outgoing.destroy();
    const error: UpstreamError = {
      reason: !this.connected && reason === "reset" ? "refused" : reason,
      detail,
      nothingSent: !this.connected,
      reusedSocket: this.reused,
      answerBegun: this.answerBegun,
    };
    this.handler.onError(error);
  }

  private finish(): void {
    this.over = true;
    this.running.delete(this);
    this.disarm();
  }

  private arm(ms: number, reason: UpstreamErrorReason): void {
    if (this.timer !== null && this.timerReason === reason) {
      this.timer.refresh();
      return;
    }
    this.disarm();
    if (ms === 0) return;
    this.timerReason = reason;
    this.timer = setTimeout(() => this.fail(this.timerReason, `${ms} ms`), ms);
    this.timer.unref();
  }

  private disarm(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}

function problemOf(answer: IncomingMessage, rawHeaders: readonly string[]): string | null {
  const { statusCode: status = 0, httpVersion } = answer;
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return "not HTTP/1.1";
  if (status < 200 || status > 599) return "a status that is none";
  if (!isFieldValue(answer.statusMessage ?? "")) return "a reason phrase that is not clean";
  if (rawHeaders.length > 2 * MAX_HEADER_FIELDS) return "too many header fields";
  return answerProblem(rawHeaders, httpVersion);
}

/** The length of an answer whose fields were found clean; -1 where there is none. */
function rawLength(rawHeaders: readonly string[]): number {
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    if (name.length === 14 && name.toLowerCase() === "content-length") return Number(rawHeaders[at + 1]);
  }
  return -1;
}

function createAgent(origin: UpstreamOrigin, options: EngineOptions): Agent {
  const maxAgeMs = options.maxSocketAgeMs ?? MAX_SOCKET_AGE_MS;
  const Base = origin.tls === null ? HttpAgent : HttpsAgent;
  const agent = new Base({
    keepAlive: true,
    // The last one used is the likeliest to be alive still; measured cheaper than fifo, too.
    scheduling: "lifo",
    maxFreeSockets: MAX_FREE_SOCKETS,
    timeout: options.idleSocketMs ?? IDLE_SOCKET_MS,
  }) as AgentInternals;
  const bornAt = new WeakMap<Socket, number>();
  const createConnection = agent.createConnection;
  agent.createConnection = function (...args) {
    const socket = createConnection.apply(this, args);
    if (socket) bornAt.set(socket, performance.now());
    return socket;
  };
  const keepSocketAlive = agent.keepSocketAlive;
  agent.keepSocketAlive = function (socket) {
    if (performance.now() - (bornAt.get(socket) ?? 0) >= maxAgeMs) return false;
    return keepSocketAlive.call(this, socket);
  };
  return agent;
}

/** What node documents of an Agent and its types leave out. */
interface AgentInternals extends Agent {
  createConnection(...args: unknown[]): Socket | undefined;
  keepSocketAlive(socket: Socket): boolean;
}

function tlsOptions(origin: UpstreamOrigin) {
  const { ca, cert, key, serverName } = origin.tls!;
  return {
    ...(ca !== null && { ca }),
    ...(cert !== null && { cert }),
    ...(key !== null && { key }),
    // An address is verified like any other name, but is no SNI (RFC 6066 section 3).
    servername: isIP(serverName) === 0 ? serverName : "",
    checkServerIdentity: (_host: string, certificate: Parameters<typeof checkServerIdentity>[1]) =>
      checkServerIdentity(serverName, certificate),
    rejectUnauthorized: true,
  };
}

/** What goes wrong with a socket that was handed over is its new owner's to see, by 'close'. */
function ignore(): void {}
