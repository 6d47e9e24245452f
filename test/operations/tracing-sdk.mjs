// As much of an OpenTelemetry SDK as a test needs: prints each span that ended as a line of JSON.
import { propagation, trace } from "@opentelemetry/api";

let last = 0;

trace.setGlobalTracerProvider({
  getTracer: () => ({
    startSpan: (name, { kind, attributes = {} } = {}, context) => {
      const parent = context && trace.getSpanContext(context);
      const spanContext = {
        traceId: parent?.traceId ?? "f".repeat(32),
        spanId: (++last).toString(16).padStart(16, "0"),
        traceFlags: 1,
      };
      const span = { name, kind, attributes: { ...attributes }, parent: parent?.spanId ?? null, ...spanContext };
      return {
        spanContext: () => spanContext,
        setAttribute: (key, value) => {
          span.attributes[key] = value;
        },
        setAttributes: (more) => Object.assign(span.attributes, more),
        setStatus: ({ code }) => {
          span.status = code;
        },
        updateName: (to) => {
          span.name = to;
        },
        end: () => process.stdout.write(`${JSON.stringify({ event: "span", ...span })}\n`),
        isRecording: () => true,
      };
    },
  }),
});

propagation.setGlobalPropagator({
  inject: (context, carrier, setter) => {
    const { traceId, spanId } = trace.getSpanContext(context);
    setter.set(carrier, "traceparent", `00-${traceId}-${spanId}-01`);
  },
  extract: (context, carrier, getter) => {
    const [, traceId, spanId] = /^00-(.{32})-(.{16})-/.exec(String(getter.get(carrier, "traceparent"))) ?? [];
    return traceId ? trace.setSpanContext(context, { traceId, spanId, traceFlags: 1, isRemote: true }) : context;
  },
  fields: () => ["traceparent"],
});
