import { watch } from "node:fs";
import { dirname } from "node:path";
import { type FileMarks, markRead, markUnreadable, readFile, realpath, stat } from "../files.ts";

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
  /** Tells of events in a folder; answers how to stop. Throws where there is no such folder. */
  readonly watchFolder?: (folder: string, onEvent: () => void) => () => void;
}

/** What was read, once nobody is reading. */
export type FilesInUse = () => FileMarks | Promise<FileMarks>;

/**
 * Calls `onChange` whenever the contents of one of the files changed, it vanished, or it came back. `files` is asked at
 * each look, and gives another map once they were read anew: what changed since is a change, what changed before is none.
 *
 * Folders are watched, never the files: an editor's rename, or the link that Kubernetes swaps above a ConfigMap, leaves a
 * watch on a file deaf for good. What counts is the contents, looked at after events and every second besides, because
 * events are missed on network file systems and where a folder itself is replaced. A file that is half-written when it
 * is looked at is a change, and so is its other half. Neither timers nor watches keep the process alive.
 */
export function watchFiles(files: FilesInUse, onChange: () => void, options: WatchOptions = {}): FileWatch {
  return new FileWatcher(files, onChange, options);
}

/** A file as it was when last looked at. */
interface Look {
  /** Null: not known. */
  readonly mark: string | null;
  /** What the file system says of it: as long as this stays, so have the contents. Empty: it has to be read again. */
  readonly stamp: string;
}

const POLL_MS = 1000;
const SETTLE_MS = 50;
/** File systems keep time in steps: a stamp this young may stay the same over another write. */
const STAMP_STEP_MS = 2000;

class FileWatcher implements FileWatch {
  readonly #files: FilesInUse;
  readonly #onChange: () => void;
  readonly #watchFolder: NonNullable<WatchOptions["watchFolder"]>;
  readonly #settleMs: number;
  readonly #poll: NodeJS.Timeout;
  readonly #folders = new Map<string, () => void>();
  #looks = new Map<string, Look>();
  /** What had been read by the last look. */
  #read: FileMarks | null = null;
  #settling: NodeJS.Timeout | null = null;
  /** Looks follow one another; this is the last one that was asked for. */
  #last: Promise<void>;
  #closed = false;

  constructor(files: FilesInUse, onChange: () => void, options: WatchOptions) {
    this.#files = files;
    this.#onChange = onChange;
    this.#watchFolder = options.watchFolder ?? watchFolder;
    this.#settleMs = options.settleMs ?? SETTLE_MS;
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
    const files = await this.#files();
    if (this.#closed) return;
    const readAnew = files !== this.#read;
    await this.#follow([...files.keys()]);
    const looks = new Map<string, Look>();
    let changed = false;
    for (const [file, read] of files) {
      const before = this.#looks.get(file) ?? { mark: read, stamp: "" };
      const look = await lookAt(file, before);
      looks.set(file, look);
      // Until what changed is read, it is compared with the last look: it may be put back after it was read.
      const known = (readAnew ? read : null) ?? before.mark;
      changed ||= look !== before && known !== null && known !== look.mark;
    }
    if (this.#closed) return;
    this.#read = files;
    this.#looks = looks;
    if (changed) this.#onChange();
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

async function lookAt(file: string, before: Look): Promise<Look> {
  try {
    const stats = await stat(file, { bigint: true });
    // A pipe gives what it holds once: there is nothing to compare with.
    if (stats.isFIFO()) return before;
    const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = stats;
    const stamp = `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    if (stamp === before.stamp) return before;
    const mark = markRead(await readFile(file));
    return { mark, stamp: Date.now() - Number(ctimeMs) < STAMP_STEP_MS ? "" : stamp };
  } catch (error) {
    // That it can not be read is what is told; whoever reads it next says why.
    return { mark: markUnreadable(error), stamp: "" };
  }
}

function watchFolder(folder: string, onEvent: () => void): () => void {
  const watcher = watch(folder, { persistent: false }, onEvent);
  // Ends by itself, as when the folder is removed; the next look watches afresh.
  watcher.on("error", onEvent);
  return () => watcher.close();
}
