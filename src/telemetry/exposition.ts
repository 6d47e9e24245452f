import type { Aggregate, MetricDefinition, SeriesFigures } from "./instruments.ts";

/** The figures of one process at one moment: plain numbers, so that it can cross a process boundary as JSON. */
export type Snapshot = Readonly<Record<string, readonly SeriesFigures[]>>;

/** The Prometheus text format, version 0.0.4. */
export const EXPOSITION_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The text of a scrape. A metric without series is left out. */
export function formatExposition(definitions: readonly MetricDefinition[], snapshot: Snapshot): string {
  let text = "";
  for (const definition of definitions) {
    const series = snapshot[definition.name] ?? [];
    if (series.length === 0) continue;
    text += `# HELP ${definition.name} ${definition.help}\n# TYPE ${definition.name} ${definition.type}\n`;
    for (const one of series)
      text += definition.buckets === undefined ? plain(definition, one) : buckets(definition, one);
  }
  return text;
}

/** The figures of several processes as those of one: counters and histograms add up, gauges as their definition says. */
export function mergeSnapshots(definitions: readonly MetricDefinition[], snapshots: readonly Snapshot[]): Snapshot {
  const merged: Record<string, SeriesFigures[]> = {};
  for (const { name, aggregate } of definitions) {
    const series = new Map<string, number[]>();
    for (const snapshot of snapshots) {
      for (const { labels, figures } of snapshot[name] ?? []) {
        const before = series.get(labels);
        series.set(labels, before === undefined ? [...figures] : combine(before, figures, aggregate));
      }
    }
    merged[name] = Array.from(series, ([labels, figures]) => ({ labels, figures }));
  }
  return merged;
}

function combine(left: readonly number[], right: readonly number[], aggregate: Aggregate): number[] {
  const join = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min }[aggregate];
  return left.map((value, at) => join(value, right[at] ?? 0));
}

function plain({ name }: MetricDefinition, { labels, figures }: SeriesFigures): string {
  return `${name}${labels} ${formatNumber(figures[0] ?? 0)}\n`;
}

function buckets({ name, buckets: bounds = [] }: MetricDefinition, { labels, figures }: SeriesFigures): string {
  const open = labels === "" ? "{" : `${labels.slice(0, -1)},`;
  let text = "";
  let total = 0;
  for (const [at, bound] of bounds.entries()) {
    total += figures[at] ?? 0;
    text += `${name}_bucket${open}le="${formatNumber(bound)}"} ${total}\n`;
  }
  total += figures[bounds.length] ?? 0;
  const sum = formatNumber(figures[bounds.length + 1] ?? 0);
  return `${text}${name}_bucket${open}le="+Inf"} ${total}\n${name}_sum${labels} ${sum}\n${name}_count${labels} ${total}\n`;
}

function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}
