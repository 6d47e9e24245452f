import type { DecideContext } from "./decide.ts";
import type { EnvelopeSettings } from "./faults/envelope.ts";
import type { Upstreams } from "./forward/upstreams.ts";
import type { HeadLimits } from "./head.ts";

/**
 * One generation of the configuration, as requests see it. A reload makes a new one; a request keeps the one that was
 * current when it was matched, to its end.
 */
export interface Snapshot extends DecideContext {
  /** Counts from 1 with each configuration that was taken up. */
  readonly generation: number;
  readonly head: HeadLimits;
  readonly errors: EnvelopeSettings;
  readonly upstreams: Upstreams;
  /** Every answer says how long it took, and whom. */
  readonly serverTiming: boolean;
}
