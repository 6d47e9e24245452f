/**
 * Tells a worker that hangs from one that is slow. What it was asked and has not answered is counted, not timed: while
 * this process stands still (stopped, or with its whole machine), it asks nothing, and the workers that stood still with
 * it have as long as ever to answer afterwards.
 */
export class SignsOfLife {
  readonly #ask: () => void;
  readonly #asksMax: number;
  #unanswered = 0;

  /** `ask` sends one question, which the worker answers as soon as its event loop turns. */
  constructor(ask: () => void, asksMax: number) {
    this.#ask = ask;
    this.#asksMax = asksMax;
  }

  /** To be called at an even pace. */
  ask(): void {
    // Further questions would pile up behind the one that a hanging worker does not read.
    if (this.#unanswered === 0) this.#ask();
    this.#unanswered += 1;
  }

  /** It was silent for `asksMax` rounds since it was asked; true until the next `ask` only, so that it is told of once. */
  isMissing(): boolean {
    return this.#unanswered === this.#asksMax + 1;
  }

  answered(): void {
    this.#unanswered = 0;
  }
}
