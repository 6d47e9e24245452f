import type { RunningSentinel } from "../sentinel.ts";
import { collectScrape } from "../telemetry/scrape.ts";
import { serveAsWorker } from "../workers.ts";

/** Puts a gateway at the command of the process that holds it. */
export function serve(sentinel: RunningSentinel): void {
  const { log, metrics } = sentinel.telemetry;
  serveAsWorker(
    {
      state: () => sentinel.state(),
      scrape: () => collectScrape(metrics),
      reload: async () => void (await sentinel.reload()),
      drain: () => sentinel.drain(),
    },
    log,
  );
}
