import { decide, type Verdict } from "./decide.ts";
import { fault } from "./faults/fault.ts";
import type { Tunnel } from "./forward/forwarder.ts";
import type { EpochMs } from "./keys/root-key.ts";

/** How often open tunnels are judged again, in milliseconds. */
const INTERVAL_MS = 1000;

export interface TunnelWatchOptions {
  readonly tunnels: ReadonlySet<Tunnel>;
  /** How long a tunnel outlives the source's last word on its key. */
  readonly staleIfErrorMs: number;
  /** A tunnel was closed because its key or its permission is no more. */
  readonly onRevoked: (tunnel: Tunnel, label: string) => void;
  readonly onError: (error: unknown) => void;
}

/**
 * Judges every open tunnel again, once a second, by the very decision that let it through, and closes the ones that
 * would be refused now: a WebSocket does not outlive its key. Answers a function that ends the watch.
 */
export function watchTunnels(options: TunnelWatchOptions): () => void {
  const lastWords = new WeakMap<Tunnel, LastWord>();
  const timer = setInterval(() => {
    for (const tunnel of options.tunnels) judge(tunnel, lastWords, options);
  }, INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** When the source gave the record by which a tunnel was last let be: by the wall clock, and by the one that is not set. */
interface LastWord {
  readonly asOf: EpochMs;
  readonly at: number;
}

function judge(tunnel: Tunnel, lastWords: WeakMap<Tunnel, LastWord>, options: TunnelWatchOptions): void {
  const { head, snapshot } = tunnel.exchange;
  if (head === null || snapshot === null) return;
  const act = (verdict: Verdict): void => {
    const now = performance.now();
    const last = lastWords.get(tunnel);
    if (verdict.kind === "admit") {
      const asOf = verdict.evidence.lookup?.asOf ?? null;
      // A record that memory serves on is no new word: its age and the tunnel's own patience would add up.
      if (asOf !== null && asOf !== last?.asOf) {
        lastWords.set(tunnel, { asOf, at: now - Math.max(0, snapshot.now() - asOf) });
      }
      return;
    }
    // "Can not tell" is not "no": the tunnel lives as long as a record kept in memory would.
    const since = last?.at ?? tunnel.exchange.startedAt;
    if (verdict.label === "source_unavailable" && now - since < options.staleIfErrorMs) return;
    options.onRevoked(tunnel, verdict.label ?? verdict.fault.code);
    tunnel.close();
  };
  try {
    const verdict = decide(head, snapshot, async () => fault("unkey:application:unexpected_error"));
    if (verdict instanceof Promise) verdict.then(act).catch(options.onError);
    else act(verdict);
  } catch (error) {
    options.onError(error);
  }
}
