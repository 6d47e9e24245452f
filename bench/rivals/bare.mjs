// node bare.mjs PORT ANSWER: node:http that answers the same status, fields and body to everything; no gateway can be cheaper.
import { readFileSync } from "node:fs";
import http from "node:http";

const [port, file] = process.argv.slice(2);
const { status, headers, body } = JSON.parse(readFileSync(file, "utf8"));
http
  .createServer((_req, res) => {
    res.writeHead(status, headers);
    res.end(body);
  })
  .listen(Number(port), "127.0.0.1");
