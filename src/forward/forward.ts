import type { Duplex } from "node:stream";
import type { Exchange } from "../exchange.ts";
import { fault } from "../faults/fault.ts";
import type { Admission, ForwardDone, Forwarder, Tunnel, UpstreamEngine } from "./forwarder.ts";
import { Forwarding, type ForwardingDeps } from "./forwarding.ts";
import { ResponseHeadersMemo } from "./response-headers.ts";
import { Handshake } from "./upgrade.ts";
import type { Upstream, Upstreams } from "./upstreams.ts";

export interface ForwarderDeps {
  readonly engine: UpstreamEngine;
  /** What `Via` says of this instance: `1.1 sentinel (INSTANCE)`. */
  readonly via: string;
  /** Monotonic milliseconds; `performance.now` unless given. */
  readonly now?: () => number;
}

/** The forwarder that every request of a process goes through; `engine` is its own from here on. */
export function createForwarder(deps: ForwarderDeps): Forwarder {
  return new EngineForwarder(deps);
}

class EngineForwarder implements Forwarder {
  readonly tunnels = new Set<Tunnel>();
  private readonly deps: ForwardingDeps;

  constructor({ engine, via, now }: ForwarderDeps) {
    this.deps = { engine, via, answers: new ResponseHeadersMemo(via), now: now ?? (() => performance.now()) };
  }

  forward(exchange: Exchange, admission: Admission, upstreams: Upstreams, done: ForwardDone): void {
    const upstream = findUpstream(exchange, admission, upstreams, done);
    if (upstream !== null) new Forwarding(exchange, admission, upstream, done, this.deps).start();
  }

  upgrade(
    exchange: Exchange,
    admission: Admission,
    upstreams: Upstreams,
    socket: Duplex,
    early: Buffer,
    done: ForwardDone,
  ): void {
    const upstream = findUpstream(exchange, admission, upstreams, done);
    if (upstream === null) return;
    new Handshake(exchange, admission, upstream, done, this.deps, { socket, early, tunnels: this.tunnels }).start();
  }

  close(): void {
    for (const tunnel of this.tunnels) tunnel.close();
    this.deps.engine.close();
  }
}

/** The configuration was checked: a route's upstream is there, or something is badly wrong with us. */
function findUpstream(
  exchange: Exchange,
  { route }: Admission,
  upstreams: Upstreams,
  done: ForwardDone,
): Upstream | null {
  const upstream = upstreams.find(route.upstream);
  if (upstream === null) {
    const cause = `there is no upstream ${route.upstream}`;
    process.nextTick(done, exchange, { kind: "fault", fault: fault("unkey:application:unexpected_error", { cause }) });
  }
  return upstream;
}
