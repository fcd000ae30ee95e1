"""Ray Serve with `@serve.batch`, as its guide to dynamic request batching shows it, and FastAPI as ingress.

    python -m benchmarks.peers.ray_serve_batch PORT

One deployment instead of an ingress and a model spares it a hop. `max_ongoing_requests` is raised from 5, which would
keep batches small, and the batch runs in a thread, so that the next one can gather.
Annotations are not postponed: the class is pickled by value, and FastAPI has to know what they stand for.
"""

import asyncio
import sys
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from benchmarks.peers.painting import BATCH_WAIT_SECONDS, MAX_BATCH_SIZE, PATH, Order, Painter

app = FastAPI()


@serve.deployment(max_ongoing_requests=512)
@serve.ingress(app)
class Images:
    """One replica."""

    def __init__(self) -> None:
        self._painter = Painter()

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=BATCH_WAIT_SECONDS)
    async def paint(self, orders: list[Order]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._painter.paint, orders)

    @app.post(PATH)
    async def generate(self, order: Order) -> dict[str, Any]:
        answer: dict[str, Any] = await self.paint(order)
        return answer


if __name__ == "__main__":
    ray.init(address="local", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Images.bind(), blocking=True)
