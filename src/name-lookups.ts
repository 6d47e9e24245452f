import dns, { type LookupAddress, type LookupOptions } from "node:dns";
import type { LookupFunction } from "node:net";

/** A name server that has not answered by then has mostly not been asked: the packet was lost, and is sent again after 5 s. */
const LATE_MS = 1000;

/**
 * Looks names up for `connect`, each once at a time: whoever wants one that is being looked up gets that answer. The system's
 * resolver is asked by two threads of Node's pool, and holds one for seconds where a name server is silent; were it
 * asked for each connection, all other names would wait behind one that can not be found, also long after those
 * connections were given up. A name that was found before is asked for a second time when its answer is late.
 */
export class NameLookups {
  readonly #now: () => number;
  readonly #underWay = new Map<string, UnderWay>();
  /** Names that may be asked for a second time: their last answer was an address. */
  readonly #trusted = new Set<string>();

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The option `lookup` of a socket; all that go by these look-ups must want the same families and as many addresses. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    const underWay = this.#underWay.get(hostname);
    if (underWay === undefined) {
      this.#ask(hostname, options, { callbacks: [callback], since: this.#now() });
      return;
    }
    underWay.callbacks.push(callback);
    if (this.#now() - underWay.since > LATE_MS && this.#trusted.delete(hostname)) {
      this.#ask(hostname, options, underWay);
    }
  };

  /** Nobody has said yet what the address is. */
  isUnderWay(hostname: string): boolean {
    return this.#underWay.has(hostname);
  }

  #ask(hostname: string, options: LookupOptions, underWay: UnderWay): void {
    this.#underWay.set(hostname, underWay);
    dns.lookup(hostname, options, (error, address, family) => {
      // It was asked for twice, and this is the later answer.
      if (this.#underWay.get(hostname) !== underWay) return;
      this.#underWay.delete(hostname);
      if (error === null) this.#trusted.add(hostname);
      else this.#trusted.delete(hostname);
      for (const tell of underWay.callbacks) tell(error, address, family);
    });
  }
}

interface UnderWay {
  readonly callbacks: LookupCallback[];
  readonly since: number;
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;
