import type { UpstreamCall, UpstreamEngine, UpstreamHandler, UpstreamOrigin } from "./forwarder.ts";

/** Checks in a row that have to fail before a target is out; one that succeeds brings it back. */
const FAILURES_TO_BE_OUT = 2;
const MAX_BODY_BYTES = 64 * 1024;

export interface CheckedTarget {
  readonly origin: UpstreamOrigin;
  readonly authority: string;
  /** Out by the active check. */
  checkedOut: boolean;
}

interface Deps {
  readonly engine: UpstreamEngine;
  readonly schedule: (task: () => void, delayMs: number) => () => void;
}

interface Settings {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/**
 * Asks one target for `path` at once and then `intervalMs` after each answer; any 2xx is healthy. `onChange` is told
 * when `checkedOut` changes.
 */
export class HealthCheck {
  private readonly target: CheckedTarget;
  private readonly settings: Settings;
  private readonly deps: Deps;
  private readonly onChange: () => void;
  private failures = 0;
  private closed = false;
  private cancel: () => void = () => {};
  private call: UpstreamCall | null = null;

  constructor(target: CheckedTarget, settings: Settings, deps: Deps, onChange: () => void) {
    this.target = target;
    this.settings = settings;
    this.deps = deps;
    this.onChange = onChange;
    this.check();
  }

  close(): void {
    this.closed = true;
    this.cancel();
    this.call?.abort();
  }

  private check(): void {
    const { origin, authority } = this.target;
    const { path, timeoutMs } = this.settings;
    const answer = new CheckAnswer((healthy) => this.finish(healthy));
    this.cancel = this.deps.schedule(() => answer.tell(false), timeoutMs);
    this.call = this.deps.engine.send(
      {
        origin,
        method: "GET",
        path,
        headers: ["Host", authority, "User-Agent", "sentinel-health-check", "Accept", "*/*"],
        body: "none",
        content: null,
        upgrade: false,
        connectMs: 0,
        responseMs: 0,
        idleMs: 0,
        repeatable: false,
        freshSocket: false,
      },
      answer,
    );
  }

  private finish(healthy: boolean): void {
    this.cancel();
    this.call?.abort();
    if (this.closed) return;
    this.failures = healthy ? 0 : this.failures + 1;
    const out = this.failures >= FAILURES_TO_BE_OUT || (this.target.checkedOut && !healthy);
    if (out !== this.target.checkedOut) {
      this.target.checkedOut = out;
      this.onChange();
    }
    this.cancel = this.deps.schedule(() => this.check(), this.settings.intervalMs);
  }
}

/** Tells once whether the answer was whole and 2xx. */
class CheckAnswer implements UpstreamHandler {
  private readonly done: (healthy: boolean) => void;
  private status = 0;
  private bodyBytes = 0;
  private told = false;

  constructor(done: (healthy: boolean) => void) {
    this.done = done;
  }

  tell(healthy: boolean): void {
    if (this.told) return;
    this.told = true;
    this.done(healthy);
  }

  onHead(status: number): void {
    this.status = status;
  }

  onBody(chunk: Buffer): boolean {
    this.bodyBytes += chunk.length;
    // Nobody reads it: the rest of a long one is not worth having.
    if (this.bodyBytes > MAX_BODY_BYTES) this.onEnd();
    return true;
  }

  onEnd(): void {
    this.tell(this.status >= 200 && this.status <= 299);
  }

  onError(): void {
    this.tell(false);
  }

  onInterim(): void {}
  onReadEnd(): void {}
  onDrain(): void {}
  onUpgrade(): void {}
}
