// Made-up keys at 5,000 a second for a minute, beside 100 requests a second with valid keys: what it does to the
// latter's latency, to the gateway's memory, and to what Redis holds. Beside it the same rate with one valid key, so that
// what is due to the load can be told from what is due to the keys being made up.
// Memory has its limit where it says something of the gateway: what it holds, measured behind a collection while the keys
// still pour in, against the same at rest. The most that was resident has none: it is for the greater part garbage, which
// V8 leaves until the heap has grown enough, and of which there is the more the slower a busy machine lets requests end.
//   node bench/flood.mjs [SECONDS] [RATE]
import { fork } from "node:child_process";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import * as rig from "./keys-rig.mjs";

if (process.send !== undefined) {
  await flood(JSON.parse(process.argv[2]));
} else {
  await measure(Number(process.argv[2] ?? 60), Number(process.argv[3] ?? 5000));
}

async function measure(seconds, rate) {
  const redis = await rig.startRedis();
  const config = await rig.writeConfig(redis, await rig.startUpstream());
  const gateway = await rig.startGateway(config, rig.COLLECTS);
  const keys = [];
  for (let index = 0; index < 20; index += 1) {
    const args = ["keys", "create", "-c", config.file, "--permission", "api.bench.read_api", "--json"];
    keys.push((await rig.sentinel(...args)).key);
  }
  await valid(gateway.port, keys, 3);
  const quiet = await valid(gateway.port, keys, 15);
  // A collection may itself take more than it frees: at rest the less counts.
  const idleMiB = Math.min(rig.residentMiB(gateway.pid), await rig.heldMiB(gateway));
  const loaded = await underLoad({ rate, seconds: Math.ceil(seconds / 3), key: keys[0] });
  const namesBefore = await redis.cli("DBSIZE");
  const flooded = await underLoad({ rate, seconds, key: null });
  rig.print(`100 requests a second with valid keys; the p50 / p99 of their latency`, {
    alone: `${format(quiet, 0.5)} / ${format(quiet, 0.99)}`,
    [`beside ${loaded.perSecond} a second with a valid key`]: `${format(loaded.waits, 0.5)} / ${format(loaded.waits, 0.99)}`,
    [`beside ${flooded.perSecond} a second with made-up keys, ${seconds} s`]: `${format(flooded.waits, 0.5)} / ${format(flooded.waits, 0.99)}`,
    "p99 beside made-up keys, against alone (limit 2)": `${(rig.quantile(flooded.waits, 0.99) / rig.quantile(quiet, 0.99)).toFixed(2)}`,
    "held beside made-up keys, over idle (limit 64)": `${(flooded.heldMiB - idleMiB).toFixed(0)} MiB`,
    "answers to made-up keys": JSON.stringify(flooded.statuses),
    "the gateway's CPU, valid / made-up": `${loaded.cpu.toFixed(0)} % / ${flooded.cpu.toFixed(0)} % of one`,
    "held, idle / valid / made-up": [idleMiB, loaded.heldMiB, flooded.heldMiB]
      .map((mib) => `${mib.toFixed(0)} MiB`)
      .join(" / "),
    "most resident, valid / made-up": `${loaded.mostMiB.toFixed(0)} MiB / ${flooded.mostMiB.toFixed(0)} MiB`,
    "keys in Redis before / after": `${namesBefore} / ${await redis.cli("DBSIZE")}`,
  });
  rig.close();
  process.exit(0);

  async function underLoad(load) {
    const child = fork(fileURLToPath(import.meta.url), [JSON.stringify({ port: gateway.port, ...load })]);
    const done = new Promise((resolve) => child.once("message", resolve));
    let mostMiB = 0;
    const watch = setInterval(() => {
      mostMiB = Math.max(mostMiB, rig.residentMiB(gateway.pid));
    }, 250);
    const cpuBefore = rig.cpuSeconds(gateway.pid);
    const waits = await valid(gateway.port, keys, load.seconds - 2);
    const cpu = ((rig.cpuSeconds(gateway.pid) - cpuBefore) / (load.seconds - 2)) * 100;
    // The latencies are taken, and the load goes on for two more seconds.
    clearInterval(watch);
    const heldMiB = await rig.heldMiB(gateway);
    const { answered, statuses } = await done;
    return { waits, statuses, mostMiB, heldMiB, cpu, perSecond: Math.round(answered / load.seconds) };
  }
}

function format(values, q) {
  return `${rig.quantile(values, q).toFixed(2)} ms`;
}

/** Valid keys at 100 a second, each timed from when it was due. */
async function valid(port, keys, seconds) {
  const waits = [];
  const startedAt = performance.now();
  const running = [];
  for (let index = 0; index < seconds * 100; index += 1) {
    const due = startedAt + index * 10;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    // A timer may fire early: then the request is timed from when it was sent.
    const from = Math.min(due, performance.now());
    running.push(
      rig.get(port, "/x", keys[index % keys.length]).then((status) => {
        if (status !== 200) throw new Error(`a valid key got ${status}`);
        waits.push(performance.now() - from);
      }),
    );
  }
  await Promise.all(running);
  return waits;
}

/** In a process of its own, on raw sockets: a client that costs little. */
async function flood({ port, rate, seconds, key }) {
  const statuses = {};
  let answered = 0;
  let asked = 0;
  const sockets = Array.from({ length: 32 }, () => {
    const socket = connect(port, "127.0.0.1");
    socket.on("data", (chunk) => {
      for (const [, status] of chunk.toString("latin1").matchAll(/HTTP\/1\.1 (\d+)/g)) {
        answered += 1;
        statuses[status] = (statuses[status] ?? 0) + 1;
      }
    });
    return socket;
  });
  const startedAt = performance.now();
  await new Promise((resolve) => {
    const timer = setInterval(() => {
      const elapsed = performance.now() - startedAt;
      if (elapsed > seconds * 1000) {
        clearInterval(timer);
        resolve();
        return;
      }
      // Not further ahead than what pipelining allows: a slow gateway is not asked without end.
      for (const due = (elapsed * rate) / 1000; asked < due && asked - answered < 32 * 50; asked += 1) {
        sockets[asked % sockets.length].write(
          `GET /x HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ${key ?? rig.madeUpKey()}\r\n\r\n`,
        );
      }
    }, 5);
  });
  process.send({ answered, statuses });
  process.exit(0);
}
