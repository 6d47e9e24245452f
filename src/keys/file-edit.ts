import { randomBytes } from "node:crypto";
import { chmod, chown, lstat, open, readFile, readlink, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { SourceUnavailable } from "./source.ts";

/**
 * Changes a text file that other processes read and write: they see the old content or the new one, never a part, and
 * of two `editFile` at a time the second starts from what the first wrote. `change` gets the content ("" where there is
 * no file yet) and gives the new one; it may be called again when somebody without the lock (an editor) was faster.
 * What `change` throws comes back as it is, with nothing written; whatever the file system refuses is `SourceUnavailable`.
 */
export async function editFile(
  path: string,
  change: (content: string) => string,
  { patienceMs = LOCK_PATIENCE_MS }: { readonly patienceMs?: number } = {},
): Promise<void> {
  const target = await translated(path, () => followLinks(path));
  const lock = await takeLock(`${target}.lock`, patienceMs);
  try {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const before = await readOrNull(target);
      const after = change(before ?? "");
      if (after === before || (await replace(target, before, after))) return;
    }
    throw new SourceUnavailable(`${path} keeps changing while it is being edited`);
  } finally {
    await lock.release();
  }
}

/** The content, or null where there is no such file. */
export async function readOrNull(path: string): Promise<string | null> {
  return await translated(path, async () => {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      if (errorCode(error) === "ENOENT") return null;
      throw error;
    }
  });
}

const MAX_ATTEMPTS = 5;
const MAX_LINKS = 20;
/** Root keys are not in it, but who may do what is nobody else's business. */
const NEW_FILE_MODE = 0o600;

/** Renaming over a link would replace the link; what it leads to is meant, also where that does not exist yet. */
async function followLinks(path: string): Promise<string> {
  let target = resolve(path);
  for (let i = 0; i < MAX_LINKS; i += 1) {
    const stats = await lstat(target).catch(absent);
    if (stats === null || !stats.isSymbolicLink()) return target;
    target = resolve(dirname(target), await readlink(target));
  }
  throw new SourceUnavailable(`${path} is a link that leads nowhere`);
}

/** Puts `after` in place at once. False, with nothing written: the file is no longer `before`. */
async function replace(target: string, before: string | null, after: string): Promise<boolean> {
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  return await translated(target, async () => {
    try {
      await writeDurably(temporary, after, await stat(target).catch(absent));
      if ((await readOrNull(target)) !== before) return false;
      await rename(temporary, target);
      await syncFolder(dirname(target));
      return true;
    } finally {
      await rm(temporary, { force: true });
    }
  });
}

async function writeDurably(path: string, content: string, like: Like | null): Promise<void> {
  const file = await open(path, "wx", NEW_FILE_MODE);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  if (like === null) return;
  await chmod(path, like.mode & 0o7777);
  // Only root may give a file away; for everybody else the new file is theirs, as after any editor.
  await chown(path, like.uid, like.gid).catch((error: unknown) => {
    if (errorCode(error) !== "EPERM") throw error;
  });
}

interface Like {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Makes the rename itself survive a power failure. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** How long a command waits for another one, unless told otherwise; and the age after which a lock counts as left behind, whoever made it. */
const LOCK_PATIENCE_MS = 10_000;
const LOCK_STALE_MS = 60_000;
const LOCK_POLL_MS = 20;

interface Lock {
  release(): Promise<void>;
}

/** A file beside the target that only one process can create. It says who made it, so that a dead one's can be removed. */
async function takeLock(path: string, patienceMs: number): Promise<Lock> {
  const owner = `${process.pid} ${hostname()} ${randomBytes(8).toString("hex")}\n`;
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    if (await translated(path, () => createExclusively(path, owner)))
      return { release: () => releaseLock(path, owner) };
    await translated(path, () => removeIfStale(path));
    if (performance.now() >= giveUpAt) {
      throw new SourceUnavailable(`another command is changing the keyring; if none is, remove ${path}`);
    }
    await delay(LOCK_POLL_MS);
  }
}

async function createExclusively(path: string, owner: string): Promise<boolean> {
  try {
    const file = await open(path, "wx", NEW_FILE_MODE);
    try {
      await file.writeFile(owner);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

async function releaseLock(path: string, owner: string): Promise<void> {
  // One that was taken for left behind may be somebody else's by now.
  if ((await readOrNull(path)) === owner) await rm(path, { force: true });
}

async function removeIfStale(path: string): Promise<void> {
  const owner = await readOrNull(path);
  const stats = await stat(path).catch(absent);
  if (owner === null || stats === null) return;
  const [pid = "", host = ""] = owner.trim().split(" ");
  const isDead = host === hostname() && !isAlive(Number(pid));
  if (!isDead && Date.now() - stats.mtimeMs < LOCK_STALE_MS) return;
  // Of two that come here at once one could remove the other's new lock: so it is moved away and looked at.
  const aside = `${path}.${randomBytes(6).toString("hex")}`;
  const moved = await rename(path, aside).then(() => true, absent);
  if (moved === null) return;
  if ((await readOrNull(aside)) === owner) await rm(aside, { force: true });
  else await rename(aside, path);
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== "ESRCH";
  }
}

/** For `.catch`: null where there is no such file. */
function absent(error: unknown): null {
  if (errorCode(error) === "ENOENT") return null;
  throw error;
}

function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? "";
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOENT: "there is no such folder",
  ENOTDIR: "there is no such folder",
  EISDIR: "it is a folder",
  ENOSPC: "no space is left",
  EBUSY: "it is mounted by itself; mount its folder instead",
};

async function translated<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const code = errorCode(error);
    if (code === "") throw error;
    throw new SourceUnavailable(`${path} can not be read or written: ${REASONS[code] ?? code}`, { cause: error });
  }
}
