"""What a trace may hold; tests/serve/test_tracing.py has its way to a collector."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.tracing import span_processors


def test_no_exception_is_in_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "100")
    (processor,) = span_processors()
    assert isinstance(processor, BatchSpanProcessor)
    processor.shutdown()
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("tests").start_as_current_span("work") as span:
        span.record_exception(ValueError("otter"))
    (ended,) = kept.get_finished_spans()
    assert ended.events == ()
