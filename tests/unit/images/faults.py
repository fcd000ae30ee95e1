"""A store that fails or hangs when a test tells it to."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from serve_app.images.store import ImageStore


class FaultyFiles(MemoryFileSystem):  # type: ignore[misc]
    """In memory. `failure` is raised by whatever is called; while `answers` is not set, calls hang before that."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.calls: list[str] = []

    def _meet(self, operation: str) -> None:
        self.calls.append(operation)
        assert self.answers.wait(60), "the test lets it hang for ever"
        if self.failure is not None:
            raise self.failure

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        self._meet("write")
        super().pipe_file(path, value, mode=mode)

    def cat_file(self, path: str, *arguments: Any, **more: Any) -> Any:
        self._meet("read")
        return super().cat_file(path, *arguments, **more)

    def rm_file(self, path: str) -> None:
        self._meet("delete")
        super().rm_file(path)

    def ls(self, path: str, *arguments: Any, **more: Any) -> Any:
        self._meet("list")
        return super().ls(path, *arguments, **more)


def faulty_store() -> tuple[ImageStore, FaultyFiles]:
    """A store, and its file system to steer it by."""
    store = ImageStore(f"memory://{uuid.uuid4().hex}")
    files = FaultyFiles()
    store._files = files
    return store, files
