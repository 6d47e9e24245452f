import { mergeSnapshots, type Snapshot } from "./exposition.ts";
import { formatMetrics, METRIC_DEFINITIONS, type Metrics } from "./metrics.ts";
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

/**
 * What a process that ended has counted, to be added to the others from then on: a sum that went down would read as a
 * restart of all of them. Its gauges ended with it.
 */
export async function retireScrapes(ended: readonly Scrape[]): Promise<Scrape> {
  const { mergeProcessFigures } = await import("./process-metrics.ts");
  const counting = METRIC_DEFINITIONS.filter(({ type }) => type !== "gauge");
  const node = await mergeProcessFigures(ended.map((scrape) => scrape.node));
  return {
    sentinel: mergeSnapshots(
      counting,
      ended.map((scrape) => scrape.sentinel),
    ),
    node: node.filter((metric) => String(metric.type) !== "gauge"),
  };
}
