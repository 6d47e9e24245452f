import { LRUCache } from "lru-cache";
import { createLimiter } from "./limiter.ts";
import type { KeyHash } from "./root-key.ts";
import { type Clock, type KeySource, type Lookup, type LookupObserver, SourceUnavailable } from "./source.ts";
import { createSteadyClock } from "./steady-clock.ts";

export interface MemorySettings {
  /** Records kept. Hashes known to be absent are kept apart, so made-up keys can not push out real ones. */
  readonly maxKeys: number;
  /** A record that was looked up less than this ago is used as it is. */
  readonly freshMs: number;
  /** The oldest answer of the origin that is used as it is: `freshMs`, or longer where copies are shared. */
  readonly maxAgeMs: number;
  /** ... and the oldest that is used while the origin can not tell. */
  readonly staleIfErrorMs: number;
  /** How long a hash is remembered to be absent. */
  readonly missingMs: number;
  /** Hashes remembered to be absent, and look-ups remembered to have failed; 10,000 of each unless given. */
  readonly maxMisses?: number;
  /** Look-ups that run, and that wait, at the origin; 256 and 4,096 unless given. Beyond them it can not tell. */
  readonly maxLookups?: number;
  readonly maxWaiting?: number;
}

export interface MemoryDeps {
  readonly now: Clock;
  /** A monotonic clock in milliseconds: steps of the wall clock must not lengthen a record's life. */
  readonly mono: () => number;
  readonly observer: LookupObserver;
  /** Between 0 and 1; spreads refreshes, so that keys looked up together do not stay together. */
  readonly random?: () => number;
}

/** Whoever follows the stream of changes acts on memory through this. */
export interface ChangeTarget {
  /** The record of this hash changed: nothing that was looked up before counts any more. */
  invalidate(hash: KeyHash, change: string): void;
  /** Changes may have been missed: forget everything. `gap` is false at the start, when there was nothing to miss. */
  dropAll(gap: boolean): void;
}

export interface MemorySource extends KeySource, ChangeTarget {
  /** Records and absences kept. */
  size(): { readonly keys: number; readonly missing: number };
}

/** How long a failure is remembered for one hash. A breaker at the origin keeps others from waiting. */
const FAILURE_MS = 900;
/** A change during a look-up starts it again; so many changes in one look-up end it. */
const ATTEMPTS_MAX = 8;

/** An answer as it is kept, with the moments (by the steady clock) from which it may no longer be used so. */
interface Entry {
  readonly lookup: Lookup;
  readonly refreshAt: number;
  readonly freshUntil: number;
  readonly staleUntil: number;
}

/**
 * The memory tier: remembers what `origin` says. A hit answers without a promise. Concurrent look-ups of one hash are
 * one look-up; a record in use is looked up again shortly before it stops being fresh, so a busy key never waits; past
 * `freshMs` it is looked up before it is used. When the origin can not tell, the record serves until `staleIfErrorMs`
 * after the origin gave it; then, and for a hash without one, the promise rejects with `SourceUnavailable`.
 */
