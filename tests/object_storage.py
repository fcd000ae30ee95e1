"""A server that speaks S3, in a process of its own, for the tests of pictures kept there."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.running import free_port

START_SECONDS = 60


@dataclass(frozen=True)
class ObjectStorage:
    """The running server."""

    address: str

    @property
    def environment(self) -> dict[str, str]:
        """By which S3's clients find it, in whatever process."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "easel",
            "AWS_SECRET_ACCESS_KEY": "of these tests alone",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """The fsspec URL of an empty one."""
        name = uuid.uuid4().hex
        httpx.put(f"{self.address}/{name}", timeout=START_SECONDS).raise_for_status()
        return f"s3://{name}"


@contextmanager
def object_storage() -> Iterator[ObjectStorage]:
    """Ends with the block."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        storage = ObjectStorage(f"http://127.0.0.1:{port}")
        ends = time.monotonic() + START_SECONDS
        while not _answers(storage):
            assert server.poll() is None, "the server of object storage did not start"
            assert time.monotonic() < ends, "the server of object storage does not answer"
            time.sleep(0.1)
        yield storage
    finally:
        server.kill()
        server.wait()


def _answers(storage: ObjectStorage) -> bool:
    try:
        return httpx.get(f"{storage.address}/moto-api/", timeout=5).is_success
    except httpx.TransportError:
        return False
