"""What the metrics tell of requests: the log's record of each that has ended, in numbers."""

from __future__ import annotations

from deployments.metrics import NONE, OF_INGRESS, QUEUE_SECONDS, REQUEST_SECONDS, REQUESTS, Exporter
from serve_app.request_log import DIALECTS, RequestRecord


class RequestMetrics:
    """Those of one ingress replica."""

    def __init__(self) -> None:
        self._exporter = Exporter(OF_INGRESS)

    def ended(self, record: RequestRecord) -> None:
        """The request of `record` has ended."""
        route, model, outcome = record.route or "", record.model or NONE, record.outcome or NONE
        dialect = next((name for start, name in DIALECTS.items() if route.startswith(start)), NONE)
        tell = self._exporter.tell
        tell(REQUESTS, model=model, dialect=dialect, outcome=outcome, code=record.error or NONE)
        tell(REQUEST_SECONDS, record.seconds or 0.0, model=model, dialect=dialect, outcome=outcome)
        if record.queue_seconds is not None:
            tell(QUEUE_SECONDS, record.queue_seconds, model=model)
