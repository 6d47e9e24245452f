import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { fieldOf, type RawAnswer, RawClient } from "../support/raw-client.ts";
import { RecordingUpstream, type Script } from "../support/recording-upstream.ts";
import { auth, RIG_KEYRING } from "../support/rig.ts";

/** A row of the contract's table of errors, and a request that ends in it. */
export interface FaultRow {
  /** What the request does. */
  readonly name: string;
  /** The code without `err:`. */
  readonly code: string;
  readonly status: number;
  readonly title: string;
  readonly detail: string | RegExp;
  readonly send: string;
  readonly method?: string;
  /** Fields beyond those of every envelope, in lower case. */
  readonly fields?: Readonly<Record<string, string | RegExp>>;
  /** For a 400: where the mistake is said to be. */
  readonly location?: string | RegExp;
  readonly upstream?: Script;
  /** Requests that reach the upstream; none unless given. */
  readonly up?: number;
}

/** A gateway with a route for each way to fail. */
export async function startFaultyGateway(config: Readonly<Record<string, unknown>> = {}): Promise<{
  gateway: RunningGateway;
  upstream: RecordingUpstream;
  stop: () => Promise<void>;
}> {
  const upstream = await RecordingUpstream.start();
  const gateway = await startGateway({
    config: {
      // Longer than a machine hangs: only a request that does not end is late.
      limits: { headerTimeout: "4s", requestTimeout: "5s" },
      upstreams: [
        {
          name: "recorder",
          targets: [upstream.origin],
          timeouts: { connect: "20s", response: "20s", idle: "20s" },
        },
        { name: "refusing", targets: [`http://127.0.0.1:${await closedPort()}`] },
      ],
      routes: [
        { name: "open", match: { pathPrefix: "/open" }, auth: "none", upstream: "recorder" },
        { name: "any", match: { pathPrefix: "/any" }, upstream: "recorder" },
        { name: "quick", match: { pathPrefix: "/quick" }, timeouts: { response: "300ms" }, upstream: "recorder" },
        {
          name: "update",
          match: { path: "/apis/{apiId}", methods: ["POST", "GET"] },
          permissions: "api.{path.apiId}.update_api",
          upstream: "recorder",
        },
        {
          name: "either",
          match: { path: "/either" },
          permissions: "(api.a.read AND api.b.read) OR api.c.read",
          upstream: "recorder",
        },
        {
          name: "both",
          match: { path: "/both" },
          permissions: "admin.main.use AND doc.main.never",
          upstream: "recorder",
        },
        {
          name: "body",
          match: { path: "/body", methods: ["POST"] },
          permissions: "api.{body.apiId}.create_key",
          maxBodySize: "1KiB",
          upstream: "recorder",
        },
        { name: "refusing", match: { pathPrefix: "/refusing" }, auth: "none", upstream: "refusing" },
      ],
      ...config,
    },
    keyring: RIG_KEYRING,
    expectedErrors: (record) => /unexpected_error|loop_detected/.test(String(record.code)),
  });
  const stop = async () => {
    await upstream.stop();
    await gateway.stop();
  };
  return { gateway, upstream, stop };
}

/** A port of this machine on which nobody listens. */
export async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise<void>((done) => server.close(() => done()));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Sends bytes on a connection of their own and reads the answer. */
export async function ask(gateway: RunningGateway, bytes: string, method = "GET"): Promise<RawAnswer> {
  const client = await RawClient.connect(gateway.port);
  await client.write(bytes);
  const answer = await client.answer(method, 20_000);
  client.destroy();
  if (answer === null) throw new Error("the connection ended without an answer");
  return answer;
}

/** Every row is asked for over the wire, and its answer compared to the letter. */
export function describeFaults(title: string, rows: readonly FaultRow[]): void {
  describe(title, () => {
    let running: Awaited<ReturnType<typeof startFaultyGateway>>;
    beforeAll(async () => {
      running = await startFaultyGateway();
    });
    afterAll(() => running?.stop());

    it.each(rows.map((row) => [row.name, row] as const))("%s", async (_, row) => {
      const { gateway, upstream } = running;
      upstream.reset();
      if (row.upstream !== undefined) upstream.script = row.upstream;
      const before = upstream.requests().length;
      const answer = await ask(gateway, row.send, row.method);
      expectFault(answer, row);
      expect(upstream.requests().length - before).toBe(row.up ?? 0);
      const record = await gateway.waitForRecord((line) => line.requestId === fieldOf(answer, "x-request-id"));
      expect(record).toMatchObject({ status: row.status, code: `err:${row.code}` });
    });
  });
}

type Expected = Pick<FaultRow, "code" | "status" | "title" | "detail" | "fields" | "location" | "method">;

/** Two servers may read such a request differently; of a body that is too large, however much of it had come. */
const ENDS_CONNECTION = /:(?:invalid_request|ambiguous_path|request_body_too_large)$/;

/** The whole answer: status line, fields, and the body byte for byte. */
export function expectFault(
  answer: RawAnswer,
  row: Expected,
  type = `https://unkey.com/docs/errors/${row.code.replaceAll(":", "/")}`,
): void {
  const requestId = fieldOf(answer, "x-request-id") ?? "";
  expect(requestId).toMatch(/^req_[0-9a-z]{15}$/);
  expect(answer.status).toBe(row.status);
  expect(answer.version).toBe("HTTP/1.1");
  if (row.method !== "HEAD") expectBody(answer, row, requestId, type);
  const fields = Object.fromEntries(answer.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const { date, connection, "keep-alive": keepAlive, "content-length": length, ...rest } = fields;
  expect(date).toMatch(/ GMT$/);
  expect(ENDS_CONNECTION.test(row.code) ? ["close"] : [undefined, "close", "keep-alive"]).toContain(connection);
  expect(keepAlive ?? "timeout=").toMatch(/^timeout=/);
  if (row.method !== "HEAD") expect(length).toBe(String(answer.body.length));
  const wanted: Record<string, unknown> = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-unkey-error-source": "sentinel",
    "x-request-id": requestId,
  };
  for (const [name, value] of Object.entries(row.fields ?? {})) {
    wanted[name] = typeof value === "string" ? value : expect.stringMatching(value);
  }
  expect(rest).toEqual(wanted);
}

function expectBody(answer: RawAnswer, row: Expected, requestId: string, type: string): void {
  const text = answer.body.toString("utf8");
  const got = JSON.parse(text).error;
  if (typeof row.detail === "string") expect(got.detail).toBe(row.detail);
  else expect(got.detail).toMatch(row.detail);
  if (row.location !== undefined) expect(got.errors[0].location).toMatch(row.location);
  const error = {
    detail: got.detail,
    status: row.status,
    title: row.title,
    type,
    ...(row.status === 400 && { errors: got.errors }),
  };
  expect(text).toBe(JSON.stringify({ meta: { requestId }, error }));
}

/** `GET path` with the good key. */
export function asked(path: string, fields = auth()): string {
  return `GET ${path} HTTP/1.1\r\nHost: gw\r\n${fields}\r\n`;
}

export function posted(path: string, body: string, fields = auth()): string {
  return `POST ${path} HTTP/1.1\r\nHost: gw\r\n${fields}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}
