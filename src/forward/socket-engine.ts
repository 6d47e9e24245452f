import { connect as connectTcp, isIP, type OnReadOpts, type Socket, type TcpNetConnectOpts } from "node:net";
import { type ConnectionOptions, checkServerIdentity, connect as connectTls, createSecureContext } from "node:tls";
import type {
  EngineOptions,
  UpstreamCall,
  UpstreamEngine,
  UpstreamError,
  UpstreamHandler,
  UpstreamOrigin,
  UpstreamRequest,
  UpstreamTls,
} from "./forwarder.ts";
import { Pool } from "./pool.ts";
import { formatRequestHead } from "./request-writer.ts";
import { KnownHeads } from "./response-parser.ts";
import { Ticks } from "./ticks.ts";
import { type ConnectionKind, type ConnectionOwner, UpstreamConnection } from "./upstream-connection.ts";

/**
 * HTTP/1.1 to upstreams straight on sockets: half the cost of `http.request`, and stricter about what counts as an
 * answer (docs/upstream-engines.md has the differences). Public interfaces of node:net and node:tls only.
 */
export function createSocketEngine(options: EngineOptions = {}): UpstreamEngine {
  return new SocketEngine({ ...DEFAULTS, ...options });
}

/** Four seconds: below the five after which many servers close an idle connection unannounced. */
const DEFAULTS: Required<EngineOptions> = { idleSocketMs: 4_000, maxSocketAgeMs: 60_000, keptSocketsMax: 10_000 };
/** How finely time-outs are told apart. */
const TICK_MS = 50;

class SocketEngine implements UpstreamEngine {
  readonly #options: Required<EngineOptions>;
  readonly #ticks: Ticks;
  readonly #origins = new Map<UpstreamOrigin, OriginConnections>();
  /** No longer configured. A request that began before may still come for one: its connection is not kept. */
  readonly #forgotten = new WeakSet<UpstreamOrigin>();
  readonly #connections = new Set<UpstreamConnection>();

  constructor(options: Required<EngineOptions>) {
    this.#options = options;
    this.#ticks = new Ticks(TICK_MS, () => this.#sweep());
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const origin = this.#originOf(request.origin);
    const head = formatRequestHead(request);
    const idle = request.freshSocket || request.upgrade ? undefined : origin.pool.take();
    if (idle !== undefined) return idle.start(request, head, handler);
    try {
      return this.#open(origin, request.upgrade).start(request, head, handler);
    } catch (error) {
      // It can not even be tried: a certificate that is none, say.
      return failedCall(handler, error);
    }
  }

  forget(origin: UpstreamOrigin): void {
    const known = this.#origins.get(origin);
    this.#origins.delete(origin);
    this.#forgotten.add(origin);
    for (const connection of known?.pool.close() ?? []) connection.destroy();
  }

