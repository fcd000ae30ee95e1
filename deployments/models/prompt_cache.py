"""Embeddings of prompts that were encoded before: a cache that changes no picture by more than company does.

Text encoders are deterministic, so the embeddings of a text stand for encoding it again, but for the last bit if they
were made beside others. Bounded by bytes; what was not
used for longest goes first. Keys are digests: no prompt is kept. Belongs to the engine's thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeAlias

from cachetools import LRUCache
from torch import Tensor

Embeddings: TypeAlias = dict[str, Tensor]  # by argument of the pipeline

_MOST_BYTES = 128 * 2**20  # on the device: some 200 prompts of SDXL, 30 of FLUX


class PromptCache:
    """That of one model."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._known: LRUCache[bytes, Embeddings] = LRUCache(most_bytes, getsizeof=_bytes)

    def get(self, key: tuple[str | bool, ...], encode: Callable[[], Embeddings]) -> Embeddings:
        """The embeddings of that key, from `encode` unless they are known. Nobody may write to them."""
        digest = hashlib.sha256(repr(key).encode()).digest()
        embeddings = self._known.get(digest)
        if embeddings is None:
            embeddings = encode()
            if _bytes(embeddings) <= self._known.maxsize:
                self._known[digest] = embeddings
        return embeddings


def _bytes(embeddings: Embeddings) -> int:
    return sum(tensor.nbytes for tensor in embeddings.values())
