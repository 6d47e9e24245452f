import { connect as connectTcp, isIP, type OnReadOpts, type Socket, type TcpNetConnectOpts } from "node:net";
import { type ConnectionOptions, checkServerIdentity, connect as connectTls, createSecureContext } from "node:tls";
import { NameLookups } from "../name-lookups.ts";
import type {
  EngineOptions,
  UpstreamCall,
  UpstreamEngine,
  UpstreamHandler,
  UpstreamOrigin,
  UpstreamRequest,
  UpstreamTls,
} from "./forwarder.ts";
import { KnownHeads } from "./known-heads.ts";
import { Pool } from "./pool.ts";
import { formatRequestHead } from "./request-writer.ts";
import { Ticks } from "./ticks.ts";
import { type ConnectionKind, type ConnectionOwner, UpstreamConnection } from "./upstream-connection.ts";
import { WaitingCall } from "./waiting-call.ts";

/**
 * HTTP/1.1 to upstreams straight on sockets: half the cost of `http.request`, and stricter about what counts as an
 * answer (docs/upstream-engines.md has the differences). Public interfaces of node:net and node:tls only.
 */
export function createSocketEngine(options: EngineOptions = {}): UpstreamEngine {
  return new SocketEngine({ ...DEFAULTS, ...options });
}

const DEFAULTS: Required<EngineOptions> = {
  // Below the five seconds after which many servers close an idle connection unannounced.
  idleSocketMs: 4_000,
  longIdleSocketMs: 60_000,
  longIdleSocketsMax: 64,
  maxSocketAgeMs: 60_000,
  keptSocketsMax: 10_000,
};
/** So many answers within two turns of the event loop take it some tenths of a millisecond. */
const MANY_RESTING = 8;
/** How finely time-outs are told apart. */
const TICK_MS = 50;

class SocketEngine implements UpstreamEngine {
  readonly #options: Required<EngineOptions>;
  readonly #ticks: Ticks;
  readonly #origins = new Map<UpstreamOrigin, OriginConnections>();
  /** No longer configured. A request that began before may still come for one: its connection is not kept. */
  readonly #forgotten = new WeakSet<UpstreamOrigin>();
  readonly #connections = new Set<UpstreamConnection>();
  readonly #names = new NameLookups();
  #closed = false;

  constructor(options: Required<EngineOptions>) {
    this.#options = options;
    this.#ticks = new Ticks(TICK_MS, () => this.#sweep());
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const origin = this.#originOf(request.origin);
    const head = formatRequestHead(request);
    if (request.freshSocket || request.upgrade) return this.#startOnNew(origin, request, head, handler);
    const idle = origin.take(request.repeatable);
    if (idle !== undefined) return idle.start(request, head, handler);
    if (!origin.isWorthWaitingFor) {
      // Where some are idle, but none that this request may be given, one more would be idle after each check of an
      // upstream's health, or whatever comes every few seconds.
      origin.giveUpOldest();
      return this.#startOnNew(origin, request, head, handler);
    }
    const waiting = new WaitingCall(
      (free) => free?.start(request, head, handler) ?? this.#startOnNew(origin, request, head, handler),
    );
    origin.wait(waiting);
    return waiting;
  }

