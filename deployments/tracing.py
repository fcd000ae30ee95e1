"""The way of Serve's traces to whoever collects them: OTLP over HTTP, as OpenTelemetry's own settings say.

Serve makes the spans, of its proxy and of each replica that a request reaches, where its environment names this as
`RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH=deployments.tracing:span_processors`.
"""

from __future__ import annotations

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def span_processors() -> list[SpanProcessor]:
    """To `OTEL_EXPORTER_OTLP_ENDPOINT`, in batches and beside the work: requests wait for no collector.

    Serve makes the provider of spans after this, which reads what is set here.
    """
    os.environ["OTEL_SPAN_EVENT_COUNT_LIMIT"] = "0"  # events are exceptions, whose text may quote a caller
    return [BatchSpanProcessor(OTLPSpanExporter())]
