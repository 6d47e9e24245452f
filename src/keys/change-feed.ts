import type { ChangeTarget } from "./memory-source.ts";
import { type EpochMs, isKeyHash } from "./root-key.ts";
import type { Clock } from "./source.ts";

/** One entry of the stream of changes (contract section 8). */
export interface ChangeEntry {
  /** The stream's own id, `<ms>-<seq>`. */
  readonly id: string;
  /** `upsert`, `delete` or `forget`. Others are acted on like `forget`: a newer gateway may know more of them. */
  readonly op: string;
  readonly hash: string;
  /** When the change was made; NaN where it does not say. */
  readonly at: EpochMs;
}

/** What the stream says of itself. */
export interface StreamPosition {
  readonly last: string;
  /** The oldest entry that is still there; null where there is none. */
  readonly first: string | null;
  /** Every entry ever added is still there. */
  readonly whole: boolean;
}

/** The stream, as a follower sees it: on a connection of its own. Every promise settles within `blockMs` and 1.5 s. */
export interface ChangeLog {
  /** Null: there is no stream (nobody changed anything yet, or it was flushed). */
  position(): Promise<StreamPosition | null>;
  /** Entries after this one, oldest first; waits up to `blockMs` for one. */
  read(after: string, blockMs: number): Promise<readonly ChangeEntry[]>;
  /** Whether this very entry is still in the stream. */
  holds(id: string): Promise<boolean>;
  /**
   * Sees to it that records are read from the server that is followed. False: they were not, and that connection is made
   * anew. A server that was the master once, and was not told of its end, gives old records to whoever stayed with it.
   */
  gather(): Promise<boolean>;
  /** A sign of life that says which entry this follower has acted on. */
  acknowledge(id: string): Promise<void>;
  /** Gives the connection up and makes a new one: it may be frozen. */
  reconnect(): void;
  /** True as soon as there is a connection; false when there is none within `ms`, or it was closed. */
  whenUp(ms: number): Promise<boolean>;
  close(): Promise<void>;
}

export interface ChangeFeedDeps {
  readonly log: ChangeLog;
  /** Told of changes in this order; a shared copy must be distrusted before memory asks for it. */
  readonly targets: readonly ChangeTarget[];
  readonly now: Clock;
  /**
   * How far before the newest entry it begins: as long as a copy lives that others have made. One from before a change
   * could be there still, if nobody else was running to hear of the change. 0, the default, where there are no copies.
   */
  readonly lookBackMs?: number;
  /** Seconds from a change to this instance acting on it. */
  readonly onLag?: (seconds: number) => void;
  /** One line at each change of state, and one for each entry that can not be read (rate limited). */
  readonly onEvent?: (event: FeedEvent) => void;
}

export type FeedEvent =
  | { readonly kind: "following"; readonly from: string }
  | { readonly kind: "lost"; readonly error: unknown }
  | { readonly kind: "gap"; readonly lastSeen: string }
  /** `count` entries since the last such event, `id` the newest of them. */
  | { readonly kind: "unreadable"; readonly id: string; readonly count: number };

export interface ChangeFeed {
  /** Follows until closed; never rejects. */
  start(): void;
  /** One round: read, act, acknowledge. Rejects when the stream is out of reach. `start` does nothing but repeat it. */
  step(): Promise<void>;
  /** Whether the last round went well. */
  readonly isFollowing: boolean;
  close(): Promise<void>;
}

/** An idle read comes back this often, so that a frozen connection is noticed. */
const BLOCK_MS = 1000;
const SIGN_OF_LIFE_MS = 3000;
const RETRY_MS_MAX = 1000;
const WAIT_MS = 60_000;
/** Records that are read elsewhere although both connections are new: it is looked at again after so long, ever less often. */
const SPLIT_MS = 15_000;
const SPLIT_MS_MAX = 600_000;
const UNREADABLE_QUIET_MS = 10_000;

/**
 * Follows the stream of changes and makes `targets` act on each. It resumes after the last entry it saw; where the
 * stream no longer reaches back to that one (trimmed, flushed, restored from an older dump, continued by a replica that did
 * not have it) everything is dropped, because what was missed can not be known. While the stream is out of reach nothing is needed of anyone: memory asks
 * again for each record when it stops being fresh.
 */
