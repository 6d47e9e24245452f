import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { Script } from "node:vm";

/**
 * Runs a file of the bundle, which is a function of what a CommonJS module is given, in ASCII, and gives what it exports.
 * The build has kept what V8 made of it when it ran (`compiledName`): with that a gateway starts without compiling
 * anything, a third sooner. Any other version of Node compiles the file itself.
 */
export function loadCompiled(file: string): unknown {
  return runCompiled(file).exports;
}

/** As `loadCompiled`, with the script: the build asks it for what V8 has made. */
export function runCompiled(file: string): { readonly script: Script; readonly exports: unknown } {
  const source = readFileSync(file);
  const cachedData = readCompiled(file, source);
  const script = new Script(source.toString("latin1"), { filename: file, ...(cachedData !== null && { cachedData }) });
  const module = { exports: {} as unknown };
  script.runInThisContext()(module.exports, createRequire(file), module, file, dirname(file));
  return { script, exports: module.exports };
}

/** What `readCompiled` takes: V8's data behind a digest of it and the source. */
export function formatCompiled(source: Buffer, data: Buffer): Buffer {
  return Buffer.concat([digest(source, data), data]);
}

/** Beside the file, for this version of Node and this architecture only. */
export function compiledName(file: string): string {
  return `${file}.${process.version}-${process.arch}`;
}

const DIGEST_BYTES = 32;

/** V8 looks at its version and the source's length alone: what it made of another text would run in place of this one. */
function readCompiled(file: string, source: Buffer): Buffer | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(compiledName(file));
  } catch {
    // There is none for this Node, or it can not be read: the start takes longer, and nothing else is different.
    return null;
  }
  const data = bytes.subarray(DIGEST_BYTES);
  return digest(source, data).equals(bytes.subarray(0, DIGEST_BYTES)) ? data : null;
}

function digest(source: Buffer, data: Buffer): Buffer {
  return createHash("sha256").update(source).update(data).digest();
}