  #startOnNew(
    origin: OriginConnections,
    request: UpstreamRequest,
    head: string,
    handler: UpstreamHandler,
  ): UpstreamCall {
    if (this.#closed) return failedCall(handler, "reset", "the gateway closes its connections");
    try {
      return this.#open(origin, request.upgrade).start(request, head, handler);
    } catch (error) {
      // It can not even be tried: a certificate that is none, say.
      return failedCall(handler, "refused", error instanceof Error ? error.message : String(error));
    }
  }

  forget(origin: UpstreamOrigin): void {
    const known = this.#origins.get(origin);
    this.#origins.delete(origin);
    this.#forgotten.add(origin);
    for (const connection of known?.pool.close() ?? []) connection.destroy();
  }

  close(): void {
    this.#closed = true;
    for (const origin of [...this.#origins.keys()]) this.forget(origin);
    for (const connection of [...this.#connections]) connection.shutDown();
    this.#ticks.stop();
  }

  #originOf(origin: UpstreamOrigin): OriginConnections {
    let known = this.#origins.get(origin);
    if (known === undefined) {
      known = new OriginConnections(origin, this.#options, this.#ticks, this.#connections, this.#names);
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
    for (const origin of this.#origins.values()) {
      if (origin.giveUpOldest()) return;
    }
  }

  #sweep(): void {
    for (const connection of this.#connections) connection.tick();
    if (this.#connections.size === 0) this.#ticks.stop();
  }
}

/** The connections to one origin: how they are opened, and which of them are idle. */
class OriginConnections implements ConnectionOwner {
  readonly pool = new Pool<UpstreamConnection>();
  readonly ticks: Ticks;
  readonly knownHeads = new KnownHeads();
  readonly idleMs: number;
  readonly longIdleMs: number;
  readonly ageMsMax: number;
  readonly #longIdleMax: number;
  readonly #origin: UpstreamOrigin;
  readonly #all: Set<UpstreamConnection>;
  readonly #names: NameLookups;
  readonly #keptMax: number;
  /** Answered in this turn of the event loop, and in the one before: not yet for another request. */
  #answered: UpstreamConnection[] = [];
  #resting: UpstreamConnection[] = [];
  /** Exchanges that begin when a rest has ended: cheaper than a connection of their own. */
  readonly #waiting: WaitingCall[] = [];
  /** The ticks of which this is known: a connection that was open in one of them answered then or later. */
  #heardFrom = 0;
  #heardUntil = -1;
  #tlsOptions: ConnectionOptions | null = null;
  /** The last TLS session, to resume: a full handshake costs both sides more than a hundred requests. */
  #session: Buffer | null = null;

  constructor(
    origin: UpstreamOrigin,
    options: Required<EngineOptions>,
    ticks: Ticks,
    all: Set<UpstreamConnection>,
    names: NameLookups,
  ) {
    this.#origin = origin;
    this.#all = all;
    this.#names = names;
    this.ticks = ticks;
    this.idleMs = options.idleSocketMs;
    this.longIdleMs = Math.max(options.idleSocketMs, options.longIdleSocketMs);
    this.#longIdleMax = options.longIdleSocketsMax;
    this.ageMsMax = options.maxSocketAgeMs;
    this.#keptMax = options.keptSocketsMax;
  }

  /** `upgrade`: its socket may be handed over, to be read by 'data'. */
  open(upgrade: boolean): UpstreamConnection {
    const { tls } = this.#origin;
    if (tls !== null) return new UpstreamConnection(() => this.#openTls(tls), TLS, this);
    const options = tcpOptions(this.#origin, this.#names);
    const open = (onread: OnReadOpts | null) => connectTcp(onread === null ? options : { ...options, onread });
    return new UpstreamConnection(open, upgrade ? PLAIN_HANDED_OVER : PLAIN, this);
  }

  /** Undefined: none is idle, or none that this request may be given. */
  take(repeatable: boolean): UpstreamConnection | undefined {
    // The others have been idle for longer still.
    return repeatable || this.pool.newest?.surelyOpen ? this.pool.take() : undefined;
  }

  /** Closes the one that has been idle longest; false: none is. */
  giveUpOldest(): boolean {
    const oldest = this.pool.takeOldest();
    oldest?.destroy();
    return oldest !== undefined;
  }

  giveUpUnheard(tick: number): void {
    const isHeard = tick >= this.#heardFrom && tick <= this.#heardUntil;
    if (!isHeard) while (this.giveUpOldest());
  }

  get awaitsAddress(): boolean {
    return this.#names.isAwaited(this.#origin.hostname);
  }

  get keepsForLong(): boolean {
    return this.pool.size <= this.#longIdleMax;
  }

  release(connection: UpstreamConnection): void {
    const { openedAt } = connection;
    if (openedAt > this.#heardUntil || openedAt < this.#heardFrom) this.#heardFrom = openedAt;
    this.#heardUntil = this.ticks.now;
    if (this.#answered.length === 0 && this.#resting.length === 0) setImmediate(this.#endTurn);
    this.#answered.push(connection);
  }

  /**
   * Many connections rest, more than exchanges wait for one: turns are long then, and a rest too. With few of them an
   * exchange gets a connection of its own, since a rest of some microseconds shows little of what may come.
   */
  get isWorthWaitingFor(): boolean {
    const resting = this.#answered.length + this.#resting.length;
    return resting >= MANY_RESTING && resting > this.#waiting.length;
  }

  wait(call: WaitingCall): void {
    this.#waiting.push(call);
  }

  gone(connection: UpstreamConnection): void {
    this.#all.delete(connection);
    this.pool.remove(connection);
  }

  /**
   * What an upstream sends behind its answer (a length that counts characters, say) would be the answer to whoever uses
   * the connection next. So a connection rests until all sockets were polled once more: bytes that nobody asked for
   * end it.
   */
  readonly #endTurn = (): void => {
    const rested = this.#resting;
    this.#resting = this.#answered;
    this.#answered = [];
    for (const connection of rested) {
      if (connection.idle) this.#give(connection);
    }
    if (this.#resting.length > 0) setImmediate(this.#endTurn);
    else for (const call of this.#waiting.splice(0)) if (!call.aborted) call.begin(null);
  };

  #give(connection: UpstreamConnection): void {
    let call = this.#waiting.shift();
    while (call?.aborted) call = this.#waiting.shift();
    if (call !== undefined) call.begin(connection);
    else if (this.#all.size > this.#keptMax || !this.pool.keep(connection)) connection.destroy();
  }

  #openTls(tls: UpstreamTls): Socket {
    this.#tlsOptions ??= tlsOptions(this.#origin, tls, this.#names);
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

function tcpOptions({ hostname, port }: UpstreamOrigin, { lookup }: NameLookups): TcpNetConnectOpts {
  return { host: hostname, port, lookup, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };
}

/** Always verified, against `serverName` whatever address was connected to; never HTTP/2, never plain. */
function tlsOptions(origin: UpstreamOrigin, tls: UpstreamTls, names: NameLookups): ConnectionOptions {
  const { ca, cert, key, serverName } = tls;
  const pem = { ...(ca !== null && { ca }), ...(cert !== null && { cert }), ...(key !== null && { key }) };
  return {
    ...tcpOptions(origin, names),
    secureContext: createSecureContext({ ...pem, minVersion: "TLSv1.2" }),
    // RFC 6066 section 3: no address in SNI.
    servername: isIP(serverName) === 0 ? serverName : "",
    rejectUnauthorized: true,
    checkServerIdentity: (_hostname, certificate) => checkServerIdentity(serverName, certificate),
    ALPNProtocols: ["http/1.1"],
  };
}

/** An exchange that ended before it began: the handler hears so in a moment, unless it aborts before that. */
function failedCall(handler: UpstreamHandler, reason: "refused" | "reset", detail: string): UpstreamCall {
  let aborted = false;
  process.nextTick(() => {
    if (!aborted) handler.onError({ reason, detail, nothingSent: true, reusedSocket: false, answerBegun: false });
  });
  const abort = () => {
    aborted = true;
  };
  return { write: () => "taken", end: () => {}, pause: () => {}, resume: () => {}, abort };
}