export function createChangeFeed(deps: ChangeFeedDeps): ChangeFeed {
  const { log, targets, now, lookBackMs = 0, onLag, onEvent } = deps;
  let lastSeen: string | null = null;
  /** Entries up to here were there before it began: how long they took says nothing. */
  let newestAtStart = NOTHING;
  let following = false;
  let wasLost = false;
  let unreadable = 0;
  let reportedAt = Number.NEGATIVE_INFINITY;
  let signedAt = Number.NEGATIVE_INFINITY;
  let splitAt = Number.NEGATIVE_INFINITY;
  let splitMs = 0;
  let closed = false;
  let running: Promise<void> = Promise.resolve();
  let wake: () => void = () => {};

  async function step(): Promise<void> {
    try {
      if (!following) await begin();
      await advance();
    } catch (error) {
      // A read that waits for a change is cut off by our own closing.
      if (!closed && (following || !wasLost)) onEvent?.({ kind: "lost", error });
      following = false;
      wasLost = true;
      throw error;
    }
  }

  /** At the start, and after a lost connection: is what comes next really what comes next? */
  async function begin(): Promise<void> {
    const position = await log.position();
    if (lastSeen === null) {
      newestAtStart = position?.last ?? NOTHING;
      lastSeen = startOf(position, lookBackMs);
      if (lastSeen === null) drop(position, newestAtStart);
      else for (const target of targets) target.dropAll(false);
    } else if (!reachesBack(position, lastSeen) || !(await continues(position, lastSeen))) {
      drop(position, lastSeen);
    }
    // Not before: what was looked up earlier is forgotten at once, while Redis can still be asked for it again.
    await gather();
    await sign();
    following = true;
    wasLost = false;
    onEvent?.({ kind: "following", from: lastSeen ?? NOTHING });
  }

  async function advance(): Promise<void> {
    const before = lastSeen ?? NOTHING;
    const entries = await log.read(before, BLOCK_MS);
    for (const entry of entries) act(entry);
    // Not only after an outage: a stream can be flushed, or trimmed faster than it is read, behind a live connection.
    const position = await log.position();
    if (!reachesBack(position, before)) drop(position, before);
    const due = now() - signedAt >= SIGN_OF_LIFE_MS || now() < signedAt;
    if (due) await gather();
    if (due || entries.length > 0) await sign();
  }

  /**
   * A change that was acted on here means nothing while records come from a server that never heard of it. Where a load
   * balancer gives each connection another server there is no end to that, so the connections are not made anew for ever.
   */
  async function gather(): Promise<void> {
    const at = now();
    if (at >= splitAt && at - splitAt < splitMs) return;
    if (await log.gather()) {
      splitMs = 0;
      return;
    }
    splitMs = Math.min(Math.max(2 * splitMs, SPLIT_MS), SPLIT_MS_MAX);
    splitAt = at;
    throw new Error("records were read from another server than the one that is followed");
  }

  function act({ id, hash, at }: ChangeEntry): void {
    if (isKeyHash(hash)) {
      for (const target of targets) target.invalidate(hash, id);
      if (Number.isFinite(at) && compareStreamIds(id, newestAtStart) > 0) onLag?.(Math.max(0, now() - at) / 1000);
    } else {
      reportUnreadable(id);
    }
    if (lastSeen === null || compareStreamIds(id, lastSeen) > 0) lastSeen = id;
  }

  /** Whoever may write entries that can not be read could write many. */
  function reportUnreadable(id: string): void {
    unreadable += 1;
    const at = now();
    if (at >= reportedAt && at - reportedAt < UNREADABLE_QUIET_MS) return;
    onEvent?.({ kind: "unreadable", id, count: unreadable });
    reportedAt = at;
    unreadable = 0;
  }

  /**
   * Ids alone do not tell it: a replica that took over without the newest entries goes on by its own clock, and what it
   * adds at first may have lower ids than what was seen here.
   */
  async function continues(position: StreamPosition | null, since: string): Promise<boolean> {
    return since === NOTHING || position?.last === since || (await log.holds(since));
  }

  function drop(position: StreamPosition | null, since: string): void {
    onEvent?.({ kind: "gap", lastSeen: since });
    lastSeen = position?.last ?? NOTHING;
    for (const target of targets) target.dropAll(true);
  }

  async function sign(): Promise<void> {
    await log.acknowledge(lastSeen ?? NOTHING);
    signedAt = now();
  }

  async function follow(): Promise<void> {
    for (let failures = 0; !closed; ) {
      try {
        await step();
        failures = 0;
      } catch {
        // `step` reported it.
        failures += 1;
        if (closed) return;
        log.reconnect();
        await pause(Math.min(50 * 2 ** failures, RETRY_MS_MAX) * (0.5 + Math.random() / 2));
        // However long that takes: what was missed is read as soon as it can be, not when the next attempt is due.
        while (!closed && !(await log.whenUp(WAIT_MS)));
      }
    }
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  return {
    start() {
      running = follow();
    },
    step,
    get isFollowing() {
      return following;
    },
    async close() {
      closed = true;
      wake();
      await log.close();
      await running;
    },
  };
}

/** The position before any entry. */
const NOTHING = "0-0";

/** Where to begin, to see every entry of the last `lookBackMs`; null: some of them are not there any more. */
export function startOf(position: StreamPosition | null, lookBackMs: number): string | null {
  if (position === null) return NOTHING;
  if (lookBackMs === 0) return position.last;
  const [newestMs = 0n] = position.last.split("-").map(BigInt);
  const ms = newestMs - BigInt(Math.ceil(lookBackMs));
  const since = ms > 0n ? `${ms}-0` : NOTHING;
  if (position.first !== null && compareStreamIds(position.first, since) <= 0) return since;
  return position.whole ? NOTHING : null;
}

/** Whether every entry after `since` is still in the stream. When that can not be known, it is not. */
export function reachesBack(position: StreamPosition | null, since: string): boolean {
  if (position === null) return since === NOTHING;
  if (since === NOTHING && position.whole) return true;
  const ahead = compareStreamIds(position.last, since);
  if (ahead < 0) return false;
  if (ahead === 0) return true;
  return position.first !== null && compareStreamIds(position.first, since) <= 0;
}

/** The highest id below this one; nothing is below `0-0`. */
export function idBefore(id: string): string {
  const [ms = 0n, seq = 0n] = id.split("-").map(BigInt);
  if (seq > 0n) return `${ms}-${seq - 1n}`;
  return ms > 0n ? `${ms - 1n}-${SEQUENCE_MAX}` : NOTHING;
}

const SEQUENCE_MAX = 2n ** 64n - 1n;

/** Below, equal to or above zero as `a` is before, the same as or after `b`. Ids are `<ms>-<seq>`, each up to 64 bits. */
export function compareStreamIds(a: string, b: string): number {
  const [aMs = 0n, aSeq = 0n] = a.split("-").map(BigInt);
  const [bMs = 0n, bSeq = 0n] = b.split("-").map(BigInt);
  if (aMs !== bMs) return aMs < bMs ? -1 : 1;
  if (aSeq !== bSeq) return aSeq < bSeq ? -1 : 1;
  return 0;
}
