import { connect as connectTcp, type NetConnectOpts, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Cluster, Redis, RedisOptions } from "ioredis";
import { NameLookups } from "../name-lookups.ts";
import { createBreaker } from "./breaker.ts";
import { SourceUnavailable } from "./source.ts";

/** Where Redis is: exactly one of `url`, `sentinels` and `cluster`. Hosts are `host:port`. */
export interface RedisSettings {
  readonly url?: string | undefined;
  /** Redis' own sentinels. */
  readonly sentinels?: (RedisNodes & { readonly name: string }) | undefined;
  readonly cluster?: RedisNodes | undefined;
  readonly keyPrefix: string;
  /** Milliseconds. */
  readonly commandTimeout: number;
}

interface RedisNodes {
  readonly hosts: readonly string[];
  readonly tls: boolean;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

/** One line for each change of state; `fields` never hold a value, an argument or a password. */
export type KeyLog = (
  level: "info" | "warn" | "error",
  event: string,
  fields: Readonly<Record<string, unknown>>,
) => void;

/** What the other files need of Redis; a fake of it is ten lines. */
export interface RedisCommands {
  /**
   * Sends one command. Rejects with `SourceUnavailable` when Redis is out of reach or does not answer within the
   * command time-out, and with `RedisRefusal` when it answers with an error.
   */
  call(command: string, ...args: readonly (string | number)[]): Promise<unknown>;
}

export interface RedisConnection extends RedisPipelines {
  /** Redis answers at present. */
  readonly isUp: boolean;
  /** ... or has answered at least once. */
  readonly wasUp: boolean;
  /** True as soon as Redis answers, false when it has not within `ms`. */
  whenUp(ms: number): Promise<boolean>;
  /** The same for as long as the same server answers; null where it does not say, or where there are many (a cluster). */
  serverId(): Promise<string | null>;
  /** Commands to each master on its own: one without a cluster. For SCAN and for pipelines. */
  masters(): readonly RedisPipelines[];
  /** Gives the present connection up and makes a new one. */
  reconnect(): void;
  close(): Promise<void>;
}

export interface RedisPipelines extends RedisCommands {
  /** Several commands in one go; their answers in order, a `RedisRefusal` in place of one that failed. */
  pipeline(commands: readonly (readonly [string, ...(string | number)[]])[]): Promise<readonly unknown[]>;
}

/** Redis answered with an error. `code` is its first word: `WRONGTYPE`, `OOM`, `READONLY`, `NOPERM` ... */
export class RedisRefusal extends SourceUnavailable {
  readonly code: string;

