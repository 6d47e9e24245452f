import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Context,
  propagation,
  type Span,
  type SpanContext,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  type TextMapPropagator,
  trace,
} from "@opentelemetry/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createRedact } from "../../src/telemetry/redact.ts";
import { loadTracing } from "../../src/telemetry/tracing.ts";
import { exchangeOf, PEER } from "./support.ts";

interface RecordedSpan {
  name: string;
  kind: SpanKind | undefined;
  attributes: Record<string, unknown>;
  status: SpanStatusCode;
  parent: string | null;
  id: string;
  traceId: string;
  ended: boolean;
}

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID = "b7ad6b7169203331";
let spans: RecordedSpan[] = [];

/** As much of an SDK as our spans need: records what they were told. */
function registerSdk(): void {
  trace.setGlobalTracerProvider({
    getTracer: () => ({
      startSpan: (name: string, options: SpanOptions = {}, context?: Context) => recordSpan(name, options, context),
      startActiveSpan: () => {
        throw new Error("not used");
      },
    }),
  });
  propagation.setGlobalPropagator(w3c);
}

function recordSpan(name: string, options: SpanOptions, context?: Context): Span {
  const parent = context === undefined ? undefined : trace.getSpanContext(context);
  const span: RecordedSpan = {
    name,
    kind: options.kind,
    attributes: { ...options.attributes },
    status: SpanStatusCode.UNSET,
    parent: parent?.spanId ?? null,
    id: (spans.length + 1).toString(16).padStart(16, "0"),
    traceId: parent?.traceId ?? "1".repeat(32),
    ended: false,
  };
  spans.push(span);
  const spanContext: SpanContext = { traceId: span.traceId, spanId: span.id, traceFlags: 1 };
  return {
    spanContext: () => spanContext,
    setAttribute(key: string, value: unknown) {
      span.attributes[key] = value;
      return this;
    },
    setAttributes(all: Record<string, unknown>) {
      Object.assign(span.attributes, all);
      return this;
    },
    setStatus({ code }: { code: SpanStatusCode }) {
      span.status = code;
      return this;
    },
    updateName(to: string) {
      span.name = to;
      return this;
    },
    end: () => {
      span.ended = true;
    },
    isRecording: () => true,
  } as unknown as Span;
}

const w3c: TextMapPropagator = {
  inject: (context, carrier, setter) => {
    const span = trace.getSpanContext(context);
    if (span !== undefined) setter.set(carrier, "traceparent", `00-${span.traceId}-${span.spanId}-01`);
  },
  extract: (context, carrier, getter) => {
    const [, traceId, spanId] = /^00-(.{32})-(.{16})-/.exec(String(getter.get(carrier, "traceparent"))) ?? [];
    if (traceId === undefined || spanId === undefined) return context;
    return trace.setSpanContext(context, { traceId, spanId, traceFlags: 1, isRemote: true });
  },
  fields: () => ["traceparent"],
};

const redact = createRedact("unkey_");
const target = {
  method: "GET",
  scheme: "http",
  hostname: "10.0.0.1",
  port: 3000,
  path: "/v2/apis/api_1",
  resend: 0,
} as const;
const pattern = { match: { methods: null, path: { text: "/v2/apis/{apiId}" } }, name: "read-api" };

beforeEach(() => {
  spans = [];
});
afterEach(() => {
  trace.disable();
  propagation.disable();
});

async function begin(exchange = exchangeOf({ route: pattern as never })) {
  registerSdk();
  const tracing = await loadTracing(redact, () => {});
  if (tracing === null) throw new Error("no tracing");
  return { exchange, traced: tracing.begin(exchange) };
}

describe("without an SDK", () => {
  it("there is no tracing", async () => {
    expect(await loadTracing(redact, () => {})).toBeNull();
  });

  it("the API is not even loaded: everything but a lazy import is of types", () => {
    const files = (readdirSync("src", { recursive: true }) as string[]).filter((file) => file.endsWith(".ts"));
    const uses = files.flatMap((file) =>
      readFileSync(join("src", file), "utf8")
        .split("\n")
        .filter((line) => line.includes('"@opentelemetry/api"'))
        .map((line) => `${file}: ${line.trim()}`),
    );
    expect(uses).toEqual([
      'telemetry/tracing.ts: import type { Context, Span, Tracer } from "@opentelemetry/api";',
      'telemetry/tracing.ts: type Api = typeof import("@opentelemetry/api");',
      'telemetry/tracing.ts: const api = await import("@opentelemetry/api");',
    ]);
  });

  it("of a version that fits there is none either, and it is said", async () => {
    const key = Symbol.for("opentelemetry.js.api.1");
    const globals = globalThis as unknown as Record<symbol, unknown>;
    const before = globals[key];
    globals[key] = { version: "1.0.0", trace: {} };
    const events: string[] = [];
    expect(await loadTracing(redact, (_, event) => events.push(event))).toBeNull();
    expect(events).toEqual(["tracing_unavailable"]);
    globals[key] = before;
  });
});

