"""FastAPI around a pipeline, one picture at a time: what most people write first.

    python -m benchmarks.peers.fastapi_lock PORT

Pipelines are not safe to share between threads, so a lock lets one request at a time into one worker thread.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from benchmarks.peers.painting import PATH, Order, Painter


def create_app() -> FastAPI:
    app = FastAPI()
    painter = Painter()
    lock = asyncio.Lock()

    @app.post(PATH)
    async def generate(order: Order) -> dict[str, Any]:
        async with lock:
            (answer,) = await asyncio.to_thread(painter.paint, [order])
        return answer

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
