/**
 * Idle connections to one origin, last in first out: the warmest is used first, and what a burst left over grows old at
 * the bottom and is closed. It neither counts nor opens nor closes anything itself.
 */
export class Pool<Connection> {
  readonly #idle: Connection[] = [];
  /** Nothing is kept any more: connections still busy close when they are done. */
  #closed = false;

  get size(): number {
    return this.#idle.length;
  }

  /** The connection that was used last; undefined when none is idle. It stays. */
  get newest(): Connection | undefined {
    return this.#idle[this.#idle.length - 1];
  }

  /** Takes out the newest. */
  take(): Connection | undefined {
    return this.#idle.pop();
  }

  /** The one that has been idle longest; undefined when none is idle. */
  takeOldest(): Connection | undefined {
    return this.#idle.shift();
  }

  /** False: not kept, the caller closes it. */
  keep(connection: Connection): boolean {
    if (this.#closed) return false;
    this.#idle.push(connection);
    return true;
  }

  /** Takes out one that closed by itself or grew too old. */
  remove(connection: Connection): void {
    // Those that grew too old are at the bottom; there may be thousands above them.
    if (this.#idle[0] === connection) {
      this.#idle.shift();
      return;
    }
    const index = this.#idle.lastIndexOf(connection);
    if (index !== -1) this.#idle.splice(index, 1);
  }

  /** Gives up all idle connections, for the caller to close, and keeps none from here on. */
  close(): Connection[] {
    this.#closed = true;
    return this.#idle.splice(0);
  }
}
