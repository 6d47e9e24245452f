// node websocket.mjs echo PORT: an upstream that takes any handshake and sends back whatever comes.
// node websocket.mjs load PORT AUTHORIZATION SECONDS: keeps one message under way on each of 64 connections; prints how
// many came back. A tunnel hands bytes on, so the messages need no other form than that of the handshake.
import { createHash } from "node:crypto";
import { connect, createServer } from "node:net";

const CONNECTIONS = 64;
const MESSAGE = Buffer.alloc(64, "m");
const [role, port, authorization, seconds] = process.argv.slice(2);
if (role === "echo") serve();
else await load();

function serve() {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", (head) => {
      const key = /^sec-websocket-key: *(\S+)/im.exec(head.toString("latin1"))?.[1] ?? "";
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.on("data", (chunk) => socket.write(chunk));
    });
  });
  server.listen(Number(port), "127.0.0.1");
}

async function load() {
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open()));
  let echoes = 0;
  for (const socket of sockets) {
    let received = 0;
    socket.on("data", (chunk) => {
      received += chunk.length;
      if (received < MESSAGE.length) return;
      received -= MESSAGE.length;
      echoes++;
      socket.write(MESSAGE);
    });
    socket.on("close", () => process.exit(1));
    socket.write(MESSAGE);
  }
  setTimeout(() => {
    console.log(echoes);
    process.exit(0);
  }, Number(seconds) * 1000);
}

function open() {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
    socket.on("error", reject);
    socket.once("connect", () =>
      socket.write(
        `GET /v2/socket HTTP/1.1\r\nHost: bench\r\nAuthorization: ${authorization}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
      ),
    );
    socket.once("data", (head) => {
      if (head.toString("latin1").startsWith("HTTP/1.1 101 ")) resolve(socket);
      else reject(new Error(head.toString("latin1").split("\r\n")[0]));
    });
  });
}