  close(): void {
    for (const origin of [...this.#origins.keys()]) this.forget(origin);
    for (const connection of [...this.#connections]) connection.shutDown();
    this.#ticks.stop();
  }

  #originOf(origin: UpstreamOrigin): OriginConnections {
    let known = this.#origins.get(origin);
    if (known === undefined) {
      known = new OriginConnections(origin, this.#options, this.#ticks, this.#connections);
      if (this.#forgotten.has(origin)) known.pool.close();
      else this.#origins.set(origin, known);
    }
    return known;
  }

  #open(origin: OriginConnections, upgrade: boolean): UpstreamConnection {
    if (this.#connections.size >= this.#options.keptSocketsMax) this.#giveUpIdle();
    const connection = origin.open(upgrade);
    this.#connections.add(connection);
    this.#ticks.start();
    return connection;
  }

  /** Room for one more: an idle connection to whatever origin, if there is any. */
  #giveUpIdle(): void {
    for (const { pool } of this.#origins.values()) {
      const oldest = pool.takeOldest();
      if (oldest === undefined) continue;
      oldest.destroy();
      return;
    }
  }

  #sweep(): void {
    for (const connection of this.#connections) connection.tick();
    if (this.#connections.size === 0) this.#ticks.stop();
  }
}

/** The connections to one origin: how they are opened, and which of them are idle. */
class OriginConnections implements ConnectionOwner {
  readonly pool: Pool<UpstreamConnection>;
  readonly ticks: Ticks;
  readonly knownHeads = new KnownHeads();
  readonly idleMsMax: number;
  readonly ageMsMax: number;
  readonly #origin: UpstreamOrigin;
  readonly #all: Set<UpstreamConnection>;
  readonly #keptMax: number;
  /** Answered in this turn of the event loop: not yet for another request. */
  readonly #resting: UpstreamConnection[] = [];
  #tlsOptions: ConnectionOptions | null = null;
  /** The last TLS session, to resume: a full handshake costs both sides more than a hundred requests. */
  #session: Buffer | null = null;

  constructor(origin: UpstreamOrigin, options: Required<EngineOptions>, ticks: Ticks, all: Set<UpstreamConnection>) {
    this.#origin = origin;
    this.#all = all;
    this.ticks = ticks;
    this.idleMsMax = options.idleSocketMs;
    this.ageMsMax = options.maxSocketAgeMs;
    this.pool = new Pool(options.keptSocketsMax);
    this.#keptMax = options.keptSocketsMax;
  }

  /** `upgrade`: its socket may be handed over, to be read by 'data'. */
  open(upgrade: boolean): UpstreamConnection {
    const { tls } = this.#origin;
    if (tls !== null) return new UpstreamConnection(() => this.#openTls(tls), TLS, this);
    const options = tcpOptions(this.#origin);
    const open = (onread: OnReadOpts | null) => connectTcp(onread === null ? options : { ...options, onread });
    return new UpstreamConnection(open, upgrade ? PLAIN_HANDED_OVER : PLAIN, this);
  }

  release(connection: UpstreamConnection): void {
    if (this.#resting.length === 0) setImmediate(this.#endRest);
    this.#resting.push(connection);
  }

  gone(connection: UpstreamConnection): void {
    this.#all.delete(connection);
    this.pool.remove(connection);
  }

  /**
   * What an upstream sends behind its answer (a length that counts characters, say) would be the answer to whoever uses
   * the connection next. So a connection rests until the end of the turn of the event loop, when all is read that was
   * there: bytes that nobody asked for end it.
   */
  readonly #endRest = (): void => {
    for (const connection of this.#resting) {
      if (!connection.idle) continue;
      const kept = this.#all.size <= this.#keptMax && this.pool.keep(connection);
      if (!kept) connection.destroy();
    }
    this.#resting.length = 0;
  };

  #openTls(tls: UpstreamTls): Socket {
    this.#tlsOptions ??= tlsOptions(this.#origin, tls);
    const session = this.#session === null ? {} : { session: this.#session };
    const socket = connectTls({ ...this.#tlsOptions, ...session });
    socket.setNoDelay(true);
    socket.on("session", (ticket) => {
      this.#session = ticket;
    });
    return socket;
  }
}

const PLAIN: ConnectionKind = { connectEvent: "connect", ownMemory: false };
const PLAIN_HANDED_OVER: ConnectionKind = { connectEvent: "connect", ownMemory: true };
const TLS: ConnectionKind = { connectEvent: "secureConnect", ownMemory: true };

function tcpOptions(origin: UpstreamOrigin): TcpNetConnectOpts {
  return { host: origin.hostname, port: origin.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };
}

/** Always verified, against `serverName` whatever address was connected to; never HTTP/2, never plain. */
function tlsOptions(origin: UpstreamOrigin, tls: UpstreamTls): ConnectionOptions {
  const { ca, cert, key, serverName } = tls;
  const pem = { ...(ca !== null && { ca }), ...(cert !== null && { cert }), ...(key !== null && { key }) };
  return {
    ...tcpOptions(origin),
    secureContext: createSecureContext({ ...pem, minVersion: "TLSv1.2" }),
    // RFC 6066 section 3: no address in SNI.
    servername: isIP(serverName) === 0 ? serverName : "",
    rejectUnauthorized: true,
    checkServerIdentity: (_hostname, certificate) => checkServerIdentity(serverName, certificate),
    ALPNProtocols: ["http/1.1"],
  };
}

const NEVER_CONNECTED = {
  reason: "refused",
  nothingSent: true,
  reusedSocket: false,
  answerBegun: false,
} as const satisfies Omit<UpstreamError, "detail">;

/** An exchange that ended before it began: the handler hears so in a moment, unless it aborts before that. */
function failedCall(handler: UpstreamHandler, error: unknown): UpstreamCall {
  let aborted = false;
  const detail = error instanceof Error ? error.message : String(error);
  process.nextTick(() => {
    if (!aborted) handler.onError({ ...NEVER_CONNECTED, detail });
  });
  const abort = () => {
    aborted = true;
  };
  return { write: () => true, end: () => {}, pause: () => {}, resume: () => {}, abort };
}
