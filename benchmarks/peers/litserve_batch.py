"""LitServe with its dynamic batching: `predict` is given a list.

    python -m benchmarks.peers.litserve_batch PORT

`timeout` is off: it would refuse what has waited for 30 seconds. Annotations are not postponed, for LitServe reads the
one of `decode_request` to learn what a request is.
"""

import sys
from typing import Any

import litserve

from benchmarks.peers.painting import BATCH_WAIT_SECONDS, MAX_BATCH_SIZE, PATH, Order, Painter


class Images(litserve.LitAPI):
    """Runs in the worker process; HTTP is another."""

    def setup(self, device: str) -> None:
        self._painter = Painter()

    def decode_request(self, request: Order) -> Order:
        return request

    def batch(self, inputs: list[Order]) -> list[Order]:
        return inputs

    def predict(self, orders: list[Order]) -> list[dict[str, Any]]:
        return self._painter.paint(orders)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    images = Images(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_WAIT_SECONDS, api_path=PATH)
    server = litserve.LitServer(images, accelerator="cpu", devices=1, timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
