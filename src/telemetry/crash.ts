import { asError, describeError, type Log } from "./logger.ts";
import type { Redact } from "./redact.ts";

export interface CrashOptions {
  readonly log: Log;
  readonly redact: Redact;
  /** Ends what runs, in bounded time. */
  readonly drain: () => Promise<void>;
  /** Writes what the log still holds. */
  readonly flush: () => Promise<void>;
  readonly exit?: (code: number) => void;
}

/**
 * After an exception that nobody caught, or a rejection that nobody handled, the state of the process is not known:
 * one line is logged, what runs is finished, and the process ends with 1 for its supervisor to start anew. Answers
 * the way to take this back.
 */
export function exitOnCrash(options: CrashOptions): () => void {
  let crashing = false;
  const crash = (kind: string) => (thrown: unknown) => {
    options.log("fatal", kind, { error: describeError(thrown, options.redact), stack: stackOf(thrown) });
    if (crashing) return;
    crashing = true;
    void leave(options);
  };
  const onException = crash("uncaught_exception");
  const onRejection = crash("unhandled_rejection");
  process.on("uncaughtException", onException);
  process.on("unhandledRejection", onRejection);
  return () => {
    process.off("uncaughtException", onException);
    process.off("unhandledRejection", onRejection);
  };
}

async function leave({ log, drain, flush, exit = process.exit }: CrashOptions): Promise<void> {
  try {
    await drain();
  } catch (error) {
    log("error", "drain_failed", { error: asError(error) });
  }
  await flush();
  exit(1);
}

/** Where it was thrown, on the one line that JSON makes of it. The message stands in `error`. */
function stackOf(thrown: unknown): string | null {
  if (!(thrown instanceof Error) || typeof thrown.stack !== "string") return null;
  const frames = thrown.stack.split("\n").filter((line) => /^\s+at /.test(line));
  return frames.map((frame) => frame.trim()).join("; ");
}