  /** `command` is a name such as `SET`, never an argument. */
  constructor(code: string, command = "a command") {
    super(
      code === "NOPERM"
        ? `this Redis user may not run ${command}, or not on that key (NOPERM)`
        : `Redis refused ${command} (${code})`,
    );
    this.code = code;
  }
}

export interface RedisDeps {
  readonly log: KeyLog;
  /** Told of each change, and of the first state. */
  readonly onUp?: (up: boolean) => void;
  readonly mono: () => number;
}

export interface RedisConnectionOptions {
  /** `commands` answers at once and has a breaker and a heartbeat; `feed` waits in blocking reads. */
  readonly purpose: "commands" | "feed";
  /** For `feed`: the longest a read blocks. */
  readonly blockMs?: number;
}

const CONNECT_TIMEOUT_MS = 1000;
/** A server that is there answers the end of a connection at once; one that is not must not hold up the next connection. */
const DISCONNECT_TIMEOUT_MS = 100;
/** Between two attempts: what changed since is heard so late after Redis is back. */
const RETRY_MS_MAX = 500;
const READONLY_RETRY_MS = 15_000;
const HANDSHAKE_MS = 1000;
const HEARTBEAT_MS = 1000;
const HEARTBEAT_DOWN_MS = 400;
/** Commands that time out before the rest is refused at once. */
const FAILURES_MAX = 5;
/** A blocked read that is this late will not come: the connection is frozen. */
const BLOCK_GRACE_MS = 1500;

/**
 * Connects to Redis so that its absence costs little: nothing queues while it is away, nothing is sent twice, and once
 * five commands in a row went unanswered the rest is refused at once, until a heartbeat is answered again. Resolves at
 * once; the connection comes up, and comes back, by itself.
 */
export async function connectRedis(
  settings: RedisSettings,
  deps: RedisDeps,
  { purpose, blockMs = 0 }: RedisConnectionOptions = { purpose: "commands" },
): Promise<RedisConnection> {
  // A gateway with a keyring never loads the client.
  // Its default, because a bundled CommonJS module has nothing else.
  const { default: ioredis } = await import("ioredis");
  const timeoutMs = purpose === "feed" ? blockMs + BLOCK_GRACE_MS : settings.commandTimeout;
  const client = openClient(ioredis, settings, timeoutMs, deps.log);

  let up: boolean | null = null;
  let wasUp = false;
  let closed = false;
  let lastProblem = "not connected";
  const waiting = new Set<(up: boolean) => void>();
  let heartbeat: NodeJS.Timeout | null = null;
  let handshake: NodeJS.Timeout | null = null;

  const breaker = createBreaker({
    failuresMax: FAILURES_MAX,
    retryMs: Number.POSITIVE_INFINITY,
    mono: deps.mono,
    isOutage: (error) => !(error instanceof RedisRefusal),
    message: "Redis is out of reach",
    onChange: (open) => {
      if (open) setUp(false);
    },
  });

  function setUp(next: boolean): void {
    if (up === next || closed) return;
    up = next;
    wasUp ||= next;
    if (next) for (const tell of waiting) tell(true);
    deps.onUp?.(next);
    if (next) deps.log("info", "redis_up", {});
    else deps.log("warn", "redis_down", { reason: lastProblem });
  }

  // ioredis ends the process on an error nobody listens to. Its errors carry arguments: only a word of them is kept.
  client.on("error", (error: unknown) => {
    lastProblem = describeRedisError(error);
    if (up === null) setUp(false);
  });
  client.on("close", () => {
    // What waits on this connection was refused by the client already; new commands are refused until it is back.
    breaker.trip();
    setUp(false);
  });
  // A handshake that Redis answers with NOAUTH, or with LOADING, or not at all, would stay half done for good.
  client.on("connect", () => {
    if (handshake !== null) clearTimeout(handshake);
    handshake = setTimeout(() => client.status !== "ready" && client.disconnect(true), HANDSHAKE_MS).unref();
  });
  client.on("ready", () => {
    if (handshake !== null) clearTimeout(handshake);
    if (purpose === "commands") void beat();
    else {
      breaker.reset();
      setUp(true);
    }
  });

  async function send(command: string, args: readonly (string | number)[]): Promise<unknown> {
    try {
      const answer = client.call(command, ...args.map(String));
      // Alone, ioredis' own command time-out does; a cluster client also follows redirections, for longer than that.
      return await ("nodes" in client ? within(timeoutMs, answer) : answer);
    } catch (error) {
      throw translate(error, command);
    }
  }

  /** A cluster is up when any of its masters answers: the others' keys are theirs to answer for. */
  async function ping(): Promise<void> {
    const masters = "nodes" in client ? client.nodes("master") : [];
    if (masters.length === 0) await send("PING", []);
    else await Promise.any(masters.map((node) => within(timeoutMs, node.ping())));
  }

  async function beat(): Promise<void> {
    if (heartbeat !== null) clearTimeout(heartbeat);
    heartbeat = null;
    try {
      await ping();
      // PING is answered before others are.
      if (client.status !== "ready") throw new SourceUnavailable("Redis is not ready");
      breaker.reset();
      setUp(true);
    } catch (error) {
      lastProblem = describeRedisError(error);
      // An answer, if an unfriendly one, is no reason to stop asking: asking costs nothing.
      if (error instanceof RedisRefusal) breaker.reset();
      else breaker.trip();
      setUp(false);
    }
    scheduleBeat(up === true ? HEARTBEAT_MS : HEARTBEAT_DOWN_MS);
  }

  function scheduleBeat(ms: number): void {
    if (closed || heartbeat !== null) return;
    heartbeat = setTimeout(beat, ms);
    heartbeat.unref();
  }
  // Whatever becomes of the first connection, something is known soon: ready, an error, or this.
  if (purpose === "commands") scheduleBeat(CONNECT_TIMEOUT_MS);

  /** Until the first connection is made, or has failed, a command waits for it: that is not an outage. */
  async function afterFirstState(): Promise<void> {
    if (up === null && !(await whenUp(timeoutMs))) throw new SourceUnavailable("Redis is out of reach");
  }

  function whenUp(ms: number): Promise<boolean> {
    if (up === true) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => tell(false), ms);
      const tell = (isUp: boolean) => {
        clearTimeout(timer);
        waiting.delete(tell);
        resolve(isUp);
      };
      waiting.add(tell);
    });
  }

  async function call(command: string, ...args: readonly (string | number)[]): Promise<unknown> {
    if (up === null) await afterFirstState();
    return breaker.run(() => send(command, args));
  }

  async function serverId(): Promise<string | null> {
    if ("nodes" in client) return null;
    try {
      return /^run_id:(\w+)/m.exec(String(await call("INFO", "server")))?.[1] ?? null;
    } catch {
      // Out of reach, or INFO is not allowed: whoever needs an answer of it notices.
      return null;
    }
  }

  return {
    call,
    serverId,
    get isUp() {
      return up === true;
    },
    get wasUp() {
      return wasUp;
    },
    pipeline: (commands) =>
      "nodes" in client
        ? // A cluster spreads the keys: each command finds its own way.
          Promise.all(commands.map(([name, ...args]) => send(name, args).catch(keepRefusal)))
        : pipelines(client, settings.commandTimeout).pipeline(commands),
    whenUp,
    masters: () =>
      ("nodes" in client ? client.nodes("master") : [client]).map((node) => pipelines(node, settings.commandTimeout)),
    reconnect() {
      // One that is being made already is left alone.
      if (client.status === "ready") client.disconnect(true);
    },
    async close() {
      closed = true;
      for (const timer of [heartbeat, handshake]) if (timer !== null) clearTimeout(timer);
      for (const tell of waiting) tell(false);
      client.disconnect();
    },
  };
}

