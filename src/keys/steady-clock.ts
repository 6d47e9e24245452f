import type { Clock } from "./source.ts";

/** The wall clock is compared with the other one at most this often: what a hit costs is one clock, not two. */
const COMPARE_MS = 100;
/** Less than this between the two is rounding and slewing. */
const NOISE_MS = 50;

/**
 * Milliseconds by a clock that never goes back, and never stands still either: `mono` does while a machine is suspended,
 * so whenever the wall clock has gone further ahead, by a suspension or because somebody set it, this one goes along.
 * Records may look older by it than they are, never younger.
 */
export function createSteadyClock(now: Clock, mono: () => number): () => number {
  let ahead = 0;
  let comparedAt = mono();
  let apart = now() - comparedAt;

  return () => {
    const at = mono();
    if (at - comparedAt >= COMPARE_MS) compare(at);
    return at + ahead;
  };

  function compare(at: number): void {
    comparedAt = at;
    const moved = now() - at - apart;
    if (Math.abs(moved) < NOISE_MS) return;
    apart += moved;
    if (moved > 0) ahead += moved;
  }
}
