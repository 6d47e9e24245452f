import type { Context, Span, Tracer } from "@opentelemetry/api";
import type { Exchange, ExchangeTrace, UpstreamTrace, UpstreamTraceTarget } from "../exchange.ts";
import type { Log } from "./logger.ts";
import { METHODS, OTHER } from "./metrics.ts";
import type { Redact } from "./redact.ts";

type Api = typeof import("@opentelemetry/api");

/** Begins a span for each request. */
export interface Tracing {
  /** When the request arrived; `ExchangeTrace.end` when it is over. */
  begin(exchange: Exchange): ExchangeTrace;
}

/**
 * Tracing through whatever OpenTelemetry SDK was registered before the start (`node --import ./tracing.mjs`). Null, and
 * nothing loaded, where none was: the API keeps what is registered under a well-known symbol of its major version.
 */
export async function loadTracing(redact: Redact, log: Log): Promise<Tracing | null> {
  const registered = (globalThis as Record<symbol, { trace?: unknown; version?: string } | undefined>)[API_KEY];
  if (registered?.trace === undefined) return null;
  const api = await import("@opentelemetry/api");
  if (api.trace.getTracerProvider() !== registered.trace) {
    log("warn", "tracing_unavailable", {
      reason: "the SDK brings an older @opentelemetry/api",
      version: registered.version,
    });
    return null;
  }
  const tracer = api.trace.getTracer("sentinel");
  return { begin: (exchange) => new RequestTrace(api, tracer, redact, exchange) };
}

const API_KEY = Symbol.for("opentelemetry.js.api.1");

/** The server span of one request, by the stable HTTP conventions. */
class RequestTrace implements ExchangeTrace {
  readonly #api: Api;
  readonly #tracer: Tracer;
  readonly #redact: Redact;
  readonly #span: Span;
  readonly #context: Context;

  constructor(api: Api, tracer: Tracer, redact: Redact, exchange: Exchange) {
    this.#api = api;
    this.#tracer = tracer;
    this.#redact = redact;
    const parent = api.propagation.extract(api.ROOT_CONTEXT, exchange.request.headers);
    const { name, attributes } = methodOf(exchange);
    this.#span = tracer.startSpan(name, { kind: api.SpanKind.SERVER, attributes }, parent);
    this.#context = api.trace.setSpan(parent, this.#span);
  }

  upstream(target: UpstreamTraceTarget): UpstreamTrace {
    return new UpstreamSpan(this.#api, this.#tracer, this.#context, {
      ...target,
      path: this.#redact(target.path),
    });
  }

  end(exchange: Exchange): void {
    const { head, route, status, fault, client } = exchange;
    const span = this.#span;
    const template = route?.match.path.text ?? "";
    if (template !== "") {
      span.updateName(`${methodOf(exchange).name} ${template}`);
      span.setAttribute("http.route", template);
    }
    if (route !== null) span.setAttribute("sentinel.route", route.name);
    if (exchange.verdict !== null) span.setAttribute("sentinel.verdict", exchange.verdict);
    span.setAttributes({
      "url.scheme": exchange.peer.scheme,
      "client.address": exchange.peer.clientIp,
      "network.protocol.version": client.httpVersion,
      "sentinel.request_id": exchange.requestId,
    });
    if (head !== null) span.setAttribute("url.path", this.#redact(head.target.path));
    if (head !== null && head.host !== null) span.setAttribute("server.address", head.host);
    if (status >= 100 && status <= 599) span.setAttribute("http.response.status_code", status);
    // A refusal is no error of the server: only 5xx is, by the conventions.
    if (status >= 500) {
      span.setAttribute("error.type", fault ?? String(status));
      span.setStatus({ code: this.#api.SpanStatusCode.ERROR });
    }
    span.end();
  }
}

/** The client span of one try at an upstream. */
class UpstreamSpan implements UpstreamTrace {
  readonly headers: readonly string[];
  readonly #api: Api;
  readonly #span: Span;

  constructor(api: Api, tracer: Tracer, parent: Context, target: UpstreamTraceTarget) {
    this.#api = api;
    const { method, scheme, hostname, port, path, resend } = target;
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    const attributes = {
      "http.request.method": knownMethod(method),
      "server.address": hostname,
      "server.port": port,
      "url.full": `${scheme}://${host}:${port}${path}`,
      "network.protocol.version": "1.1",
      ...(resend > 0 && { "http.request.resend_count": resend }),
    };
    this.#span = tracer.startSpan(spanMethod(method), { kind: api.SpanKind.CLIENT, attributes }, parent);
    const carrier: Record<string, string> = {};
    api.propagation.inject(api.trace.setSpan(parent, this.#span), carrier);
    this.headers = Object.entries(carrier).flat();
  }

  end(status: number | null, reason: string | null): void {
    if (status !== null) this.#span.setAttribute("http.response.status_code", status);
    const failed = reason ?? (status !== null && status >= 400 ? String(status) : null);
    if (failed !== null) {
      this.#span.setAttribute("error.type", failed);
      this.#span.setStatus({ code: this.#api.SpanStatusCode.ERROR });
    }
    this.#span.end();
  }
}

function methodOf({ head, client }: Exchange): { name: string; attributes: Record<string, string> } {
  const method = head?.method ?? client.method ?? OTHER;
  return { name: spanMethod(method), attributes: { "http.request.method": knownMethod(method) } };
}

/** What a span is called where there is no route, by the conventions. */
function spanMethod(method: string): string {
  return knownMethod(method) === OTHER ? "HTTP" : method;
}

function knownMethod(method: string): string {
  return METHODS.some((known) => known === method) ? method : OTHER;
}
