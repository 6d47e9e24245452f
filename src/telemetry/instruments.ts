/** Numbers behind the metrics: families of cells that cost an addition to write and are read only by a scrape. */

export type Aggregate = "sum" | "max" | "min";

/** One metric: what it is called, what it means, and how the figures of several processes become one. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
  /** Over worker processes. */
  readonly aggregate: Aggregate;
  /** Upper bounds, ascending, in the metric's unit; histograms only. */
  readonly buckets?: readonly number[];
}

/** A number that is written in place: `cell.value += 1`. */
export interface Cell {
  value: number;
}

/** Counts per bucket (the last one has no bound) and the sum of what was observed. */
export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** `value` in the metric's unit. */
  observe(value: number): void {
    const observed = Math.max(value, 0);
    const { bounds } = this;
    let slot = 0;
    while (slot < bounds.length && observed > (bounds[slot] as number)) slot++;
    (this.counts[slot] as number)++;
    this.sum += observed;
  }
}

/** Figures of one series: one number, or for a histogram its counts per bucket followed by the sum. */
export interface SeriesFigures {
  /** Label values, in the order of the definition's labels. */
  readonly values: readonly string[];
  readonly figures: readonly number[];
}

/** Every series of a metric, by its label values. */
export class Family<T extends Cell | Histogram> {
  readonly definition: MetricDefinition;
  private readonly series = new Map<string, { readonly values: readonly string[]; readonly instrument: T }>();
  private readonly make: () => T;

  constructor(definition: MetricDefinition, make: () => T) {
    this.definition = definition;
    this.make = make;
  }

  /** The series with these label values, made at zero when it is new. Keep it where it is written often. */
  of(...values: readonly string[]): T {
    const known = this.find(...values);
    if (known !== null) return known;
    const { name, labels } = this.definition;
    if (values.length !== labels.length) throw new TypeError(`${name} has the labels ${labels.join(", ")}`);
    const instrument = this.make();
    this.series.set(seriesKey(values), { values, instrument });
    return instrument;
  }

  /** The series with these label values, if it is there. */
  find(...values: readonly string[]): T | null {
    return this.series.get(seriesKey(values))?.instrument ?? null;
  }

  /** Forgets every other series; for gauges whose subjects can go away. */
  retain(kept: ReadonlySet<T>): void {
    for (const [key, { instrument }] of this.series) if (!kept.has(instrument)) this.series.delete(key);
  }

  collect(): SeriesFigures[] {
    return Array.from(this.series.values(), ({ values, instrument }) => ({ values, figures: figuresOf(instrument) }));
  }
}

/** Tells series of one metric apart. */
export function seriesKey(values: readonly string[]): string {
  return values.join("\0");
}

export function cellFamily(definition: MetricDefinition): Family<Cell> {
  return new Family(definition, () => ({ value: 0 }));
}

export function histogramFamily(definition: MetricDefinition): Family<Histogram> {
  const bounds = definition.buckets ?? [];
  return new Family(definition, () => new Histogram(bounds));
}

function figuresOf(instrument: Cell | Histogram): number[] {
  return instrument instanceof Histogram ? [...instrument.counts, instrument.sum] : [instrument.value];
}
