/** What a long-running command does when it is told to. */
export interface SignalActions {
  /**
   * Null: of a command that is tried at a terminal. SIGHUP is what it is to other programs, the end of the terminal, and
   * drains too. A second signal is no other than the first: npm passes on the Ctrl-C that the terminal has told already.
   */
  readonly reload: (() => void) | null;
  readonly drain: () => Promise<void>;
}

/** The exit status of a gateway that was told twice to end, and so did not finish what ran. */
const SECOND_SIGNAL = 1;

/** SIGTERM and SIGINT drain, a second one ends at once, SIGHUP reloads: unless `reload` is null. Resolves when it has drained. */
export function onSignals({ reload, drain }: SignalActions): Promise<void> {
  if (reload !== null) process.on("SIGHUP", reload);
  return new Promise((resolve, reject) => {
    let signalled = false;
    const end = () => {
      if (signalled && reload === null) return;
      if (signalled) process.exit(SECOND_SIGNAL);
      signalled = true;
      drain().then(resolve, reject);
    };
    process.on("SIGTERM", end);
    process.on("SIGINT", end);
    if (reload === null) process.on("SIGHUP", end);
  });
}

/** Runs a task that has something to take back when it is told to end: the first SIGINT or SIGTERM aborts its signal. */
export async function interruptible<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const end = () => {
    stopListening();
    controller.abort();
  };
  const stopListening = () => {
    process.off("SIGINT", end);
    process.off("SIGTERM", end);
  };
  process.on("SIGINT", end);
  process.on("SIGTERM", end);
  try {
    return await task(controller.signal);
  } finally {
    stopListening();
  }
}
