import { createHash } from "node:crypto";
import { watch } from "node:fs";
import { dirname } from "node:path";
import { readFile, realpath, stat } from "../files.ts";

export interface FileWatch {
  /** Compares now, for a SIGHUP or a test. Ends when `onChange` was called or nothing had changed. */
  check(): Promise<void>;
  close(): void;
}

export interface WatchOptions {
  /** Between two looks at the files, in milliseconds. Events make it faster; without any, this is how late it can be. */
  readonly pollMs?: number;
  /** How long to wait after an event for the rest of a write, in milliseconds. */
  readonly settleMs?: number;
  /**
   * When the contents that are in use began to be read, by `Date.now()`: what changed since is told at the first look.
   * Unless given, what the first look finds counts as in use.
   */
  readonly since?: number;
  /** Tells of events in a folder; answers how to stop. Throws where there is no such folder. */
  readonly watchFolder?: (folder: string, onEvent: () => void) => () => void;
}

/**
 * Calls `onChange` whenever the contents of one of the files changed, it vanished, or it came back. `files` is asked
 * anew at each look, so that it can follow what a reload reads; all names absolute.
 *
 * Folders are watched, never the files: an editor's rename, or the link that Kubernetes swaps above a ConfigMap, leaves a
 * watch on a file deaf for good. What counts is the contents, looked at after events and every second besides, because
 * events are missed on network file systems and where a folder itself is replaced. A file that is half-written when it
 * is looked at is a change, and so is its other half. Neither timers nor watches keep the process alive.
 */
export function watchFiles(
  files: () => readonly string[],
  onChange: () => void,
  options: WatchOptions = {},
): FileWatch {
  return new FileWatcher(files, onChange, options);
}

/** A file as it was when last looked at. */
interface Look {
  /** SHA-256 of the contents, or why there are none. */
  readonly contents: string;
  /** What the file system says of it: as long as this stays, so have the contents. Empty: it has to be read again. */
  readonly stamp: string;
  readonly changedAt: number;
}

const POLL_MS = 1000;
const SETTLE_MS = 50;
/** File systems keep time in steps: a stamp this young may stay the same over another write. */
const STAMP_STEP_MS = 2000;
/** By how much a file's time may lag behind `Date.now()`. */
const CLOCK_LAG_MS = 10;

class FileWatcher implements FileWatch {
  readonly #files: () => readonly string[];
  readonly #onChange: () => void;
  readonly #watchFolder: NonNullable<WatchOptions["watchFolder"]>;
  readonly #settleMs: number;
  readonly #poll: NodeJS.Timeout;
  readonly #folders = new Map<string, () => void>();
  #looks = new Map<string, Look>();
  #settling: NodeJS.Timeout | null = null;
  /** Looks follow one another; this is the last one that was asked for. */
  #last: Promise<void>;
  /** Whoever was told last began to read the files then; null: not known. */
  #toldAt: number | null;
  #closed = false;

  constructor(files: () => readonly string[], onChange: () => void, options: WatchOptions) {
    this.#files = files;
    this.#onChange = onChange;
    this.#watchFolder = options.watchFolder ?? watchFolder;
    this.#settleMs = options.settleMs ?? SETTLE_MS;
    this.#toldAt = options.since ?? null;
    this.#last = this.#look();
    this.#poll = setInterval(() => void this.check(), options.pollMs ?? POLL_MS);
    this.#poll.unref();
  }

  check(): Promise<void> {
    this.#last = this.#last.then(() => this.#look());
    return this.#last;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    if (this.#settling !== null) clearTimeout(this.#settling);
    for (const stop of this.#folders.values()) stop();
    this.#folders.clear();
  }

  async #look(): Promise<void> {
    if (this.#closed) return;
    const files = this.#files();
    await this.#follow(files);
    const looks = new Map<string, Look>();
    for (const file of files) looks.set(file, await lookAt(file, this.#looks.get(file)));
    if (this.#closed) return;
    const changed = files.some((file) => this.#hasChanged(this.#looks.get(file), looks.get(file)));
    this.#looks = looks;
    this.#toldAt ??= Date.now();
    if (!changed) return;
    this.#toldAt = Date.now();
    this.#onChange();
  }

  /** A file that is looked at for the first time counts as changed if that may have been after it was read. */
  #hasChanged(before: Look | undefined, now: Look | undefined): boolean {
    if (now === undefined) return false;
    if (before !== undefined) return before.contents !== now.contents;
    return this.#toldAt !== null && now.changedAt > this.#toldAt - CLOCK_LAG_MS;
  }

  /** Watches the folders of the files, and those of what they link to. */
  async #follow(files: readonly string[]): Promise<void> {
    const wanted = new Set<string>();
    for (const file of files) {
      wanted.add(dirname(file));
      const target = await realpath(file).catch(() => null);
      if (target !== null) wanted.add(dirname(target));
    }
    if (this.#closed) return;
    for (const [folder, stop] of this.#folders) {
      if (wanted.has(folder)) continue;
      stop();
      this.#folders.delete(folder);
    }
    for (const folder of wanted) if (!this.#folders.has(folder)) this.#watch(folder);
  }

  #watch(folder: string): void {
    try {
      const stop = this.#watchFolder(folder, () => this.#onEvent(folder));
      this.#folders.set(folder, stop);
    } catch {
      // No such folder, or no watches left: the next look tries again, and looks without events until then.
    }
  }

  #onEvent(folder: string): void {
    if (this.#closed) return;
    // The folder may be another one now: it is watched afresh at the next look.
    this.#folders.get(folder)?.();
    this.#folders.delete(folder);
    this.#settling ??= setTimeout(() => {
      this.#settling = null;
      void this.check();
    }, this.#settleMs).unref();
  }
}

async function lookAt(file: string, before: Look | undefined): Promise<Look> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(file, { bigint: true });
    const changedAt = Number(ctimeMs);
    const stamp = `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    if (stamp === before?.stamp) return before;
    const contents = createHash("sha256")
      .update(await readFile(file))
      .digest("base64");
    return { contents, changedAt, stamp: Date.now() - changedAt < STAMP_STEP_MS ? "" : stamp };
  } catch (error) {
    // That it can not be read is what is told; whoever reads it next says why.
    return { contents: `unreadable: ${(error as NodeJS.ErrnoException).code}`, stamp: "", changedAt: 0 };
  }
}

function watchFolder(folder: string, onEvent: () => void): () => void {
  const watcher = watch(folder, { persistent: false }, onEvent);
  // Ends by itself, as when the folder is removed; the next look watches afresh.
  watcher.on("error", onEvent);
  return () => watcher.close();
}
