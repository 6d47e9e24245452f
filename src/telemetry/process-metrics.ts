import {
  AggregatorRegistry,
  collectDefaultMetrics,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";

/** Figures of the Node process itself, as prom-client gives them: plain JSON. */
export type ProcessFigures = readonly MetricObjectWithValues<MetricValue<string>>[];

let registry: Registry | null = null;

/**
 * Begins to measure this process (event loop, garbage collection, memory, descriptors) once, and gives the figures of
 * the moment. This is the only file that knows prom-client; it is imported when first needed, since it takes a fifth
 * of the time to start.
 */
export async function collectProcessFigures(): Promise<ProcessFigures> {
  const metrics = await begin().getMetricsAsJSON();
  return metrics.map((metric) => ({ ...metric, aggregator: aggregatorOf(metric) })) as ProcessFigures;
}

/** The text of a scrape, the figures of several processes taken together. */
export async function formatProcessFigures(processes: readonly ProcessFigures[]): Promise<string> {
  return aggregate(processes).metrics();
}

/** The figures of several processes as those of one. */
export async function mergeProcessFigures(processes: readonly ProcessFigures[]): Promise<ProcessFigures> {
  return (await aggregate(processes).getMetricsAsJSON()) as ProcessFigures;
}

/** prom-client takes the objects apart in place: it gets its own. */
function aggregate(processes: readonly ProcessFigures[]): Registry {
  return AggregatorRegistry.aggregate(structuredClone(processes) as object[]);
}

function begin(): Registry {
  if (registry !== null) return registry;
  registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // Gauges that end in _total, which promtool rejects; the same figures are there by type.
  for (const kind of ["handles", "requests", "resources"]) registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  return registry;
}

/** A mean of event loop delays would hide the one worker that hangs. */
function aggregatorOf({ name, aggregator }: MetricObjectWithValues<MetricValue<string>>): string {
  if (name === "process_start_time_seconds") return "min";
  return name.startsWith("nodejs_eventloop_lag") ? "max" : aggregator;
}
