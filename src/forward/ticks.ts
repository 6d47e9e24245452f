/**
 * The coarse clock behind the engine's time-outs: one interval for all connections, instead of a timer for each request.
 * Time is counted in ticks. A blocked event loop delays the ticks with everything else, so a time-out never strikes
 * because the gateway itself was busy; it comes up to two ticks late and never early.
 */
export class Ticks {
  now = 0;
  readonly #tickMs: number;
  readonly #sweep: () => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(tickMs: number, sweep: () => void) {
    this.#tickMs = tickMs;
    this.#sweep = sweep;
  }

  /** The tick by which `ms` will surely have passed; 0 milliseconds is no limit: 0. */
  after(ms: number): number {
    return ms === 0 ? 0 : this.now + Math.ceil(ms / this.#tickMs) + 1;
  }

  /** Whether `ms` have surely passed since the tick `since`. */
  havePassed(ms: number, since: number): boolean {
    return this.now > since + Math.ceil(ms / this.#tickMs);
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.now++;
      this.#sweep();
    }, this.#tickMs).unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
