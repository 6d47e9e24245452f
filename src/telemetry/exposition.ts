import { type Aggregate, type MetricDefinition, type SeriesFigures, seriesKey } from "./instruments.ts";

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
    const series = new Map<string, SeriesFigures>();
    for (const snapshot of snapshots) {
      for (const one of snapshot[name] ?? []) {
        const key = seriesKey(one.values);
        const before = series.get(key);
        series.set(key, before === undefined ? one : combine(before, one, aggregate));
      }
    }
    merged[name] = [...series.values()];
  }
  return merged;
}

function combine(left: SeriesFigures, right: SeriesFigures, aggregate: Aggregate): SeriesFigures {
  const join = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min }[aggregate];
  return { values: left.values, figures: left.figures.map((value, at) => join(value, right.figures[at] ?? 0)) };
}

function plain({ name, labels }: MetricDefinition, { values, figures }: SeriesFigures): string {
  return `${name}${formatLabels(labels, values)} ${formatNumber(figures[0] ?? 0)}\n`;
}

function buckets(definition: MetricDefinition, { values, figures }: SeriesFigures): string {
  const { name, labels, buckets: bounds = [] } = definition;
  const own = formatLabels(labels, values);
  const withBound = (bound: string) => formatLabels([...labels, "le"], [...values, bound]);
  let text = "";
  let total = 0;
  for (const [at, bound] of bounds.entries()) {
    total += figures[at] ?? 0;
    text += `${name}_bucket${withBound(formatNumber(bound))} ${total}\n`;
  }
  total += figures[bounds.length] ?? 0;
  const sum = formatNumber(figures[bounds.length + 1] ?? 0);
  return `${text}${name}_bucket${withBound("+Inf")} ${total}\n${name}_sum${own} ${sum}\n${name}_count${own} ${total}\n`;
}

function formatLabels(names: readonly string[], values: readonly string[]): string {
  if (names.length === 0) return "";
  return `{${names.map((name, at) => `${name}="${escapeLabel(values[at] ?? "")}"`).join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}
