import type { Forwarder, UpstreamEngine } from "./forwarder.ts";

export interface ForwarderDeps {
  readonly engine: UpstreamEngine;
  /** What `Via` says of this instance: `1.1 sentinel (INSTANCE)`. */
  readonly via: string;
  /** Monotonic milliseconds; `performance.now` unless given. */
  readonly now?: () => number;
}

export declare function createForwarder(deps: ForwarderDeps): Forwarder;
