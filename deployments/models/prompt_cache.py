"""Embeddings of prompts that were encoded before: a cache that changes no picture by more than company does.

Text encoders are deterministic, so the embeddings of a text stand for encoding it again, but for the last bit if they
were made beside others. Bounded by bytes; what was not used for longest goes first. Keys are digests: no prompt is
kept. Belongs to the engine's thread, on which another request may run while one encodes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from deployments.models.protocol import CacheUse

Embeddings: TypeAlias = dict[str, Tensor]  # by argument of the pipeline

_MOST_BYTES = 128 * 2**20  # on the device: some 200 prompts of SDXL, 30 of FLUX


class PromptCache:
    """That of one model."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.use = CacheUse()
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._known: OrderedDict[bytes, Embeddings] = OrderedDict()  # used last, last

    def get(self, key: tuple[str | bool, ...], encode: Callable[[], Embeddings]) -> Embeddings:
        """The embeddings of that key, from `encode` unless they are known. Nobody may write to them."""
        digest = hashlib.sha256(repr(key).encode()).digest()
        if digest in self._known:
            self.use.hits += 1
            self._known.move_to_end(digest)
            return self._known[digest]
        self.use.misses += 1
        embeddings = encode()
        if _bytes(embeddings) <= self._most_bytes:
            self._keep(digest, embeddings)
        return embeddings

    def _keep(self, digest: bytes, embeddings: Embeddings) -> None:
        self._held_bytes += _bytes(embeddings) - _bytes(self._known.pop(digest, {}))  # which another may have encoded
        self._known[digest] = embeddings
        while self._held_bytes > self._most_bytes:
            _, unused_longest = self._known.popitem(last=False)
            self._held_bytes -= _bytes(unused_longest)


def _bytes(embeddings: Embeddings) -> int:
    return sum(tensor.nbytes for tensor in embeddings.values())
