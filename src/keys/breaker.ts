import { SourceUnavailable } from "./source.ts";

/**
 * Spares callers the wait for a server that is known to be out of reach. After `failuresMax` failures in a row it
 * opens: everything that still waits is refused, and so is everything new, at once. One call in each `retryMs` is let
 * through as a trial; the first success closes it again.
 */
export interface Breaker {
  run<T>(operation: () => Promise<T>): Promise<T>;
  readonly isOpen: boolean;
  /** For owners that watch the server by other means (a heartbeat). */
  trip(): void;
  reset(): void;
}

export interface BreakerSettings {
  readonly failuresMax: number;
  /** At most this long until the next trial, however many calls are refused meanwhile. */
  readonly retryMs: number;
  /** A monotonic clock in milliseconds. */
  readonly mono: () => number;
  /** Whether a rejection says that the server is out of reach; others count as an answer. */
  readonly isOutage: (error: unknown) => boolean;
  /** What refused callers read, e.g. `Redis is out of reach`. */
  readonly message: string;
  readonly onChange?: (open: boolean) => void;
}

export function createBreaker(settings: BreakerSettings): Breaker {
  const { failuresMax, retryMs, mono, isOutage, message, onChange } = settings;
  let failures = 0;
  let open = false;
  let nextTrialAt = 0;
  const waiting = new Set<(error: SourceUnavailable) => void>();

  function trip(): void {
    nextTrialAt = mono() + retryMs;
    if (open) return;
    open = true;
    onChange?.(true);
    for (const refuse of waiting) refuse(new SourceUnavailable(message));
    waiting.clear();
  }

  function reset(): void {
    failures = 0;
    if (!open) return;
    open = false;
    onChange?.(false);
  }

  function run<T>(operation: () => Promise<T>): Promise<T> {
    const trial = open;
    if (trial) {
      if (mono() < nextTrialAt) return Promise.reject(new SourceUnavailable(message));
      nextTrialAt = mono() + retryMs;
    }
    return new Promise<T>((resolve, reject) => {
      if (!trial) waiting.add(reject);
      operation().then(
        (value) => {
          waiting.delete(reject);
          reset();
          resolve(value);
        },
        (error) => {
          waiting.delete(reject);
          if (isOutage(error)) {
            failures += 1;
            if (trial || failures >= failuresMax) trip();
          } else reset();
          reject(error);
        },
      );
    });
  }

  return {
    run,
    trip,
    reset,
    get isOpen() {
      return open;
    },
  };
}
