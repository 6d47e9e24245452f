import { createServer as createPlainServer, IncomingMessage, type Server, ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import { type AddressInfo, type BlockList, type ListenOptions, Server as NetServer, type Socket } from "node:net";
import { formatFields } from "../answer.ts";
import { type ClientMessages, Exchange } from "../exchange.ts";
import type { Fault } from "../faults/fault.ts";
import { inOnePiece } from "../one-piece.ts";
import { type Connection, connectionOf } from "./connection.ts";
import { NodeMessages } from "./node-messages.ts";
import { ordinaryHead } from "./ordinary-head.ts";
import { faultOfParseError, type ParseError } from "./parse-error.ts";
import { findPeer } from "./peer.ts";
import type { PlainBody } from "./plain-body.ts";
import { PlainConnection } from "./plain-connection.ts";
import { PlainMessages } from "./plain-messages.ts";
import { PLAIN_REQUEST_BYTES, type PlainRequest } from "./plain-request.ts";
import { newRequestId } from "./request-id.ts";
import { stoppableMessage } from "./stoppable-message.ts";
import { WaitingUpgrade } from "./waiting-upgrade.ts";

/** Limits on clients, in milliseconds, bytes and numbers: `limits:` of the configuration. */
export interface ListenerLimits {
  readonly headerTimeout: number;
  readonly requestTimeout: number;
  readonly idleTimeout: number;
  readonly headerBytes: number;
  readonly targetBytes: number;
  readonly maxConnections: number;
  readonly maxPipelined: number;
}

export interface ListenerOptions {
  readonly limits: ListenerLimits;
  readonly tls: TlsMaterial | null;
  /** Read at each connection, so that a reload counts from the next one. */
  readonly trustedProxies: () => BlockList;
  readonly handler: RequestHandler;
}

/** PEM texts. */
export interface TlsMaterial {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

/** What the listener hands requests to: the gateway. */
export interface RequestHandler {
  /** One request; it is over when its response is. */
  handle(exchange: Exchange): void;
  /**
   * A request to change protocol. True: it is a WebSocket that the gateway has taken over, to be answered through
   * `exchange.response` or tunnelled. False: it is an ordinary request and will come again, without its Upgrade.
   */
  handleUpgrade(exchange: Exchange, rest: Buffer): boolean;
  /** What arrived is no request: answer it with this and record it. The connection ends. */
  reject(exchange: Exchange, reason: Fault): void;
  /** The exchange that is under way can not go on: its body is broken, or did not come in time. */
  breakOff(exchange: Exchange, reason: Fault): void;
  /** The response is finished or its connection is gone. Called once for each exchange. */
  ended(exchange: Exchange): void;
  /** A connection was turned away because there are too many, or because accepting failed (no descriptors left). */
  dropped(error: Error | null): void;
  /** True while answers have to say `Connection: close`. */
  draining(): boolean;
}

/** How long a connection that was just busy may stay open without a request once nothing is accepted any more. */
const IDLE_GRACE_MS = 1000;
/** Node's own server knows `http/1.1` alone, and ends the handshake of a client that offers only `http/1.0` (curl --http1.0). */
const HANDSHAKE = { ALPNProtocols: ["http/1.1", "http/1.0"] };
/** What the parser says of a client that ended its side in the midst of a request. */
const ENDED_WITHIN = "HPE_INVALID_EOF_STATE";
/** How often connections are looked through for what waits too long, in milliseconds; oftener for short time-outs. */
const SWEEP_MS = 1000;

/**
 * Where clients connect. Node's own HTTP server parses requests; this adds what it leaves open: time-outs for silent
 * connections, one request at a time for each connection, envelopes for what the parser refuses, and Upgrade requests
 * that stay ordinary requests unless a route says `websocket`.
 *
 * The plainest requests are read without it (`plain-request.ts`), at half the cost. With the first bytes that are not such
 * a request a connection is handed to Node's server, for good: what is unusual in any way is Node's parser to judge.
 */
export class Listener {
  readonly #server: Server | TlsServer;
  readonly #options: ListenerOptions;
  readonly #connections = new Set<Connection>();
  /** Under TLS: what was accepted and is open, its handshake done or not. */
  readonly #accepted = new Set<Socket>();
  /** The event by which a server takes up a connection. */
  readonly #connectionEvent: "connection" | "secureConnection";
  /** Node's own listener for that event: it puts its parser in front of a socket. */
  readonly #takeUp: (this: NetServer, socket: Socket) => void;
  /** What a kept-alive answer says of its connection, as `ServerResponse` says it: name, value, name, value. */
  readonly #keepAliveHeaders: readonly string[];
  /** The same as field lines. */
  readonly #keepAliveFields: string;
  /** Heads of no more bytes are read here. */
  readonly #plainBytes: number;
  readonly #sweepMs: number;
  /** Nothing is accepted any more. */
  #closing = false;

  constructor(options: ListenerOptions) {
    const { limits, tls } = options;
    this.#sweepMs = Math.max(50, Math.min(SWEEP_MS, limits.headerTimeout / 4));
    const serverOptions = {
      insecureHTTPParser: false,
      // The lines and the target are limited apart from the whole, each with an answer of its own (head.ts).
      maxHeaderSize: limits.headerBytes + limits.targetBytes + 64,
      headersTimeout: limits.headerTimeout,
      requestTimeout: limits.requestTimeout,
      keepAliveTimeout: limits.idleTimeout,
      connectionsCheckingInterval: this.#sweepMs,
      // A request without Host gets our own envelope.
      requireHostHeader: false,
      noDelay: true,
      IncomingMessage: stoppableMessage(mustStop),
    };
    this.#options = options;
    const seconds = Math.floor(limits.idleTimeout / 1000);
    this.#keepAliveHeaders = ["Connection", "keep-alive", "Keep-Alive", `timeout=${seconds}`];
    this.#keepAliveFields = inOnePiece(formatFields(this.#keepAliveHeaders));
    this.#plainBytes = Math.min(PLAIN_REQUEST_BYTES, limits.headerBytes, limits.targetBytes);
    this.#connectionEvent = tls === null ? "connection" : "secureConnection";
    this.#server =
      tls === null
        ? createPlainServer(serverOptions)
        : createTlsServer({ ...serverOptions, ...tls, ...HANDSHAKE, handshakeTimeout: limits.headerTimeout });
    // On Node 20 the parser hides fields past the limit but obeys them (CVE-2026-58044): no limit, we count.
    this.#server.maxHeadersCount = 0;
    this.#server.maxConnections = limits.maxConnections;
    // A time-out for all of a connection's life is renewed with every read and write; it is needed between requests, where
    // `keepAliveTimeout` is it, before the first one, and while a client does not take its answer.
    this.#server.timeout = 0;
    this.#takeUp = this.#withoutNode();
    this.#listen();
  }

  /** Starts to accept; resolves with the address. Rejects when it is taken or may not be used. */
  listen(address: ListenOptions): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(address, () => {
        this.#server.off("error", reject);
        const sweep = setInterval(() => this.#sweep(), this.#sweepMs).unref();
        this.#server.once("close", () => clearInterval(sweep));
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Renewed certificates count from the next handshake. Throws when they can not be used. */
  renewTls(material: TlsMaterial): void {
    (this.#server as TlsServer).setSecureContext(material);
  }

  /**
   * Stops accepting and ends idle connections; resolves when the last connection is gone. One that was busy a moment ago
   * is given a second: its client may be sending the next request already, which is answered and says close.
   */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closing = true;
      // http.Server's own close() would cut idle connections at once.
      NetServer.prototype.close.call(this.#server, () => resolve());
      this.#endIdle(IDLE_GRACE_MS);
      setTimeout(() => {
        this.#endIdle(0);
        this.#endHandshakes();
      }, IDLE_GRACE_MS).unref();
      // What began before is not asked for another request either, unless its answer has said otherwise already.
      for (const { active } of this.#connections) if (active !== null) active.client.keepAlive = false;
    });
  }

  /**
   * Empty lines between requests are skipped by the parser and are no request, but every byte renews the socket's own
   * time-out. A request that began in time and took its time is over by then too, or answered 408.
   */
  #sweep(): void {
    const { idleTimeout, headerTimeout, requestTimeout } = this.#options.limits;
    if (requestTimeout > 0) this.#endOverdue(performance.now() - requestTimeout);
    if (this.#closing) this.#endIdle(IDLE_GRACE_MS);
    else this.#endIdle(idleTimeout + headerTimeout + 2 * SWEEP_MS, idleTimeout);
  }

  /** As Node's server does with what it reads: a request whose body is not here by then is told 408. */
  #endOverdue(beganBefore: number): void {
    for (const connection of this.#connections) {
      if (connection.plain?.waitsForBodySince(beganBefore)) this.#onBrokenBody(connection, "ERR_HTTP_REQUEST_TIMEOUT");
    }
  }

  /** `plainMs`: for connections that no other time-out watches between requests. */
  #endIdle(graceMs: number, plainMs = graceMs): void {
    const now = performance.now();
    for (const connection of this.#connections) {
      if (!connection.idle) continue;
      if (now - connection.lastBusyAt >= (connection.plain === null ? graceMs : plainMs)) connection.socket.destroy();
    }
  }

  /** A handshake that nobody goes on with would be waited for until it is `headerTimeout` old. */
  #endHandshakes(): void {
    const done = new Set([...this.#connections].map(({ socket }) => peerName(socket)));
    for (const socket of this.#accepted) if (!done.has(peerName(socket))) socket.destroy();
  }

  /** Cuts every connection; resolves when the exchanges on them are over, which is a moment later than the sockets' end. */
  async destroyConnections(): Promise<void> {
    const sockets = [...this.#connections].map(({ socket }) => socket);
    const closed = sockets.map((socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())));
    for (const socket of [...sockets, ...this.#accepted]) socket.destroy();
    await Promise.all(closed);
  }

  #listen(): void {
    const server = this.#server;
    const request = (req: IncomingMessage, res: ServerResponse) => this.#onRequest(req, res);
    server.on("request", request);
    // Both kinds of Expect are the gateway's to answer: 100 only once authorised, anything else 417.
    server.on("checkContinue", request);
    server.on("checkExpectation", request);
    server.on("upgrade", (req, socket, rest) => this.#onUpgrade(req, socket as Socket, rest));
    server.on("connect", (req, socket, rest) => this.#onUpgrade(req, socket as Socket, rest));
    server.on("clientError", (error: ParseError, socket) => this.#onClientError(error, socket as Socket));
    server.on(this.#connectionEvent, (socket: Socket) => this.#onConnection(socket));
    if (this.#connectionEvent === "secureConnection") {
      server.on("connection", (socket: Socket) => {
        this.#accepted.add(socket);
        socket.once("close", () => this.#accepted.delete(socket));
      });
    }
    // Said of a socket as long as its parser is there; with a listener Node does nothing by itself.
    server.on("timeout", noop);
    server.on("drop", () => this.#options.handler.dropped(null));
    // Accepting fails when descriptors run out; the listener itself goes on.
    server.on("error", (error) => this.#options.handler.dropped(error));
    // A failed handshake: there is nobody to answer to.
    server.on("tlsClientError", (_error, socket) => socket.destroy());
  }

  /** Node's server is asked only for what is not plain. */
  #withoutNode(): (this: NetServer, socket: Socket) => void {
    const [takeUp, ...others] = this.#server.listeners(this.#connectionEvent);
    if (takeUp === undefined || others.length > 0) throw new Error("node:http takes connections up in another way");
    this.#server.removeAllListeners(this.#connectionEvent);
    return takeUp as (this: NetServer, socket: Socket) => void;
  }

  #onConnection(socket: Socket): void {
    const connection = connectionOf(socket);
    this.#connections.add(connection);
    connection.plain = new PlainConnection(socket, this.#plainBytes, {
      onRequest: (request, body) => this.#onPlainRequest(connection, request, body),
      onOther: (bytes) => this.#handOver(connection, bytes),
      onSilence: () => this.#onSilence(socket),
      onBrokenBody: () => this.#onBrokenBody(connection, ENDED_WITHIN),
    });
    socket.setTimeout(this.#options.limits.idleTimeout);
    // A reset is seen by the exchange under way as a response that closes; between requests nobody needs to know. Under TLS
    // an error does not end the socket by itself: a record that was tampered with, or one renegotiation too many.
    socket.on("error", () => socket.destroy());
    socket.once("close", () => {
      this.#connections.delete(connection);
      connection.waiting.length = 0;
      connection.plain?.breakOff();
      if (connection.plain !== null && connection.active !== null) this.#onEnded(connection, connection.active);
    });
  }

  #onPlainRequest(connection: Connection, request: PlainRequest, body: PlainBody | null): void {
    // What comes behind the last answer is nobody's request: it is only read so that the answer is received.
    if (connection.closing) {
      connection.plain?.end();
      return;
    }
    const left = () => this.#onAnswerLeft(connection);
    this.#begin(connection, new PlainMessages(connection.socket, request, body, this.#keepAliveHeaders, left));
  }

  /** Its parser would say the same of a request that it reads. */
  #onBrokenBody({ socket }: Connection, code: string): void {
    this.#onClientError(Object.assign(new Error(code), { code }), socket);
  }

  #onAnswerLeft(connection: Connection): void {
    const { active, plain } = connection;
    if (active === null || plain === null) return;
    const behind = plain.end();
    this.#onEnded(connection, active);
    if (behind !== null) this.#handOver(connection, behind);
  }

  /** Node's server has the connection from here on, beginning with these bytes. */
  #handOver(connection: Connection, bytes: Buffer): void {
    const { plain, socket } = connection;
    // Nobody waits for an answer any more, or none may follow the last one.
    if (socket.destroyed || socket.readableEnded || connection.closing) return;
    plain?.release();
    connection.plain = null;
    socket.setTimeout(this.#options.limits.idleTimeout);
    socket.on("timeout", () => this.#onSilence(socket));
    this.#giveToNode(socket, bytes);
  }

  #giveToNode(socket: Socket, bytes: Buffer): void {
    socket.unshift(bytes);
    this.#takeUp.call(this.#server, socket);
    socket.resume();
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = connectionOf(request.socket);
    if (connection.closing || connection.failure !== null) {
      request.resume();
      return;
    }
    if (connection.active === null) {
      this.#beginWithNode(connection, request, response);
      return;
    }
    connection.wait(request, response, this.#options.limits.maxPipelined);
  }

  #beginWithNode(connection: Connection, request: IncomingMessage, response: ServerResponse): void {
    this.#begin(connection, this.#messagesOf(connection, request, response));
  }

  #begin(connection: Connection, messages: ClientMessages): void {
    const exchange = this.#track(connection, messages);
    if (this.#options.handler.draining()) messages.keepAlive = false;
    this.#options.handler.handle(exchange);
  }

  /** The exchange ends as its response closes. */
  #messagesOf(connection: Connection, request: IncomingMessage, response: ServerResponse): NodeMessages {
    const messages = new NodeMessages(request, response);
    response.on("error", noop);
    response.on("close", () => this.#onResponseClose(connection, messages));
    return messages;
  }

  #track(connection: Connection, messages: ClientMessages): Exchange {
    const peer = findPeer(connection, messages.rawHeaders, this.#options.trustedProxies());
    const exchange = new Exchange(messages, newRequestId(), peer, performance.now());
    exchange.keepAliveFields = this.#keepAliveFields;
    exchange.idleMs = this.#options.limits.idleTimeout;
    connection.active = exchange;
    return exchange;
  }

  #onResponseClose(connection: Connection, messages: ClientMessages): void {
    const { active } = connection;
    if (active?.client !== messages) return;
    this.#onEnded(connection, active);
    this.#next(connection);
  }

  #onEnded(connection: Connection, exchange: Exchange): void {
    connection.active = null;
    this.#options.handler.ended(exchange);
    connection.lastBusyAt = exchange.endedAt;
  }

  /** The next thing that waits on this connection: a request, then an Upgrade, then what the parser refused. */
  #next(connection: Connection): void {
    const { socket, waiting } = connection;
    if (socket.destroyed || connection.closing) {
      waiting.length = 0;
      return;
    }
    const following = connection.nextWaiting();
    if (following !== undefined) {
      const { request, response } = following;
      // The parser gave up within the last request that it handed on: that one is answered with the failure.
      const broken = waiting.length === 0 && connection.failure !== null && !request.complete;
      if (broken && connection.failure !== null) this.#refuseBroken(connection, request, response, connection.failure);
      else this.#beginWithNode(connection, request, response);
    } else if (connection.upgrade !== null) {
      const { upgrade } = connection;
      connection.upgrade = null;
      this.#upgrade(connection, upgrade.request, upgrade.take());
    } else if (connection.failure !== null) {
      this.#answerFailure(connection, connection.failure);
    }
  }

  /**
   * Node detaches its parser at *every* Upgrade (and CONNECT), whatever the protocol and method, and at what has to wait
   * (`mustStop`), so that the ordinary ones among them have to be put back in front of it.
   */
  #onUpgrade(request: IncomingMessage, socket: Socket, rest: Buffer): void {
    const connection = connectionOf(socket);
    if (connection.closing || connection.failure !== null) {
      socket.destroy();
      return;
    }
    if (connection.idle) {
      this.#upgrade(connection, request, rest);
      return;
    }
    // Node has also taken away what tells the answers before it that the socket drained.
    const drained = () => connection.active?.response.emit("drain");
    connection.upgrade = new WaitingUpgrade(request, socket, rest, drained);
  }

  #upgrade(connection: Connection, request: IncomingMessage, rest: Buffer): void {
    const { socket } = connection;
    const { exchange, release } = this.#detached(connection, request);
    if (this.#options.handler.handleUpgrade(exchange, rest)) return;
    connection.active = null;
    // A client may ask again with each request: nothing of this one stays on the socket.
    release();
    this.#giveToNode(socket, Buffer.concat([ordinaryHead(request), rest]));
  }

  /** The parser refused what came, or it did not come in time. */
  #onClientError(error: ParseError, socket: Socket): void {
    const connection = connectionOf(socket);
    if (socket.destroyed || connection.closing || connection.failure !== null) return;
    if (error.code === "ECONNRESET" || error.code === "EPIPE" || !socket.writable) {
      socket.destroy();
      return;
    }
    // Node counts `headersTimeout` from the connection on; one that never said a word has until `idleTimeout`.
    if (error.code === "ERR_HTTP_REQUEST_TIMEOUT" && socket.bytesRead === 0) return;
    const active = connection.active;
    const reason = faultOfParseError(error, this.#options.limits);
    const broken = connection.waiting.length === 0 && active !== null && !active.client.complete;
    // A request may still be coming in while its answer goes out: that has the time-outs of the answer.
    if (broken && reason.code === "user:bad_request:request_timeout" && active.client.answerBegun) return;
    // A client that ends its side behind a whole request has its connection ended by Node, and is answered no more.
    if (error.code === ENDED_WITHIN && active !== null && !broken) {
      socket.end();
      return;
    }
    connection.failure = reason;
    if (broken) {
      // Nothing of the broken message may look whole to the upstream.
      connection.closing = true;
      this.#options.handler.breakOff(active, reason);
    } else if (connection.idle) {
      this.#answerFailure(connection, reason);
    }
  }

  #refuseBroken(connection: Connection, request: IncomingMessage, response: ServerResponse, reason: Fault): void {
    connection.closing = true;
    response.shouldKeepAlive = false;
    this.#options.handler.reject(this.#track(connection, this.#messagesOf(connection, request, response)), reason);
  }

  /** Answers what never became a request. */
  #answerFailure(connection: Connection, reason: Fault): void {
    connection.closing = true;
    const request = new IncomingMessage(connection.socket);
    const { exchange } = this.#detached(connection, request);
    this.#options.handler.reject(exchange, reason);
  }

  /** An exchange whose request Node's server does not manage: the response is ours to end, or to release unused. */
  #detached(connection: Connection, request: IncomingMessage): { exchange: Exchange; release: () => void } {
    const { socket } = connection;
    const response = new ServerResponse(request);
    response.assignSocket(socket);
    response.shouldKeepAlive = false;
    response.on("error", noop);
    response.on("finish", () => socket.destroySoon());
    const messages = new NodeMessages(request, response);
    const exchange = this.#track(connection, messages);
    const closed = () => this.#onResponseClose(connection, messages);
    socket.once("close", closed);
    const release = () => {
      socket.off("close", closed);
      response.detachSocket(socket);
    };
    return { exchange, release };
  }

  /** A socket on which nothing moved for `idleTimeout`. Exchanges under way have time-outs of their own. */
  #onSilence(socket: Socket): void {
    const { idle, active } = connectionOf(socket);
    if (idle || active?.client.answerEnded) socket.destroy();
  }
}

/**
 * Nothing is parsed behind its head before its turn: what may wait as requests does already, or it has a body. Or the client
 * does not take its answers: Node pauses its parser then, and under TLS gives it what is deciphered all the same, which the
 * parser refuses.
 */
function mustStop({ socket, rawHeaders }: IncomingMessage): boolean {
  const { active, closing, failure, full } = connectionOf(socket);
  if (active === null || closing || failure !== null) return false;
  return full || socket.writableNeedDrain || hasBody(rawHeaders);
}

function hasBody(rawHeaders: readonly string[]): boolean {
  return rawHeaders.some((name, at) => at % 2 === 0 && /^(?:content-length|transfer-encoding)$/i.test(name));
}

/** The same for a TLS socket and for the one it was made of; no two that are open have one. */
function peerName({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function noop(): void {}