export function createMemorySource(origin: KeySource, settings: MemorySettings, deps: MemoryDeps): MemorySource {
  const { freshMs, maxAgeMs, staleIfErrorMs, missingMs, maxMisses = 10_000 } = settings;
  const { now, observer, random = Math.random } = deps;
  const steady = createSteadyClock(now, deps.mono);
  const limiter = createLimiter(settings.maxLookups ?? 256, settings.maxWaiting ?? 4096);

  const records = new LRUCache<KeyHash, Entry>({ max: settings.maxKeys });
  const absences = new LRUCache<KeyHash, Entry>({ max: maxMisses });
  const failures = new LRUCache<KeyHash, { readonly error: SourceUnavailable; readonly until: number }>({
    max: maxMisses,
  });
  const flights = new Map<KeyHash, Flight>();

  function find(hash: KeyHash): Lookup | Promise<Lookup> {
    const at = steady();
    const entry = records.get(hash) ?? absences.get(hash);
    if (entry !== undefined && at < entry.freshUntil) {
      if (at >= entry.refreshAt && !flights.has(hash) && !hasFailed(hash, at)) lookUp(hash);
      observer.lookup("memory", entry.lookup.record === null ? "absent" : "hit", 0);
      return entry.lookup;
    }
    return findAnew(hash, at);
  }

  function findAnew(hash: KeyHash, at: number): Lookup | Promise<Lookup> {
    const flight = flights.get(hash);
    if (flight !== undefined) return flight.promise;
    const failure = failures.get(hash);
    if (failure === undefined || at >= failure.until) {
      observer.lookup("memory", "miss", 0);
      return lookUp(hash).promise;
    }
    const stale = findStale(hash);
    observer.lookup("memory", stale === null ? "error" : "stale", 0);
    return stale ?? Promise.reject(failure.error);
  }

  /** A record that may still be used because the origin can not tell. An absence is never used past its time. */
  function findStale(hash: KeyHash): Lookup | null {
    const entry = records.get(hash);
    return entry !== undefined && steady() < entry.staleUntil ? entry.lookup : null;
  }

  function hasFailed(hash: KeyHash, at: number): boolean {
    const failure = failures.get(hash);
    return failure !== undefined && at < failure.until;
  }

  function lookUp(hash: KeyHash): Flight {
    const flight = new Flight();
    flights.set(hash, flight);
    attempt(hash, flight);
    return flight;
  }

  function attempt(hash: KeyHash, flight: Flight): void {
    flight.attempts += 1;
    const mine = flight.attempts;
    const isCurrent = () => flight.attempts === mine && flights.get(hash) === flight;
    limiter
      .run(() => origin.find(hash))
      .then(
        (lookup) => {
          if (isCurrent()) land(hash, flight, lookup);
        },
        (error) => {
          if (isCurrent()) crash(hash, flight, asUnavailable(error));
        },
      );
  }

  function land(hash: KeyHash, flight: Flight, lookup: Lookup): void {
    flights.delete(hash);
    // Past its time, or this would not have been asked: so that nothing is kept of it.
    failures.delete(hash);
    remember(hash, lookup);
    flight.resolve(lookup);
  }

  function crash(hash: KeyHash, flight: Flight, error: SourceUnavailable): void {
    flights.delete(hash);
    failures.set(hash, { error, until: steady() + FAILURE_MS });
    const stale = findStale(hash);
    observer.lookup("memory", stale === null ? "error" : "stale", 0);
    if (stale === null) flight.reject(error);
    else flight.resolve(stale);
  }

  function remember(hash: KeyHash, lookup: Lookup): void {
    const at = steady();
    // An origin whose clock is ahead does not make its answer any younger than now.
    const age = Math.max(0, now() - lookup.asOf);
    if (lookup.record === null) {
      records.delete(hash);
      absences.set(hash, entry(lookup, at, missingMs - age, 0));
      return;
    }
    absences.delete(hash);
    records.set(hash, entry(lookup, at, Math.min(freshMs, maxAgeMs - age), staleIfErrorMs - age));
  }

  function entry({ record, asOf }: Lookup, at: number, freshFor: number, staleFor: number): Entry {
    return {
      lookup: { record, asOf, tier: "memory" },
      // Absences are not refreshed: nobody should be able to keep them alive.
      refreshAt: record === null ? Number.POSITIVE_INFINITY : at + freshFor * (0.75 + 0.15 * random()),
      freshUntil: at + freshFor,
      staleUntil: at + staleFor,
    };
  }

  function invalidate(hash: KeyHash): void {
    records.delete(hash);
    absences.delete(hash);
    failures.delete(hash);
    const flight = flights.get(hash);
    if (flight !== undefined) restart(hash, flight);
  }

  /** What the flight was about to bring may be from before the change: it is ignored, and asked for again. */
  function restart(hash: KeyHash, flight: Flight): void {
    if (flight.attempts < ATTEMPTS_MAX) {
      attempt(hash, flight);
      return;
    }
    flights.delete(hash);
    flight.reject(new SourceUnavailable("the record changed again and again while it was looked up"));
  }

  function dropAll(): void {
    records.clear();
    absences.clear();
    failures.clear();
    for (const [hash, flight] of [...flights]) restart(hash, flight);
  }

  async function close(): Promise<void> {
    for (const flight of flights.values()) flight.reject(new SourceUnavailable("closed"));
    flights.clear();
    await origin.close();
  }

  return {
    find,
    readiness: () => origin.readiness(),
    invalidate,
    dropAll,
    close,
    size: () => ({ keys: records.size, missing: absences.size }),
  };
}

/** One look-up on its way, and everyone who waits for it. */
class Flight {
  attempts = 0;
  readonly promise: Promise<Lookup>;
  resolve!: (lookup: Lookup) => void;
  reject!: (error: SourceUnavailable) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // A refresh nobody waits for may fail: the failure is remembered, and the next look-up meets it.
    this.promise.catch(() => {});
  }
}

function asUnavailable(error: unknown): SourceUnavailable {
  return error instanceof SourceUnavailable
    ? error
    : new SourceUnavailable("the key source failed unexpectedly", { cause: error });
}
