import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { checkConfiguration } from "../../src/config/check.ts";
import { type FileWatch, type WatchOptions, watchFiles } from "../../src/config/watch.ts";
import { type FileMarks, markRead } from "../../src/files.ts";

const reads = vi.hoisted((): string[] => []);
vi.mock("../../src/files.ts", async (importOriginal) => {
  const files = await importOriginal<typeof import("../../src/files.ts")>();
  return {
    ...files,
    readFile: (file: string) => {
      reads.push(file);
      return files.readFile(file);
    },
  };
});

let folder: string;
const open: FileWatch[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-watch-"));
});
afterEach(() => {
  for (const watch of open.splice(0)) watch.close();
  rmSync(folder, { recursive: true, force: true });
  vi.useRealTimers();
  reads.length = 0;
});

/** Watches, and waits for changes one after another. */
async function start(files: () => readonly string[] | FileMarks | Promise<FileMarks>, options: WatchOptions = {}) {
  let changes = 0;
  let seen = 0;
  let wake = () => {};
  const watch = watchFiles(
    () => {
      const named = files();
      return Array.isArray(named) ? new Map(named.map((file: string) => [file, null])) : (named as FileMarks);
    },
    () => {
      changes += 1;
      wake();
    },
    options,
  );
  open.push(watch);
  await watch.check();
  return {
    watch,
    changes: () => changes,
    /** Ends with the next change; the test's own time-out fails it otherwise. */
    async next(): Promise<void> {
      while (changes <= seen) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      seen = changes;
    },
  };
}

const readMark = (file: string) => markRead(readFileSync(file));
const withKeyring = (path: string) => `keys: { source: { type: file, path: ${path} } }\n`;

const NO_POLL = { pollMs: 1_000_000 };
const NO_EVENTS = { pollMs: 20, watchFolder: () => () => {} };

describe.each([
  ["by events alone", NO_POLL],
  ["by polling alone", NO_EVENTS],
])("%s it sees", (_, options) => {
  test("a file written in place", async () => {
    const file = join(folder, "a");
    writeFileSync(file, "1");
    const watching = await start(() => [file], options);
    writeFileSync(file, "2");
    await watching.next();
    writeFileSync(file, "3");
    await watching.next();
  }, 2000);

  test("a file replaced by rename", async () => {
    const file = join(folder, "a");
    writeFileSync(file, "1");
    const watching = await start(() => [file], options);
    for (const text of ["2", "3", "4"]) {
      writeFileSync(join(folder, "a.new"), text);
      renameSync(join(folder, "a.new"), file);
      await watching.next();
    }
  }, 3000);

  test("the link that Kubernetes swaps above a ConfigMap, more than once", async () => {
    const version = (name: string, text: string) => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "sentinel.yaml"), text);
      symlinkSync(name, join(folder, "..data_tmp"));
      renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
    };
    version("..2026_1", "1");
    symlinkSync(join("..data", "sentinel.yaml"), join(folder, "sentinel.yaml"));
    const watching = await start(() => [join(folder, "sentinel.yaml")], options);
    for (const n of [2, 3, 4]) {
      version(`..2026_${n}`, String(n));
      rmSync(join(folder, `..2026_${n - 1}`), { recursive: true });
      await watching.next();
    }
  }, 3000);

  test("a file that vanishes and comes back", async () => {
    const file = join(folder, "a");
    writeFileSync(file, "1");
    const watching = await start(() => [file], options);
    rmSync(file);
    await watching.next();
    writeFileSync(file, "1");
    await watching.next();
  }, 2000);

  test("both halves of a slow write", async () => {
    const file = join(folder, "a");
    writeFileSync(file, "1");
    const watching = await start(() => [file], options);
    writeFileSync(file, "keys:\n  sour");
    await watching.next();
    writeFileSync(file, "ce: {}\n", { flag: "a" });
    await watching.next();
  }, 2000);
});

test("a folder that is replaced as a whole is seen again", async () => {
  const inner = join(folder, "inner");
  mkdirSync(inner);
  writeFileSync(join(inner, "a"), "1");
  const watching = await start(() => [join(inner, "a")], { pollMs: 20 });
  for (const text of ["2", "3"]) {
    rmSync(inner, { recursive: true });
    mkdirSync(inner);
    writeFileSync(join(inner, "a"), text);
    await watching.next();
  }
});

test("the same contents written again are no change", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  const watching = await start(() => [file], NO_POLL);
  writeFileSync(file, "1");
  await watching.watch.check();
  expect(watching.changes()).toBe(0);
});

