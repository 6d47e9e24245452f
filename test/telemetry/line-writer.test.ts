import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createLineWriter, type LineWriterOptions } from "../../src/telemetry/line-writer.ts";
import { bundle, ControlledSink } from "./support.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function setUp(options: Partial<LineWriterOptions> = {}) {
  const sink = new ControlledSink();
  const dropped: number[] = [];
  const writer = createLineWriter({ sink, onDropped: (lines) => dropped.push(lines), ...options });
  return { sink, writer, lost: () => dropped.reduce((sum, lines) => sum + lines, 0) };
}

describe("batches", () => {
  it("writes nothing before 256 lines or 10 ms, and then all of them at once", () => {
    const { sink, writer } = setUp();
    for (let n = 0; n < 255; n++) writer.write(`${n}\n`);
    expect(sink.writing).toBe(false);
    writer.write("255\n");
    expect(sink.writing).toBe(true);
    sink.take();
    expect(sink.text.split("\n")).toHaveLength(257);
    writer.write("late\n");
    vi.advanceTimersByTime(9);
    expect(sink.writing).toBe(false);
    vi.advanceTimersByTime(1);
    sink.take();
    expect(sink.text.endsWith("255\nlate\n")).toBe(true);
  });

  it("goes on where the sink stopped in the middle of a batch", () => {
    const { sink, writer } = setUp({ batchLines: 2 });
    writer.write("abc\n");
    writer.write("d\n");
    sink.take(2);
    sink.take();
    expect(sink.text).toBe("abc\nd\n");
  });

  it("cuts a write behind a line where several processes share the sink", () => {
    const { sink, writer } = setUp({ batchLines: 4, maxWriteBytes: 10 });
    for (const line of ["1234\n", "567\n", "89\n", "longer than ten\n"]) writer.write(line);
    const writes = [];
    while (sink.writing) {
      sink.text = "";
      sink.take();
      writes.push(sink.text);
    }
    expect(writes).toEqual(["1234\n567\n", "89\n", "longer than ten\n"]);
  });

  it("writes what came while a batch was under way, in order", () => {
    const { sink, writer } = setUp({ batchLines: 1 });
    writer.write("1\n");
    writer.write("2\n");
    writer.write("3\n");
    sink.take();
    sink.take();
    expect(sink.text).toBe("1\n2\n3\n");
  });
});

describe("a sink that takes no more", () => {
  it("costs the lines past the bound, which are counted, and nobody waits", () => {
    const { sink, writer, lost } = setUp({ batchLines: 1, maxWaiting: 30 });
    writer.write("in the sink\n");
    for (let n = 0; n < 100; n++) writer.write("0123456789\n");
    expect(lost()).toBe(98);
    sink.take();
    sink.take();
    expect(sink.text).toBe("in the sink\n0123456789\n0123456789\n");
    writer.write("again\n");
    sink.take();
    expect(sink.text.endsWith("again\n")).toBe(true);
  });

  it("is asked again later when it says EAGAIN, and nothing is lost", () => {
    const { sink, writer, lost } = setUp({ batchLines: 1 });
    writer.write("1\n");
    sink.fail("EAGAIN");
    writer.write("2\n");
    expect(sink.writing).toBe(false);
    vi.advanceTimersByTime(100);
    sink.take();
    sink.take();
    expect(sink.text).toBe("1\n2\n");
    expect(lost()).toBe(0);
  });

  it.each(["EPIPE", "ENOSPC", "EIO"])("loses the batch on %s, counts it, and tries again with the next", (code) => {
    const { sink, writer, lost } = setUp({ batchLines: 2 });
    writer.write("1\n");
    writer.write("2\n");
    writer.write("3\n");
    sink.fail(code);
    expect(lost()).toBe(2);
    vi.advanceTimersByTime(100);
    sink.take();
    expect(sink.text).toBe("3\n");
  });
});

describe("flush", () => {
  it("resolves once everything is written", async () => {
    const { sink, writer } = setUp({ batchLines: 1 });
    writer.write("1\n");
    writer.write("2\n");
    const flushed = writer.flush(1000);
    sink.take();
    sink.take();
    await flushed;
    expect(sink.text).toBe("1\n2\n");
  });

  it("resolves at its deadline when the sink is blocked", async () => {
    const { writer } = setUp();
    writer.write("1\n");
    const flushed = writer.flush(1000);
    vi.advanceTimersByTime(1000);
    await flushed;
  });

  it("resolves at once when there is nothing to write", async () => {
    await setUp().writer.flush(1000);
  });

  it("resolves when the sink is broken", async () => {
    const { sink, writer } = setUp();
    writer.write("1\n");
    const flushed = writer.flush(1000);
    sink.fail("EPIPE");
    await flushed;
  });
});

