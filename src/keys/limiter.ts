import { SourceUnavailable } from "./source.ts";

/** Runs at most so many operations at once; more wait in line, and beyond that are refused. */
export interface Limiter {
  /** Rejects with `SourceUnavailable` when the line is full; else settles as `operation` does. */
  run<T>(operation: () => T | Promise<T>): Promise<T>;
}

export function createLimiter(runningMax: number, waitingMax: number): Limiter {
  let running = 0;
  const waiting: (() => void)[] = [];

  async function run<T>(operation: () => T | Promise<T>): Promise<T> {
    if (running >= runningMax) {
      if (waiting.length >= waitingMax) throw new SourceUnavailable("too many look-ups are waiting");
      // Whoever ends an operation hands its place on, so `running` stays as it is.
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running += 1;
    }
    try {
      return await operation();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  }

  return { run };
}
