// Redis frozen for 30 s, then killed and started again, under 500 requests a second: what clients of a whole gateway see.
// Nine in ten requests come with a key that the gateway knows, one in ten with a key that it was never asked for.
//   node bench/outages.mjs [SECONDS]
import * as rig from "./keys-rig.mjs";

const seconds = Number(process.argv[2] ?? 30);
const RATE = 500;
const KNOWN = 20;

const redis = await rig.startRedis();
const config = await rig.writeConfig(redis, await rig.startUpstream());
const gateway = await rig.startGateway(config);
const create = async () =>
  (await rig.sentinel("keys", "create", "-c", config.file, "--permission", "api.bench.read_api", "--json")).key;
const known = [];
for (let index = 0; index < KNOWN; index += 1) known.push(await create());
for (const key of known) await rig.get(gateway.port, "/x", key);
await load(3);

await phase("at rest, 10 s", 10);
redis.signal("SIGSTOP");
await phase(`frozen, ${seconds} s`, seconds);
redis.signal("SIGCONT");
await phase("thawed, 10 s", 10);
await redis.cli("SAVE");
redis.signal("SIGKILL");
await phase(`killed, ${seconds} s`, seconds);
await redis.restart();
await phase("started again, 10 s", 10);
rig.print("the gateway", { "resident memory": `${rig.residentMiB(gateway.pid).toFixed(0)} MiB` });
rig.close();
process.exit(0);

async function phase(name, forSeconds) {
  const { known: ofKnown, unknown } = await load(forSeconds);
  rig.print(name, { "keys in memory": format(ofKnown), "keys never asked for": format(unknown) });
}

function format({ statuses, waits }) {
  const [p50, p99, most] = [rig.quantile(waits, 0.5), rig.quantile(waits, 0.99), Math.max(...waits)];
  return `${JSON.stringify(statuses)}; p50 / p99 / most ${[p50, p99, most].map((ms) => ms.toFixed(1)).join(" / ")} ms`;
}

/** Requests at their times, each timed from when it was due. */
async function load(forSeconds) {
  const seen = { known: { statuses: {}, waits: [] }, unknown: { statuses: {}, waits: [] } };
  const startedAt = performance.now();
  const running = [];
  for (let index = 0; index < forSeconds * RATE; index += 1) {
    const due = startedAt + (index * 1000) / RATE;
    const early = due - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    // A timer may fire early: then the request is timed from when it was sent.
    const from = Math.min(due, performance.now());
    const isKnown = index % 10 !== 0;
    const key = isKnown ? known[index % KNOWN] : rig.madeUpKey();
    const { statuses, waits } = isKnown ? seen.known : seen.unknown;
    running.push(
      rig.get(gateway.port, "/x", key).then(
        (status) => {
          statuses[status] = (statuses[status] ?? 0) + 1;
          waits.push(performance.now() - from);
        },
        (error) => {
          statuses[error.code] = (statuses[error.code] ?? 0) + 1;
        },
      ),
    );
  }
  await Promise.all(running);
  return seen;
}