describe("the span of a request", () => {
  it("continues the client's trace and is described by the stable conventions", async () => {
    const exchange = exchangeOf({ route: pattern as never });
    exchange.request.headers.traceparent = `00-${TRACE_ID}-${PARENT_ID}-01`;
    Object.assign(exchange.head as object, { host: "api.example.com" });
    const { traced } = await begin(exchange);
    traced.end(exchange);
    expect(spans).toMatchObject([
      {
        name: "GET /v2/apis/{apiId}",
        kind: SpanKind.SERVER,
        parent: PARENT_ID,
        traceId: TRACE_ID,
        status: SpanStatusCode.UNSET,
        ended: true,
        attributes: {
          "http.request.method": "GET",
          "http.route": "/v2/apis/{apiId}",
          "http.response.status_code": 200,
          "url.path": "/v2/apis/api_1",
          "url.scheme": "http",
          "server.address": "api.example.com",
          "client.address": "192.0.2.7",
          "sentinel.route": "read-api",
          "sentinel.verdict": "allowed",
          "sentinel.request_id": "req_2c9a0jf23l4k567",
        },
      },
    ]);
    expect(JSON.stringify(spans)).not.toContain("secret");
  });

  it("says https of a client that came by TLS", async () => {
    const { exchange, traced } = await begin(exchangeOf({ peer: { ...PEER, scheme: "https" } }));
    traced.end(exchange);
    expect(spans[0]?.attributes).toHaveProperty(["url.scheme"], "https");
  });

  it("begins a trace where the client has none, and is no error for a refusal", async () => {
    const { exchange, traced } = await begin(exchangeOf({ route: null, status: 401 }));
    traced.end(exchange);
    expect(spans).toMatchObject([{ name: "GET", parent: null, status: SpanStatusCode.UNSET }]);
    expect(spans[0]?.attributes).not.toHaveProperty("error.type");
  });

  it("is an error for a 5xx, by the fault's code", async () => {
    const { exchange, traced } = await begin(exchangeOf({ status: 502, fault: "sentinel:upstream:bad_gateway" }));
    traced.end(exchange);
    expect(spans).toMatchObject([
      { status: SpanStatusCode.ERROR, attributes: { "error.type": "sentinel:upstream:bad_gateway" } },
    ]);
  });

  it("holds no key that stands in a path, and no method that a client made up", async () => {
    const { exchange, traced } = await begin(exchangeOf({ route: null }, "/unkey_3ZZ7faUrXbVDnxvhGyCPLm", "BREW"));
    traced.upstream({ ...target, path: "/unkey_3ZZ7faUrXbVDnxvhGyCPLm" }).end(200, null);
    traced.end(exchange);
    expect(JSON.stringify(spans)).not.toContain("3ZZ7faUr");
    expect(spans[0]).toMatchObject({ name: "HTTP", attributes: { "http.request.method": "_OTHER" } });
  });
});

describe("the span of a try at an upstream", () => {
  it("is a child, and gives the headers that continue the trace there", async () => {
    const { exchange, traced } = await begin();
    const upstream = traced.upstream(target);
    expect(upstream.headers).toEqual(["traceparent", `00-${"1".repeat(32)}-${spans[1]?.id}-01`]);
    upstream.end(200, null);
    traced.end(exchange);
    expect(spans[1]).toMatchObject({
      name: "GET",
      kind: SpanKind.CLIENT,
      parent: spans[0]?.id,
      ended: true,
      attributes: {
        "http.request.method": "GET",
        "server.address": "10.0.0.1",
        "server.port": 3000,
        "url.full": "http://10.0.0.1:3000/v2/apis/api_1",
        "http.response.status_code": 200,
      },
    });
    expect(spans[1]?.attributes).not.toHaveProperty("http.request.resend_count");
  });

  it("says why it failed, and which try it is", async () => {
    const { traced } = await begin();
    traced.upstream({ ...target, hostname: "::1", resend: 1 }).end(null, "refused");
    traced.upstream(target).end(404, null);
    expect(spans.slice(1)).toMatchObject([
      {
        status: SpanStatusCode.ERROR,
        attributes: {
          "error.type": "refused",
          "http.request.resend_count": 1,
          "url.full": "http://[::1]:3000/v2/apis/api_1",
        },
      },
      { status: SpanStatusCode.ERROR, attributes: { "error.type": "404" } },
    ]);
  });
});
