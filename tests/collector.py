"""A collector of traces, for the tests: it speaks OTLP over HTTP and keeps what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.loopback import serving


@dataclass(frozen=True)
class Span:
    """What is looked at of one. `trace` and the ids are hexadecimal; the root has no parent, `""`."""

    trace: str
    identifier: str
    parent: str
    name: str
    attributes: dict[str, str]
    events: int


@dataclass
class Collector:
    """The running server. `told` is all that came, whole."""

    port: int
    told: list[bytes] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """By which Serve traces all that it does, and tells it here."""
        return {
            "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH": "deployments.tracing:span_processors",
            "RAY_SERVE_TRACING_SAMPLING_RATIO": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "500",  # milliseconds
        }

    def spans(self) -> list[Span]:
        """In the order in which they came."""
        return [
            Span(
                trace=span.trace_id.hex(),
                identifier=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                name=span.name,
                attributes={each.key: each.value.string_value for each in span.attributes},
                events=len(span.events) + span.dropped_events_count,
            )
            for request in map(ExportTraceServiceRequest.FromString, list(self.told))
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.told.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_address[1])
    with serving(server):
        yield collector
