import dns, { type LookupAddress, type LookupOptions } from "node:dns";
import type { LookupFunction } from "node:net";

/** A name server that has not answered by then has mostly not been asked: the packet was lost, and is sent again after 5 s. */
const LATE_MS = 1000;
/** After that an address may well be somebody else's. */
const TRUSTED_MS = 5 * 60_000;

/**
 * Looks names up for `connect`, each once at a time: whoever wants one that is being looked up gets that answer. The system's
 * resolver is asked by half of the threads of Node's pool, and holds one for seconds where a name server is silent; were it
 * asked for each connection, all other names would wait behind one that can not be found, also long after those
 * connections were given up. Where no answer comes, which is not to say that there is no such name, the address
 * that was found last is used.
 */
export class NameLookups {
  readonly #now: () => number;
  /** Those who wait for an answer, of each name that is being looked up. */
  readonly #waiting = new Map<string, LookupCallback[]>();
  readonly #found = new Map<string, Found>();

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The option `lookup` of a socket; all that go by these look-ups must want the same families and as many addresses. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    if (!this.#waiting.has(hostname)) this.#ask(hostname, options);
    const found = this.#foundLately(hostname);
    if (found?.isUnconfirmed) process.nextTick(callback, null, found.address, found.family);
    else this.#waiting.get(hostname)?.push(callback);
  };

  /** Somebody waits to be told the address. */
  isAwaited(hostname: string): boolean {
    return (this.#waiting.get(hostname)?.length ?? 0) > 0;
  }

  #ask(hostname: string, options: LookupOptions): void {
    const waiting: LookupCallback[] = [];
    this.#waiting.set(hostname, waiting);
    const late = setTimeout(() => this.#makeDo(hostname, waiting), LATE_MS).unref();
    dns.lookup(hostname, options, (error, address, family) => {
      clearTimeout(late);
      this.#waiting.delete(hostname);
      if (error === null) {
        this.#found.set(hostname, { address, family, at: this.#now(), isUnconfirmed: false });
      } else if (error.code === "ENOTFOUND") {
        this.#found.delete(hostname);
      } else {
        this.#makeDo(hostname, waiting);
      }
      for (const tell of waiting) tell(error, address, family);
    });
  }

  /** Nobody says what the address is: those who wait, and those who come, are told the last one. */
  #makeDo(hostname: string, waiting: LookupCallback[]): void {
    const found = this.#foundLately(hostname);
    if (found === undefined) return;
    found.isUnconfirmed = true;
    for (const tell of waiting.splice(0)) tell(null, found.address, found.family);
  }

  #foundLately(hostname: string): Found | undefined {
    const found = this.#found.get(hostname);
    return found !== undefined && this.#now() - found.at <= TRUSTED_MS ? found : undefined;
  }
}

interface Found {
  readonly address: string | LookupAddress[];
  readonly family: number;
  readonly at: number;
  /** The name server was asked again since, and has not answered. */
  isUnconfirmed: boolean;
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;