function keepRefusal(error: unknown): RedisRefusal {
  if (error instanceof RedisRefusal) return error;
  throw error;
}

/** What may be logged of an error of ioredis: a name or code, never the message, which holds what was sent. */
export function describeRedisError(error: unknown): string {
  if (error instanceof RedisRefusal) return error.code;
  if (!(error instanceof Error)) return "unknown";
  // Translated already, with the word.
  if (error instanceof SourceUnavailable) return /\(([^()]+)\)$/.exec(error.message)?.[1] ?? "not connected";
  const reply = /^-?([A-Z]{2,20})\b/.exec(error.message)?.[1];
  if (error.name === "ReplyError") return reply ?? "ERR";
  if (error.name === "ParserError" || error.message.startsWith("Unknown RESP type")) return "not Redis";
  if (/timed? ?out/i.test(error.message)) return "timeout";
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === "string") return code;
  if (/writeable|Connection is closed|all nodes failed|refresh slots/i.test(error.message)) return "not connected";
  return error.name;
}

function translate(error: unknown, command?: string): SourceUnavailable {
  if (error instanceof SourceUnavailable) return error;
  const word = describeRedisError(error);
  if (error instanceof Error && error.name === "ReplyError") return new RedisRefusal(word, command);
  return new SourceUnavailable(`Redis is out of reach (${word})`);
}

/** Bounds the whole of something that is made of several answers. */
function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new SourceUnavailable("Redis is out of reach (timeout)")), ms + 20);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

function pipelines(node: Redis, commandTimeout: number): RedisPipelines {
  return {
    async call(command, ...args) {
      try {
        return await node.call(command, ...args.map(String));
      } catch (error) {
        throw translate(error, command);
      }
    },
    async pipeline(commands) {
      const batch = node.pipeline();
      for (const [command, ...args] of commands) batch.call(command, ...args.map(String));
      let answers: [Error | null, unknown][] | null;
      try {
        // Many commands may take longer than one; still, it ends.
        answers = await within(commandTimeout * 20, batch.exec());
      } catch (error) {
        throw translate(error);
      }
      return (answers ?? []).map(([error, value], index) => {
        if (error === null) return value;
        const refusal = translate(error, commands[index]?.[0]);
        if (refusal instanceof RedisRefusal) return refusal;
        throw refusal;
      });
    },
  };
}

type Ioredis = Pick<typeof import("ioredis"), "Redis" | "Cluster" | "AbstractConnector" | "SentinelConnector">;

function openClient(ioredis: Ioredis, settings: RedisSettings, timeoutMs: number, log: KeyLog): Redis | Cluster {
  const retryStrategy = (times: number) => Math.min(25 * 2 ** times, RETRY_MS_MAX) * (0.5 + Math.random() / 2);
  const common = {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: timeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    socketTimeout: 5000,
    keepAlive: 10_000,
    autoResendUnfulfilledCommands: false,
    reconnectOnError: createReadOnlyWatch(),
    // Understood by every server, Valkey and proxies too; nothing here needs RESP3.
    protocol: 2 as const,
    disableClientInfo: true,
  } satisfies RedisOptions;
  const Connector = connectorByName(ioredis);
  const { sentinels, cluster, url } = settings;
  if (sentinels !== undefined) {
    return new ioredis.Redis({
      ...common,
      ...credentials(sentinels),
      ...(sentinels.tls && { tls: {}, enableTLSForSentinelMode: true }),
      sentinels: sentinels.hosts.map(parseHost),
      name: sentinels.name,
      retryStrategy,
      sentinelRetryStrategy: retryStrategy,
      sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
      // Follows the sentinels' own announcement of a failover, instead of waiting for the old master to go away.
      failoverDetector: true,
      Connector: connectorBySentinels(ioredis, Connector, log),
    });
  }
  if (cluster !== undefined) {
    return new ioredis.Cluster(cluster.hosts.map(parseHost), {
      redisOptions: { ...common, ...credentials(cluster), ...(cluster.tls && { tls: {} }), Connector },
      // Else it looks all of them up before it connects to any: one that can not be found would keep it from the others.
      dnsLookup: (hostname, found) => found(null, hostname),
      enableOfflineQueue: false,
      clusterRetryStrategy: retryStrategy,
      slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
      slotsRefreshInterval: 5000,
      retryDelayOnFailover: 50,
      retryDelayOnClusterDown: 50,
    });
  }
  return new ioredis.Redis(url ?? "redis://127.0.0.1:6379", { ...common, retryStrategy, Connector });
}

