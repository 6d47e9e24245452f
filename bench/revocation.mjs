// How long a revoked key is still accepted: three gateways under load, 100 keys disabled one after the other with
// `sentinel keys disable --wait`. Measured from the entry in the stream to the last 200 that any client saw.
//   node bench/revocation.mjs [KEYS]
import {
  close,
  get,
  print,
  quantile,
  sentinel,
  startGateway,
  startRedis,
  startUpstream,
  writeConfig,
} from "./keys-rig.mjs";

const count = Number(process.argv[2] ?? 100);
const redis = await startRedis();
const upstream = await startUpstream();
const configs = [];
for (let index = 0; index < 3; index += 1) configs.push(await writeConfig(redis, upstream));
const gateways = await Promise.all(configs.map(startGateway));
const file = configs[0].file;

const lastAccepted = new Map();
let current = null;
let answers = 0;
let running = true;
const loops = gateways.flatMap(({ port }) =>
  Array.from({ length: 4 }, async () => {
    while (running) {
      const key = current;
      if (key !== null) {
        const status = await get(port, "/x", key);
        answers += 1;
        if (status === 200) lastAccepted.set(key, Date.now());
      }
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  }),
);

const lateMs = [];
const waitMs = [];
const startedAt = performance.now();
for (let index = 0; index < count; index += 1) {
  const { keyId, key } = await sentinel("keys", "create", "-c", file, "--permission", "api.bench.read_api", "--json");
  current = key;
  while (!lastAccepted.has(key)) await new Promise((resolve) => setTimeout(resolve, 5));
  const report = await sentinel("keys", "disable", keyId, "--wait", "-c", file, "--json");
  if (report.instances !== 3 || report.acknowledged !== 3) throw new Error(`not all acted: ${JSON.stringify(report)}`);
  waitMs.push(report.ms);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const entry = await redis.cli("XREVRANGE", "sentinel:changes", "+", "-", "COUNT", "1");
  lateMs.push(Math.max(0, lastAccepted.get(key) - Number(entry.split("-")[0])));
}
const seconds = (performance.now() - startedAt) / 1000;
running = false;
await Promise.all(loops);
print(`${count} revocations, three gateways, ${Math.round(answers / seconds)} requests a second in all`, {
  "from the write to the last acceptance anywhere, p50": `${quantile(lateMs, 0.5)} ms`,
  p99: `${quantile(lateMs, 0.99)} ms`,
  max: `${Math.max(...lateMs)} ms`,
  "what --wait reported, p50": `${quantile(waitMs, 0.5)} ms`,
  "--wait, p99": `${quantile(waitMs, 0.99)} ms`,
});
close();
process.exit(quantile(lateMs, 0.99) < 1000 ? 0 : 1);
