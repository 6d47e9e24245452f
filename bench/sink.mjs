// node sink.mjs PORT: an upstream that reads what it is sent, to its end, and says so.
import http from "node:http";

http
  .createServer((req, res) => {
    req.resume();
    req.on("end", () => res.end("taken"));
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
