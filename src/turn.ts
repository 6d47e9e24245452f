/**
 * What is put off to the end of the event loop's turn, by stages: all requests that arrived are decided, then all that
 * go on are sent, then all answers. What many requests do costs less when they do it together: the code of one
 * stage stays in the CPU's caches, and whoever is written to is woken once. A request alone is not held up by it: its
 * turn ends as soon as nothing else is there to be read.
 */
const ORDER = ["requests", "sends", "answers", "ends", "closes"] as const;

export type StageName = (typeof ORDER)[number];

/** One step of a turn, for all that wait for it. */
export interface Stage<T> {
  /** `item` has its turn in this one, or in the next where this stage is past. */
  add(item: T): void;
}

/** The stage of that name does this. Made once for each name. */
export function createStage<T>(name: StageName, each: (item: T) => void): Stage<T> {
  const stage = new Queue(each);
  stages[ORDER.indexOf(name)] = stage;
  return stage;
}

class Queue<T> implements Stage<T> {
  readonly #items: T[] = [];
  readonly #each: (item: T) => void;

  constructor(each: (item: T) => void) {
    this.#each = each;
  }

  add(item: T): void {
    this.#items.push(item);
    if (due) return;
    due = true;
    setImmediate(endTurn);
  }

  get isEmpty(): boolean {
    return this.#items.length === 0;
  }

  /** What throws takes nothing else with it: the others have their turn in the next. */
  run(): void {
    const items = this.#items;
    let done = 0;
    try {
      while (done < items.length) this.#each(items[done++] as T);
    } finally {
      if (done === items.length) items.length = 0;
      else items.splice(0, done);
    }
  }
}

// biome-ignore lint/suspicious/noExplicitAny: each is typed where it is made.
const stages: (Queue<any> | undefined)[] = ORDER.map(() => undefined);

/** The end of this turn was asked for, or is under way. */
let due = false;

function endTurn(): void {
  try {
    for (const stage of stages) stage?.run();
  } finally {
    // What was put off while a later stage ran.
    due = stages.some((stage) => stage?.isEmpty === false);
    if (due) setImmediate(endTurn);
  }
}
