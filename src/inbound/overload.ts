/** The event loop counts as behind when a timer is late by more than this, in milliseconds. */
const LAG_MS = 200;

/** How often lateness is measured, in milliseconds. */
const INTERVAL_MS = 50;

/** So many late timers in a row are a process that can not keep up; fewer are a collection, or a busy neighbour. */
const LATE_IN_A_ROW = 3;

/** How long lateness sheds new work, in milliseconds: long enough for what waits to be worked off. */
const HOLD_MS = 100;

export interface OverloadWatch {
  /** True while new requests are better turned away than added to what the process can not keep up with. */
  overloaded(): boolean;
  close(): void;
}

/**
 * Watches whether the event loop keeps up. A request that arrives while it does not is answered 503 with Retry-After
 * before its key is even read; the admin listener is not asked. One late timer is a hiccup; a few in a
 * row are a process that can not keep up.
 */
export function watchOverload(): OverloadWatch {
  let expectedAt = performance.now() + INTERVAL_MS;
  let until = 0;
  let lateInARow = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    const lateAgain = now - expectedAt > LAG_MS;
    lateInARow = lateAgain ? lateInARow + 1 : 0;
    if (lateInARow >= LATE_IN_A_ROW) until = now + HOLD_MS;
    expectedAt = now + INTERVAL_MS;
  }, INTERVAL_MS);
  timer.unref();
  return { overloaded: () => until !== 0 && performance.now() < until, close: () => clearInterval(timer) };
}