/** Of all connections of the process: they want the same names. */
const NAMES = new NameLookups();

/**
 * Connects as ioredis does to a single server, but for names: each is looked up once at a time. It tries again every half second,
 * whether or not the last look-up has ended, and those that wait would hold up the names of upstreams.
 */
function connectorByName({ AbstractConnector }: Ioredis): Connector {
  const { lookup } = NAMES;
  return class extends AbstractConnector {
    readonly #options: RedisOptions;

    constructor(options: unknown) {
      const given = options as RedisOptions;
      super(given.disconnectTimeout ?? DISCONNECT_TIMEOUT_MS);
      this.#options = given;
    }

    async connect(): Promise<Socket> {
      const { path, host, port = 6379, family, tls } = this.#options;
      const address = path === undefined ? { host, port, family, lookup } : { path };
      const socket = tls === undefined ? connectTcp(address as NetConnectOpts) : connectTls({ ...address, ...tls });
      socket.once("error", (error) => {
        this.firstError = error;
      });
      this.stream = socket;
      return socket;
    }
  };
}

/**
 * Asks Redis' own sentinels for the master as ioredis does, but for names: theirs and the master's are looked up like any
 * other, and who is told when one that it follows is away. While the master is there it tries that one again every minute.
 */
function connectorBySentinels({ SentinelConnector }: Ioredis, Connector: Connector, log: KeyLog): Connector {
  // ioredis takes no look-up for them; two methods that it calls private do. A test tells when they no longer connect.
  const Base = SentinelConnector as unknown as new (options: unknown) => SentinelMethods;
  const { lookup } = NAMES;
  const away = new Set<string>();

  /** ioredis prints the stack of an error that nobody listens for. */
  function tellWhenAway(client: Redis, { host, port }: SentinelAddress): void {
    const sentinel = `${host}:${port}`;
    client.on("error", (error: unknown) => {
      if (away.has(sentinel)) return;
      away.add(sentinel);
      log("warn", "redis_sentinel_down", { sentinel, reason: describeRedisError(error) });
    });
    client.on("ready", () => {
      if (away.delete(sentinel)) log("info", "redis_sentinel_up", { sentinel });
    });
  }

  class BySentinels extends Base {
    override connectToSentinel(endpoint: SentinelAddress, options?: object): Redis {
      const client = super.connectToSentinel(endpoint, { ...options, Connector });
      // One that is only asked for the master is given no options; when none of them says where it is, that is `redis_down`.
      if (options !== undefined) tellWhenAway(client, endpoint);
      return client;
    }

    override sentinelNatResolve(address: object | null): object | null {
      return address === null ? null : { ...address, lookup };
    }
  }
  return BySentinels as unknown as Connector;
}

type Connector = NonNullable<RedisOptions["Connector"]>;

interface SentinelAddress {
  readonly host: string;
  readonly port: number;
}

interface SentinelMethods {
  /** A client of the sentinel at an address, with options for it. */
  connectToSentinel(endpoint: SentinelAddress, options?: object): Redis;
  /** Where to connect, as options of a socket, of what a sentinel said. */
  sentinelNatResolve(address: object | null): object | null;
}

/**
 * After a failover the old master is read-only: look for the new one. Not at every refused write, for a reconnection
 * disturbs those who read.
 */
function createReadOnlyWatch(): (error: Error) => boolean {
  let triedAt = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (!error.message.startsWith("READONLY") || performance.now() - triedAt < READONLY_RETRY_MS) return false;
    triedAt = performance.now();
    return true;
  };
}

function credentials({ username, password }: RedisNodes): Pick<RedisOptions, "username" | "password"> {
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }) };
}

/** `host:port`, `[::1]:port`; 26379 and 6379 are never assumed: the configuration names the port. */
function parseHost(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}
