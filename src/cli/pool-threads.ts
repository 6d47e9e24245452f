/** Half of them may look names up: so many names may have a silent name server before others wait for a thread. */
const THREADS = 16;

/**
 * Gives libuv's pool 16 threads in place of 4, unless the operator has said how many. Before anything uses the pool, which
 * reads its size then and never again; the workers of a gateway inherit it.
 */
export function sizeThreadPool(env: NodeJS.ProcessEnv = process.env): void {
  env.UV_THREADPOOL_SIZE ??= String(THREADS);
}
