"""The way of Serve's traces to whoever collects them: OTLP over HTTP, as OpenTelemetry's own settings say.

Serve makes the spans, of its proxy and of each replica that a request reaches, where its config file has

    tracing_config: {enabled: true, exporter_import_path: "deployments.tracing:span_processors"}
"""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def span_processors() -> list[SpanProcessor]:
    """To `OTEL_EXPORTER_OTLP_ENDPOINT`, in batches and beside the work: requests wait for no collector."""
    return [BatchSpanProcessor(OTLPSpanExporter())]
