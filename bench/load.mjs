// The two kinds of load: as much as goes (wrk, closed loop) for cost, and a fixed rate (open-loop.c) for latency.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { cpuMicroseconds, LOAD_CPU } from "./processes.mjs";

const run = promisify(execFile);

/** What 64 clients in a closed loop get out of the target; `microseconds` is its CPU time per answer. */
export async function saturate(target, scenario, seconds) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await saturateOnce(target, scenario, seconds);
    } catch (error) {
      // The gateway turns requests away while something else holds the CPU for long: such a figure does not count.
      if (attempt === 3) throw error;
    }
  }
}

async function saturateOnce(target, scenario, seconds) {
  const before = cpuMicroseconds(target.pid);
  const script = scenario.script === undefined ? [] : ["-s", scenario.script];
  const header = scenario.authorization === undefined ? [] : ["-H", `Authorization: ${scenario.authorization}`];
  const url = `http://127.0.0.1:${target.port}${scenario.path}`;
  const wrk = ["-t1", `-c${scenario.connections ?? 64}`, `-d${seconds}`, ...script, ...header, url];
  const { stdout } = await run("taskset", ["-c", String(LOAD_CPU), "wrk", ...wrk]);
  const used = cpuMicroseconds(target.pid) - before;
  const answers = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  const others = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0);
  // A time-out is an answer that took over two seconds, as happens on a busy machine; it came all the same.
  const lost = /Socket errors: (?!connect 0, read 0, write 0)/.test(stdout);
  if (lost || answers === 0 || others !== (scenario.refused === true ? answers : 0)) {
    throw new Error(`${target.name}, ${scenario.name}: not the answers that were to be measured\n${stdout}`);
  }
  return { microseconds: used / answers, perSecond: answers / seconds, answers };
}

/** Latencies at `rate` requests a second, from the moment each was due. Microseconds. */
export async function atRate(generator, target, scenario, rate, seconds) {
  const header = scenario.authorization === undefined ? [] : [`Authorization: ${scenario.authorization}`];
  const args = [target.port, rate, seconds, 64, scenario.path].map(String);
  const { stdout } = await run("taskset", ["-c", String(LOAD_CPU), generator, ...args, ...header]);
  const result = JSON.parse(stdout);
  if (result.failed > 0) throw new Error(`${target.name}: ${result.failed} answers were not 2xx`);
  return result;
}
