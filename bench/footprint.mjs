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
  await once(socket, "data");
  return socket;
}

/** Milliseconds from starting the process to the end of its first answer, `times` times. */
export async function coldStart(root, context, scenario, times) {
  const results = [];
  for (let time = 0; time < times; time++) {
    const started = performance.now();
    const target = await startSentinel("sentinel", root, context);
    const socket = await used(target.port, scenario);
    results.push(performance.now() - started);
    socket.destroy();
    await stop(target.child);
  }
  return results;
}
