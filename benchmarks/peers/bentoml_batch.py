"""BentoML with a batchable method and its adaptive batching.

    bentoml serve benchmarks.peers.bentoml_batch:Images --host 127.0.0.1 --port PORT

Its documentation wraps a batchable method of several parameters in a second service for single requests. Here clients
send lists of one instead, which spares it that hop and process.
"""

from __future__ import annotations

from typing import Any

import bentoml

from benchmarks.peers.painting import MAX_BATCH_SIZE, PATH, Order, Painter


@bentoml.service(workers=1, traffic={"timeout": 600})
class Images:
    """One worker process."""

    def __init__(self) -> None:
        self._painter = Painter()

    @bentoml.api(route=PATH, batchable=True, max_batch_size=MAX_BATCH_SIZE)
    def generate(self, orders: list[Order]) -> list[dict[str, Any]]:
        return self._painter.paint(orders)