describe("flushSync", () => {
  it("writes what waits", () => {
    const { sink, writer } = setUp();
    writer.write("1\n");
    writer.flushSync(10);
    expect(sink.text).toBe("1\n");
    writer.flushSync(10);
    expect(sink.text).toBe("1\n");
  });

  it("gives up, counted, what waits behind a batch that is inside the sink", () => {
    const { sink, writer, lost } = setUp({ batchLines: 2 });
    for (let n = 0; n < 40; n++) writer.write(`${n}\n`);
    writer.flushSync(10);
    expect(lost()).toBe(38);
    sink.take();
    expect(sink.text).toBe("0\n1\n");
    expect(sink.writing).toBe(false);
    expect(lost()).toBe(38);
  });

  it("gives up, counted, when the sink is blocked or broken", () => {
    for (const code of ["EAGAIN", "EPIPE"]) {
      const { sink, writer, lost } = setUp();
      sink.syncFails = code;
      writer.write("1\n");
      vi.useRealTimers();
      writer.flushSync(10);
      expect(lost()).toBe(1);
    }
  });
});

describe("close", () => {
  it("writes what waits, then closes the sink", async () => {
    const { sink, writer } = setUp();
    writer.write("1\n");
    const closed = writer.close();
    sink.take();
    await closed;
    expect(sink.text).toBe("1\n");
    expect(sink.closed).toBe(true);
  });
});

describe("openStandardStream", () => {
  beforeEach(() => {
    vi.useRealTimers();
  });

  const program = `
    import { createLineWriter, openStandardStream } from "./src/telemetry/line-writer.ts";
    let dropped = 0;
    const onDropped = (lines: number) => { dropped += lines; };
    const writer = createLineWriter({ sink: openStandardStream(1), onDropped, maxWaiting: 1_000_000 });
    const line = "x".repeat(999) + "\\n";
    for (let n = 0; n < 3000; n++) {
      writer.write(line);
      if (n % 50 === 49) await new Promise(setImmediate);
    }
    await writer.flush(200);
    writer.flushSync(20);
    process.stderr.write(String(dropped));
    process.exit(0);
  `;

  it("lets a process whose pipe is full and never read end by itself, with the lost lines counted", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "lines-")), "pipe");
    execFileSync("mkfifo", [path]);
    const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const pipe = openSync(path, "w");
    const child = spawn(process.execPath, [bundle(program)], { stdio: ["ignore", pipe, "pipe"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const stderr = text(child.stderr as Readable);
    const [code] = await once(child, "exit");
    closeSync(pipe);
    closeSync(reader);
    expect(code).toBe(0);
    expect(Number(await stderr)).toBeGreaterThan(2800);
  });

  it("lets a process whose socket is full and never read end by itself, with the lost lines counted", async () => {
    const child = spawn(process.execPath, [bundle(program)], { stdio: ["ignore", "pipe", "pipe"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const stderr = text(child.stderr);
    const [code] = await once(child, "exit");
    child.stdout.destroy();
    expect(code).toBe(0);
    expect(Number(await stderr)).toBeGreaterThan(2000);
  });

  it("ends by itself when the reader of its pipe is gone", async () => {
    const child = spawn(process.execPath, [bundle(program)], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    onTestFinished(() => void child.kill("SIGKILL"));
    const stderr = text(child.stderr);
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    expect(Number(await stderr)).toBe(3000);
  });

  it("writes whole lines to a file, after what is there", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "lines-")), "log");
    writeFileSync(path, "before\n");
    const file = openSync(path, "a");
    const child = spawn(process.execPath, [bundle(program)], { stdio: ["ignore", file, "pipe"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const stderr = text(child.stderr as Readable);
    const [code] = await once(child, "exit");
    closeSync(file);
    expect(code).toBe(0);
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    expect(lines).toHaveLength(3001 - Number(await stderr));
    expect(lines[0]).toBe("before");
    expect(new Set(lines.slice(1))).toEqual(new Set(["x".repeat(999)]));
  });
});
