import { writeSync } from "node:fs";
import { type CommandIo, EXIT } from "./exit.ts";

/** This process's own streams, environment and working directory. */
export function processIo(): CommandIo {
  return {
    out: (text) => guarded(process.stdout).write(text),
    err: (text) => guarded(process.stderr).write(text),
    env: process.env,
    cwd: process.cwd(),
    stdin: readStandardInput,
    colour: process.stdout.isTTY === true && !process.env.NO_COLOR,
  };
}

/** What can not be written ends the command: a full disk with a sentence, a reader that has left (`| head`) without one. */
function guarded(stream: NodeJS.WriteStream): NodeJS.WriteStream {
  if (stream.listenerCount("error", end) === 0) stream.on("error", end);
  return stream;
}

function end(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") {
    try {
      writeSync(2, `The output can not be written: ${error.message}.\n`);
    } catch {
      // Standard error is what can not be written: the status says that something went wrong.
    }
  }
  process.exit(EXIT.notSo);
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
