/** How often lateness is measured, in milliseconds. */
const INTERVAL_MS = 50;

/** So many late timers in a row are a process that can not keep up; fewer are a collection, or a busy neighbour. */
const LATE_IN_A_ROW = 3;

/** How long lateness sheds new work, in milliseconds: long enough for what waits to be worked off. */
const HOLD_MS = 100;

export interface OverloadLimits {
  /** The event loop is behind when a timer is late by more than this, in milliseconds; 0: it never is. */
  readonly maxEventLoopDelay: number;
  /** Requests in progress at once. */
  readonly maxInFlight: number;
}

export interface OverloadWatch {
  /** True while new requests are better turned away than added to what the process can not keep up with. */
  overloaded(): boolean;
  close(): void;
}

/**
 * Watches whether the process keeps up: its event loop, and how many requests are in progress (`inFlight`, the one that
 * just arrived among them). A request that arrives while it does not is answered 503 with Retry-After before its key is
 * even read; the admin listener is not asked. One late timer is a hiccup; a few in a row are a process that can not keep up.
 */
export function watchOverload(limits: OverloadLimits, inFlight: () => number): OverloadWatch {
  const { maxEventLoopDelay, maxInFlight } = limits;
  let expectedAt = performance.now() + INTERVAL_MS;
  let until = 0;
  let lateInARow = 0;
  const measure = () => {
    const now = performance.now();
    lateInARow = now - expectedAt > maxEventLoopDelay ? lateInARow + 1 : 0;
    if (lateInARow >= LATE_IN_A_ROW) until = now + HOLD_MS;
    expectedAt = now + INTERVAL_MS;
  };
  const timer = maxEventLoopDelay > 0 ? setInterval(measure, INTERVAL_MS).unref() : null;
  return {
    overloaded: () => (until !== 0 && performance.now() < until) || inFlight() > maxInFlight,
    close: () => {
      if (timer !== null) clearInterval(timer);
    },
  };
}
