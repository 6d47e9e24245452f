/**
 * The last heads that an upstream sent, by their text. Upstreams repeat themselves for as long as their Date is the same,
 * and what was read once need not be read again. A miss costs the comparison of two lengths.
 */
export class KnownHeads {
  readonly #slots: (KnownHead | undefined)[] = new Array(KNOWN_HEADS).fill(undefined);
  /** The one that was found or kept last. */
  #last: KnownHead | null = null;

  /** Mostly it is the last one again: then there is no need to look for its end. */
  again(chunk: Buffer, at: number): KnownHead | null {
    const last = this.#last;
    return last !== null && chunk.toString("latin1", at, at + last.text.length) === last.text ? last : null;
  }

  find(text: string): KnownHead | null {
    const head = this.#slots[text.length % KNOWN_HEADS];
    if (head === undefined || head.text !== text) return null;
    this.#last = head;
    return head;
  }

  keep(head: KnownHead): void {
    if (head.text.length > KNOWN_HEAD_BYTES) return;
    this.#last = head;
    this.#slots[head.text.length % KNOWN_HEADS] = head;
  }
}

/** What was read of a head: what the parser knows at its end. */
export interface KnownHead {
  /** From the status line to the empty line. */
  readonly text: string;
  readonly status: number;
  readonly minor: number;
  readonly reason: string;
  readonly headers: string[];
  readonly length: number;
  readonly chunked: boolean;
  readonly close: boolean;
  readonly keepAliveMs: number;
}

const KNOWN_HEADS = 16;
/** Larger ones are not kept: memory for each origin is bounded by 16 of these. */
const KNOWN_HEAD_BYTES = 2048;
