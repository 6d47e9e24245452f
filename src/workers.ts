import cluster, { type Worker } from "node:cluster";
import { type AdminState, isReady } from "./admin/state.ts";
import { watchHandedConnections } from "./handed-connections.ts";
import { SignsOfLife } from "./signs-of-life.ts";
import { asError, type Log } from "./telemetry/logger.ts";
import { retireScrapes, type Scrape } from "./telemetry/scrape.ts";

/** What the process that holds the workers can do with them. */
export interface RunningWorkers {
  /** Where clients connect, as the workers say. */
  readonly addresses: readonly string[];
  /** The workers as one: ready while one of them is. */
  state(): Promise<AdminState>;
  /** The figures of each worker, and of those that ended, as one more. */
  scrapes(): Promise<readonly Scrape[]>;
  /** Every worker reads its configuration anew. */
  reload(): void;
  /** Every worker finishes what runs; resolves when all have ended. */
  drain(): Promise<void>;
  /** Ends every worker at once. */
  kill(): void;
}

export interface WorkersOptions {
  readonly count: number;
  readonly log: Log;
  /** How long a worker may take to drain before it is ended. */
  readonly drainTimeoutMs: number;
  /** Delay before a worker that died is replaced: doubled with each that died young, up to `maxMs`. */
  readonly backOff?: { readonly firstMs: number; readonly maxMs: number };
  /** How often a worker is asked for a sign of life, and how many times in vain before it is ended. */
  readonly patience?: Patience;
}

export interface Patience {
  readonly askEveryMs: number;
  readonly asksMax: number;
}

/** A worker could not start; it has said why. `exitCode` is what it ended with. */
export class WorkerStartFailed extends Error {
  override readonly name = "WorkerStartFailed";
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`a worker ended with ${exitCode} before it listened`);
    this.exitCode = exitCode;
  }
}

/** What a worker is asked for, by the process that holds it. */
export interface WorkerSide {
  state(): AdminState;
  scrape(): Promise<Scrape>;
  reload(): Promise<void>;
  drain(): Promise<void>;
}

/**
 * Runs this program `count` more times as workers that share their listeners, and keeps that many running. Resolves
 * when all of them listen; rejects with `WorkerStartFailed` when one ends before that.
 */
export async function runWorkers(options: WorkersOptions): Promise<RunningWorkers> {
  const pool = new WorkerPool(options);
  await pool.start();
  return pool;
}

/**
 * Makes this process do what the one that holds it says. Signals are left to that one: a terminal and most supervisors
 * send them to both, and a worker that ended by itself would be replaced.
 */
export function serveAsWorker(side: WorkerSide, log: Log, exit: (code: number) => void = process.exit): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  // The holder is gone: node says `disconnect` next and ends this process.
  cluster.worker?.on("error", () => {});
  const failed = (during: string) => (error: unknown) => {
    log("error", `worker_${during}_failed`, { error: asError(error) });
  };
  process.on("message", (message: ToWorker) => {
    if (message.kind === "reload") side.reload().catch(failed("reload"));
    else if (message.kind === "ping") tell({ kind: "pong" });
    else if (message.kind === "ask") answer(side, message).catch(failed(message.what));
    else if (message.kind === "drain") {
      side
        .drain()
        .catch(failed("drain"))
        .finally(() => exit(0));
    }
  });
  tell({ kind: "listening", state: side.state() });
}

type ToWorker =
  | { readonly kind: "ping" }
  | { readonly kind: "ask"; readonly id: number; readonly what: "state" | "scrape" }
  | { readonly kind: "reload" }
  | { readonly kind: "drain" };

type FromWorker =
  | { readonly kind: "pong" }
  | { readonly kind: "listening"; readonly state: AdminState }
  | { readonly kind: "answer"; readonly id: number; readonly value: AdminState | Scrape };

async function answer(side: WorkerSide, { id, what }: ToWorker & { kind: "ask" }): Promise<void> {
  tell({ kind: "answer", id, value: what === "state" ? side.state() : await side.scrape() });
}

function tell(message: FromWorker): void {
  // Without a channel the holder is gone, and node ends this process by itself.
  if (process.connected) process.send?.(message);
}

/** How long a worker may take to answer; one that hangs must not hang a scrape. */
const ANSWER_TIMEOUT_MS = 2000;

/**
 * Half a minute, as long as a liveness probe gives a process on its own: a worker that is only slow (a storm of handshakes,
 * a large keyring, a heap snapshot, a throttled CPU) is left alone.
 */
const PATIENCE: Patience = { askEveryMs: 1000, asksMax: 30 };

/** A worker that ran for this long did not die of how it was started. */
const SETTLED_AFTER_MS = 30_000;

