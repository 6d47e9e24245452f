import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";

describe("a command whose output can not be written", () => {
  it.skipIf(!existsSync("/dev/full"))("ends with 1 and a sentence where the disk is full", () => {
    const line = `"${process.execPath}" dist/sentinel.js schema > /dev/full`;
    const { status, stderr } = spawnSync("/bin/sh", ["-c", line], { encoding: "utf8" });
    expect(stderr).toBe("The output can not be written: ENOSPC: no space left on device, write.\n");
    expect(status).toBe(1);
  });

  it("ends without a word where its reader has left", async () => {
    const child = spawn(process.execPath, ["dist/sentinel.js", "schema"], { stdio: ["ignore", "pipe", "pipe"] });
    // Long before the program has started, let alone written.
    child.stdout.destroy();
    const chunks: Buffer[] = [];
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
    const [code] = (await once(child, "close")) as [number | null];
    expect(Buffer.concat(chunks).toString()).toBe("");
    expect(code).toBe(1);
  });
});
