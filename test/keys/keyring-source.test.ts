import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hashKey } from "../../src/keys/bearer.ts";
import { createKeyringSource, type KeyringSource } from "../../src/keys/keyring-source.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";

const HASH = hashKey("unkey_a");
const GOOD = `keys: [{ id: key_a, hash: ${HASH} }]\n`;

let folder: string;
let path: string;
let source: KeyringSource;
let now = 1000;
let seen: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "keyring-"));
  path = join(folder, "keys.yaml");
  now = 1000;
  seen = [];
  const observer = { lookup: (tier: string, outcome: string) => void seen.push(`${tier} ${outcome}`) };
  source = createKeyringSource(path, { now: () => now, observer });
});

afterEach(async () => {
  await source.close();
  await rm(folder, { recursive: true });
});

describe("the keyring source", () => {
  it("can not tell before it has read its file", () => {
    expect(source.readiness()).toEqual({ ready: false, reason: "the keyring has not been read yet" });
    expect(() => source.find(HASH)).toThrow(SourceUnavailable);
    expect(seen).toEqual(["file error"]);
  });

  it("answers at once, with the same answer for the same key", async () => {
    await writeFile(path, GOOD);
    expect(await source.load()).toBeNull();
    now = 5000;
    expect(source.readiness()).toEqual({ ready: true, reason: "" });
    const lookup = source.find(HASH);
    expect(lookup).toMatchObject({ record: { id: "key_a" }, asOf: 1000, tier: "file" });
    expect(source.find(HASH)).toBe(lookup);
    expect(source.find(hashKey("unkey_b"))).toEqual({ record: null, asOf: 1000, tier: "file" });
    expect(seen).toEqual(["file hit", "file hit", "file absent"]);
  });

  it("keeps the last good keyring, and says what is wrong with the new one", async () => {
    await writeFile(path, GOOD);
    await source.load();
    await writeFile(path, "keys: [{ id: key_a }]");
    expect(await source.load()).toMatchObject([{ file: path, line: 1, column: 8, message: "a key needs `hash`" }]);
    expect(source.find(HASH).record?.id).toBe("key_a");
    await writeFile(path, "");
    expect(await source.load()).toBeNull();
    expect(source.find(HASH).record).toBeNull();
  });

  it.each([
    ["is not there", async () => {}, "there is no such file"],
    ["is not UTF-8", () => writeFile(path, Buffer.from([0x23, 0xff])), "is not UTF-8"],
  ])("keeps it too when the file %s", async (_, prepare, message) => {
    await writeFile(path, GOOD);
    await source.load();
    await rm(path);
    await prepare();
    expect(await source.load()).toEqual([
      { file: path, line: 1, column: 1, message: expect.stringContaining(message), sourceLine: "" },
    ]);
    expect(source.find(HASH).record?.id).toBe("key_a");
  });

  it("reports a file that can not be read", async () => {
    const unreadable = createKeyringSource(folder, { now: () => now });
    expect(await unreadable.load()).toMatchObject([{ message: "can not be read: EISDIR" }]);
    expect(() => unreadable.find(HASH)).toThrow(SourceUnavailable);
  });

  it("takes up a keyring that it is handed, and no older read after it", async () => {
    await writeFile(path, GOOD);
    const reading = source.load();
    source.replace({ records: [], roles: new Map(), workspaces: new Map() });
    expect(await reading).toBeNull();
    expect(source.find(HASH).record).toBeNull();
  });

  it("needs no observer", async () => {
    await writeFile(path, GOOD);
    const quiet = createKeyringSource(path, { now: () => now });
    await quiet.load();
    expect(quiet.find(HASH).record?.id).toBe("key_a");
  });
});
