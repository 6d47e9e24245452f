import type { Snapshot } from "./exposition.ts";
import { formatMetrics, type Metrics } from "./metrics.ts";
import type { ProcessFigures } from "./process-metrics.ts";

/** All figures of one process at one moment: plain JSON, so that workers can send theirs to the process that is scraped. */
export interface Scrape {
  readonly sentinel: Snapshot;
  readonly node: ProcessFigures;
}

export async function collectScrape(metrics: Metrics): Promise<Scrape> {
  const { collectProcessFigures } = await import("./process-metrics.ts");
  return { sentinel: metrics.snapshot(), node: await collectProcessFigures() };
}

/** The text of /metrics: two registries one after the other, ours first, each summed over the processes. */
export async function formatScrapes(scrapes: readonly Scrape[]): Promise<string> {
  const { formatProcessFigures } = await import("./process-metrics.ts");
  const ours = formatMetrics(...scrapes.map((scrape) => scrape.sentinel));
  return `${ours}${await formatProcessFigures(scrapes.map((scrape) => scrape.node))}`;
}
