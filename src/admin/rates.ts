import type { Snapshot } from "../telemetry/exposition.ts";
import type { Scrape } from "../telemetry/scrape.ts";

/** Requests per second of one route since the reading before. */
export interface RouteRate {
  readonly requests: number;
  /** Of these: 401 and 403, and 500 and above. */
  readonly denied: number;
  readonly failed: number;
}

/** Rates between two readings of the counters; null until there are two. */
export interface Rates {
  /** `at` in milliseconds. Readings less than a second apart are left out. */
  add(at: number, scrapes: readonly Scrape[]): void;
  latest(): RatesReading | null;
}

export interface RatesReading {
  /** How long the rates were taken over. */
  readonly seconds: number;
  readonly byRoute: ReadonlyMap<string, RouteRate>;
}

interface Reading {
  readonly at: number;
  readonly totals: ReadonlyMap<string, RouteRate>;
}

/** A page that is looked at every few seconds shows what happened in between, and needs no timer of its own. */
export function createRates(): Rates {
  let before: Reading | null = null;
  let last: Reading | null = null;
  return {
    add: (at, scrapes) => {
      if (last !== null && at - last.at < 1000) return;
      before = last;
      last = { at, totals: totalsOf(scrapes) };
    },
    latest: () => (before === null || last === null ? null : compare(before, last)),
  };
}

function compare(before: Reading, last: Reading): RatesReading {
  const seconds = (last.at - before.at) / 1000;
  const rates = Array.from(last.totals, ([route, now]): [string, RouteRate] => {
    const then = before.totals.get(route) ?? NONE;
    // A worker that was started anew counts from zero: never less than none.
    const rate = (of: keyof RouteRate) => Math.max(0, now[of] - then[of]) / seconds;
    return [route, { requests: rate("requests"), denied: rate("denied"), failed: rate("failed") }];
  });
  return { seconds, byRoute: new Map(rates) };
}

const NONE: RouteRate = { requests: 0, denied: 0, failed: 0 };

function totalsOf(scrapes: readonly Scrape[]): ReadonlyMap<string, RouteRate> {
  const totals = new Map<string, RouteRate>();
  for (const { sentinel } of scrapes)
    for (const [route, status, count] of requestsOf(sentinel)) {
      const { requests, denied, failed } = totals.get(route) ?? NONE;
      totals.set(route, {
        requests: requests + count,
        denied: denied + (status === 401 || status === 403 ? count : 0),
        failed: failed + (status >= 500 ? count : 0),
      });
    }
  return totals;
}

function requestsOf(snapshot: Snapshot): [route: string, status: number, count: number][] {
  const series = snapshot.sentinel_requests_total ?? [];
  return series.map(({ values, figures }) => [values[0] ?? "", Number(values[2]), figures[0] ?? 0]);
}
