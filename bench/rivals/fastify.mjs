// node fastify.mjs PORT UPSTREAM_PORT KEYRING: @fastify/http-proxy (undici) and the features.
import proxy from "@fastify/http-proxy";
import fastify from "fastify";
import { createFeatures } from "./features.mjs";

const [port, upstreamPort, keyring] = process.argv.slice(2);
const admit = createFeatures(keyring);
const app = fastify();
await app.register(proxy, {
  upstream: `http://127.0.0.1:${upstreamPort}`,
  undici: { connections: 128 },
  preHandler: (request, reply, done) => {
    if (admit(request.raw, reply.raw) !== null) reply.hijack();
    else done();
  },
});
await app.listen({ port: Number(port), host: "127.0.0.1" });
