import { once } from "node:events";
import { connect } from "node:net";
import { residentBytes, stop } from "./processes.mjs";
import { startSentinel } from "./targets.mjs";

/** Resident bytes more for each of `count` connections that were used once and now wait. */
export async function idleConnectionBytes(target, count, scenario) {
  const before = residentBytes(target.pid);
  const sockets = [];
  for (let opened = 0; opened < count; opened += 100) {
    const some = await Promise.all(
      Array.from({ length: Math.min(100, count - opened) }, () => used(target.port, scenario)),
    );
    sockets.push(...some);
  }
  const after = residentBytes(target.pid);
  for (const socket of sockets) socket.destroy();
  return (after - before) / count;
}

async function used(port, { path, authorization }) {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nAuthorization: ${authorization}\r\n\r\n`);
  const [answer] = await once(socket, "data");
  // A refusal, or a 502, would be sooner.
  if (!/^HTTP\/1\.1 200 [\s\S]*\r\nX-Upstream: bench\r\n/i.test(answer.toString("latin1")))
    throw new Error(`a request was answered with ${answer.toString("latin1", 0, 60)}`);
  return socket;
}

/** Milliseconds from the spawn of the process to the first byte of its first answer, admitted and forwarded, `times` times. */
export async function coldStart(root, context, scenario, times) {
  const results = [];
  for (let time = 0; time < times; time++) {
    const target = await startSentinel("sentinel", root, context);
    const socket = await used(target.port, scenario);
    results.push(performance.now() - target.startedAt);
    socket.destroy();
    await stop(target.child);
  }
  return results;
}