class WorkerPool implements RunningWorkers {
  addresses: readonly string[] = [];
  readonly #options: WorkersOptions;
  readonly #backOff: { readonly firstMs: number; readonly maxMs: number };
  readonly #members = new Set<Member>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  readonly #patience: Patience;
  #watch: NodeJS.Timeout | undefined;
  #retired: Promise<readonly Scrape[]> = Promise.resolve([]);
  /** What to say of them when none of them answers; null: they have not started. */
  #lastState: AdminState | null = null;
  #diedYoung = 0;
  #stopping = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#backOff = options.backOff ?? { firstMs: 100, maxMs: 10_000 };
    this.#patience = options.patience ?? PATIENCE;
  }

  async start(): Promise<void> {
    const members = Array.from({ length: this.#options.count }, () => this.#fork());
    try {
      const states = await Promise.all(members.map((member) => member.listening));
      this.#lastState = mergeStates(states, null, this.#options.count);
      this.addresses = this.#lastState.addresses;
    } catch (error) {
      this.kill();
      throw error;
    }
    for (const member of members) this.#keep(member);
    this.#watch = setInterval(() => this.#endHung(), this.#patience.askEveryMs);
  }

  async state(): Promise<AdminState> {
    const states = await this.#askAll((member) => member.askState());
    this.#lastState = mergeStates(states, this.#lastState, this.#options.count);
    return this.#lastState;
  }

  async scrapes(): Promise<readonly Scrape[]> {
    const live = await this.#askAll((member) => member.askScrape());
    return [...live, ...(await this.#retired)];
  }

  reload(): void {
    for (const member of this.#members) member.send({ kind: "reload" });
  }

  async drain(): Promise<void> {
    this.#stop();
    const deadline = setTimeout(() => this.kill(), this.#options.drainTimeoutMs);
    for (const member of this.#members) member.send({ kind: "drain" });
    await Promise.all([...this.#members].map((member) => member.ended));
    clearTimeout(deadline);
  }

  kill(): void {
    this.#stop();
    for (const member of this.#members) member.worker.process.kill("SIGKILL");
  }

  #stop(): void {
    this.#stopping = true;
    // From here on `drainTimeoutMs` ends one that hangs.
    clearInterval(this.#watch);
    for (const restart of this.#restarts) clearTimeout(restart);
    this.#restarts.clear();
  }

  #fork(): Member {
    const member = new Member(cluster.fork(), this.#patience.asksMax);
    watchHandedConnections(member.worker, () => [...this.#members].some((other) => other !== member && other.isHere()));
    this.#members.add(member);
    return member;
  }

  #keep(member: Member): void {
    void member.ended.then((ending) => {
      this.#members.delete(member);
      this.#retire(member);
      if (!this.#stopping) this.#replace(member, ending);
    });
  }

  /** Node gives such a worker one connection at most, whose receipt it awaits; with its end that goes to another. */
  #endHung(): void {
    const { askEveryMs, asksMax } = this.#patience;
    for (const member of this.#members) {
      member.ping();
      if (!member.isHung()) continue;
      this.#options.log("error", "worker_hung", { pid: member.worker.process.pid, silentMs: askEveryMs * asksMax });
      member.worker.process.kill("SIGKILL");
    }
  }

  #replace(member: Member, { code, signal }: Ending): void {
    const ranForMs = performance.now() - member.startedAt;
    this.#diedYoung = ranForMs < SETTLED_AFTER_MS ? this.#diedYoung + 1 : 0;
    const { firstMs, maxMs } = this.#backOff;
    const inMs = this.#diedYoung === 0 ? 0 : Math.min(maxMs, firstMs * 2 ** (this.#diedYoung - 1));
    this.#options.log("error", "worker_ended", { pid: member.worker.process.pid, code, signal, replacedInMs: inMs });
    const restart = setTimeout(() => {
      this.#restarts.delete(restart);
      const next = this.#fork();
      this.#keep(next);
      next.listening.then(
        () => this.#options.log("info", "worker_started", { pid: next.worker.process.pid }),
        // It ended before it listened: `ended` tells, and it is replaced in its turn.
        () => {},
      );
    }, inMs);
    this.#restarts.add(restart);
  }

  #retire({ lastScrape }: Member): void {
    if (lastScrape === null) return;
    this.#retired = this.#retired.then(async (before) => [await retireScrapes([...before, lastScrape])]);
  }

  /** What the workers answer that listen, and that have not ended meanwhile: those count among the retired. */
  async #askAll<T>(ask: (member: Member) => Promise<T | null>): Promise<T[]> {
    const members = [...this.#members].filter((member) => member.isListening);
    const answers = await Promise.all(members.map(async (member) => ({ member, value: await ask(member) })));
    const left = answers.filter(({ member }) => this.#members.has(member));
    return left.map(({ value }) => value).filter((value): value is Awaited<T> => value !== null);
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One worker process, seen from outside. */
class Member {
  readonly worker: Worker;
  readonly startedAt = performance.now();
  readonly listening: Promise<AdminState>;
  readonly ended: Promise<Ending>;
  isListening = false;
  lastScrape: Scrape | null = null;
  readonly #asked = new Map<number, (value: AdminState | Scrape | null) => void>();
  readonly #signs: SignsOfLife;
  #lastId = 0;

  constructor(worker: Worker, asksMax: number) {
    this.worker = worker;
    this.#signs = new SignsOfLife(() => this.send({ kind: "ping" }), asksMax);
    this.ended = new Promise((resolve) => {
      worker.once("exit", (code, signal) => resolve({ code, signal }));
    });
    // Writing to a worker that is just ending; that it ended is told by `exit`.
    worker.on("error", () => {});
    this.listening = new Promise((resolve, reject) => {
      worker.on("message", (message: FromWorker) => {
        if (message.kind === "listening") {
          this.isListening = true;
          resolve(message.state);
        } else if (message.kind === "pong") {
          this.#signs.answered();
        } else if (message.kind === "answer") {
          this.#asked.get(message.id)?.(message.value);
        }
      });
      void this.ended.then(({ code }) => {
        this.isListening = false;
        reject(new WorkerStartFailed(code ?? 1));
        for (const settle of this.#asked.values()) settle(null);
      });
    });
    // Only the start waits for it; later nobody may be there to hear that it failed.
    this.listening.catch(() => {});
  }

  /** It listens, and can be given connections. */
  isHere(): boolean {
    return this.isListening && this.worker.isConnected();
  }

  /** Asks for a sign of life. One that does not listen yet may take as long as it needs. */
  ping(): void {
    if (this.isListening) this.#signs.ask();
  }

  /** True once, after the ping with which its time was over. */
  isHung(): boolean {
    return this.#signs.isMissing();
  }

  send(message: ToWorker): void {
    if (this.worker.isConnected()) this.worker.send(message);
  }

  /** Null: it did not answer in time, so that it says nothing about now. */
  async askState(): Promise<AdminState | null> {
    return (await this.#ask("state")) as AdminState | null;
  }

  /** Its last figures when it does not answer in time: a sum without them would go down. Null: it never gave any. */
  async askScrape(): Promise<Scrape | null> {
    const scrape = (await this.#ask("scrape")) as Scrape | null;
    this.lastScrape = scrape ?? this.lastScrape;
    return this.lastScrape;
  }

  async #ask(what: "state" | "scrape"): Promise<AdminState | Scrape | null> {
    const id = ++this.#lastId;
    const value = await new Promise<AdminState | Scrape | null>((resolve) => {
      this.#asked.set(id, resolve);
      setTimeout(() => resolve(null), ANSWER_TIMEOUT_MS).unref();
      this.send({ kind: "ask", id, what });
    });
    this.#asked.delete(id);
    return value;
  }
}

/**
 * Several workers as one: connections go to those that are there, so one that is ready is enough. A target or Redis
 * counts as well only when all of them reach it.
 */
export function mergeStates(states: readonly AdminState[], before: AdminState | null, workers: number): AdminState {
  const first = states.find(isReady) ?? states[0];
  if (first === undefined) return without(before);
  const down = states.find((state) => state.redis?.up === false)?.redis;
  return {
    ...first,
    workers,
    startedAt: Math.min(...states.map((state) => state.startedAt)),
    checks: [...first.checks, { name: "workers", ok: true, reason: `${states.length} of ${workers} run` }],
    upstreams: first.upstreams.map(({ name, targets }) => ({
      name,
      targets: targets.map(({ url }) => ({ url, healthy: states.every((state) => isHealthy(state, name, url)) })),
    })),
    keys: { ...first.keys, entries: states.reduce((sum, state) => sum + state.keys.entries, 0) },
    redis: down ?? first.redis,
  };
}

function without(before: AdminState | null): AdminState {
  if (before === null) throw new Error("no worker has started");
  const others = before.checks.filter((check) => check.name !== "workers");
  return { ...before, checks: [...others, { name: "workers", ok: false, reason: "no worker answers" }] };
}

function isHealthy(state: AdminState, upstream: string, url: string): boolean {
  const targets = state.upstreams.find(({ name }) => name === upstream)?.targets ?? [];
  return targets.find((target) => target.url === url)?.healthy ?? true;
}