test("a file is read again only where the file system says that it is another, or was written just now", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  const watching = await start(() => [file], { ...NO_POLL, watchFolder: () => () => {} });
  const { length: whileYoung } = reads;
  await watching.watch.check();
  expect(reads).toHaveLength(whileYoung + 1);

  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3000 });
  await watching.watch.check();
  const { length: onceOld } = reads;
  await watching.watch.check();
  expect(reads).toHaveLength(onceOld);
  writeFileSync(file, "2");
  await watching.watch.check();
  expect(watching.changes()).toBe(1);
});

test("what a reload that somebody else asked for has read is not told again", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  let files = new Map([[file, readMark(file)]]);
  const watching = await start(() => files, { ...NO_POLL, watchFolder: () => () => {} });
  writeFileSync(file, "2");
  files = new Map([[file, readMark(file)]]);
  await watching.watch.check();
  expect(watching.changes()).toBe(0);
  // Put back after it was read: what the last look saw, but not what is in use.
  writeFileSync(file, "3");
  files = new Map([[file, readMark(file)]]);
  writeFileSync(file, "2");
  await watching.watch.check();
  expect(watching.changes()).toBe(1);
});

test("a look waits for a reload that reads, and tells nothing that it has read", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  let files: FileMarks | Promise<FileMarks> = new Map([[file, readMark(file)]]);
  const watching = await start(() => files, { ...NO_POLL, watchFolder: () => () => {} });
  let reloaded = (_: FileMarks) => {};
  files = new Promise<FileMarks>((resolve) => {
    reloaded = resolve;
  });
  writeFileSync(file, "2");
  const look = watching.watch.check();
  reloaded(new Map([[file, readMark(file)]]));
  await look;
  expect(watching.changes()).toBe(0);
});

test("what is put back while a reload reads is told", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  const files = new Map([[file, readMark(file)]]);
  const watching = await start(() => files, { ...NO_POLL, watchFolder: () => () => {} });
  for (const text of ["2", "1"]) {
    writeFileSync(file, text);
    await watching.watch.check();
  }
  expect(watching.changes()).toBe(2);
});

test("files that join are followed, and compared with what the reload that named them read", async () => {
  const [a, b] = [join(folder, "a"), join(folder, "b")];
  writeFileSync(a, "1");
  writeFileSync(b, "1");
  let files = new Map<string, string | null>([[a, null]]);
  const watching = await start(() => files, { ...NO_POLL, watchFolder: () => () => {} });
  files = new Map([
    [a, null],
    [b, readMark(b)],
  ]);
  writeFileSync(b, "2");
  await watching.watch.check();
  expect(watching.changes()).toBe(1);
  await watching.watch.check();
  expect(watching.changes()).toBe(1);
  files = new Map([[a, null]]);
  writeFileSync(b, "3");
  await watching.watch.check();
  expect(watching.changes()).toBe(1);
});

test("a change between reading and watching is seen", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  const files = new Map([[file, readMark(file)]]);
  writeFileSync(file, "2");
  const watching = await start(() => files, NO_POLL);
  expect(watching.changes()).toBe(1);
});

test("a file that could not be read, and is there by the time it is watched, is a change", async () => {
  const configuration = join(folder, "sentinel.yaml");
  writeFileSync(configuration, withKeyring("keys.yaml"));
  const { files } = await checkConfiguration(configuration, {});
  writeFileSync(join(folder, "keys.yaml"), "");
  const watching = await start(() => files, NO_POLL);
  expect(watching.changes()).toBe(1);
});

test("a pipe, which gives what it holds once, never changes", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  const watching = await start(() => new Map([[pipe, "what was read"]]), NO_POLL);
  await watching.watch.check();
  expect(watching.changes()).toBe(0);
});

test("files written a moment before they were read are no change", async () => {
  const configuration = join(folder, "sentinel.yaml");
  writeFileSync(join(folder, "keys.yaml"), "keys: []\n");
  writeFileSync(join(folder, "crt"), "a certificate");
  writeFileSync(configuration, `${withKeyring("keys.yaml")}tls: { cert: { file: crt }, key: { file: none } }\n`);
  const { files } = await checkConfiguration(configuration, {});
  expect([...files.keys()]).toEqual(["sentinel.yaml", "crt", "none", "keys.yaml"].map((name) => join(folder, name)));
  const watching = await start(() => files, NO_POLL);
  expect(watching.changes()).toBe(0);
});

test("nothing is told after close", async () => {
  const file = join(folder, "a");
  writeFileSync(file, "1");
  const watching = await start(() => [file], { pollMs: 1 });
  writeFileSync(file, "2");
  const looking = watching.watch.check();
  watching.watch.close();
  await looking;
  await watching.watch.check();
  expect(watching.changes()).toBe(0);
});
