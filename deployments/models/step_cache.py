"""Step caching for FLUX, which is lossy: a step that is like one before reuses most of what that computed.

Where the first block changes a picture almost as it did before, the other blocks are taken to do so as well: what they
added then is added again, and they are not run. This is diffusers' FirstBlockCache, and a request gets the picture that
it would get from that alone. But diffusers keeps one memory for a module, which breaks when the rows of a batch change
from step to step; here each request has its own. So every row is decided alone, and those that need the other blocks
run through them as a smaller batch.

Invariants: a memory belongs to one request and is freed with it; it changes only after all blocks have run, so that a
forward that failed can be tried again; without memories the blocks compute what they always do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from deployments.engine.collate import RowObjects
from deployments.models.protocol import CacheUse

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

Streams: TypeAlias = tuple[Tensor, Tensor]  # text and picture, as the blocks pass them on

_MEMORIES = "step_memories"


class _Added(NamedTuple):
    """To the picture of one row, in a step that ran all blocks."""

    by_first: Tensor
    by_rest: Tensor


class StepMemory:
    """What one request remembers of its steps."""

    last: _Added | None = None  # of those that ran all blocks


def cache_steps(transformer: FluxTransformer2DModel, threshold: float) -> None:
    """Lets steps be reused if what the first block adds to the picture has changed by at most this share of it.

    Only requests with a memory reuse any; see `memory_arguments`.
    """
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    transformer.transformer_blocks = nn.ModuleList([StepCachedBlocks(blocks, threshold)])
    transformer.single_transformer_blocks = nn.ModuleList()


def memory_arguments(transformer: FluxTransformer2DModel, rows: int = 1) -> dict[str, Any]:
    """What a FLUX pipeline is called with to have a memory for each picture, if its transformer caches steps."""
    if not isinstance(transformer.transformer_blocks[0], StepCachedBlocks):
        return {}
    return {"joint_attention_kwargs": {_MEMORIES: RowObjects(StepMemory() for _ in range(rows))}}


def step_cache_uses(transformer: FluxTransformer2DModel) -> Mapping[str, CacheUse]:
    """See `DiffusionModel.cache_uses`: of the transformer's steps, if it caches any; a step counts for each row."""
    blocks = transformer.transformer_blocks[0]
    return {"steps": blocks.use} if isinstance(blocks, StepCachedBlocks) else {}


class StepCachedBlocks(nn.Module):
    """All blocks of a FLUX transformer, which take and return the same, as one that can do without most of them."""

    def __init__(self, blocks: Sequence[nn.Module], threshold: float) -> None:
        super().__init__()
        self.first = blocks[0]
        self.rest = nn.ModuleList(blocks[1:])
        self.use = CacheUse()
        self._threshold = threshold

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        image_rotary_emb: Streams,
        joint_attention_kwargs: dict[str, Any] | None = None,
    ) -> Streams:
        """What all blocks in turn make of a batch, or make of it nearly."""
        others = dict(joint_attention_kwargs or {})
        memories: Sequence[StepMemory] | None = others.pop(_MEMORIES, None)
        common = {"image_rotary_emb": image_rotary_emb, "joint_attention_kwargs": others}
        text, picture = self.first(
            hidden_states=hidden_states, encoder_hidden_states=encoder_hidden_states, temb=temb, **common
        )
        if memories is None:
            return self._run_rest(text, picture, temb, common)

        by_first = picture - hidden_states
        unlike = self._unlike(memories, by_first)
        self.use.misses += len(unlike)
        self.use.hits += len(memories) - len(unlike)
        if unlike:
            rows = torch.tensor(unlike, device=picture.device)
            _, run = self._run_rest(text[rows], picture[rows], temb[rows], common)
            for row, its_picture in zip(unlike, run, strict=True):
                # Each a tensor of its own: a view would keep the rows of the whole batch in memory.
                memories[row].last = _Added(by_first[row].clone(), its_picture - picture[row])
        added = [memory.last.by_rest for memory in memories if memory.last is not None]  # by now, all of them
        picture = picture + torch.stack(added)
        if unlike:  # these to the bit
            picture = picture.index_copy(0, rows, run)
        return text, picture  # nothing reads the text after the last block

    def _unlike(self, memories: Sequence[StepMemory], by_first: Tensor) -> list[int]:
        """The rows that have nothing to reuse. Waits for the device, once in a forward."""
        known = {row: memory.last.by_first for row, memory in enumerate(memories) if memory.last is not None}
        if not known:
            return list(range(len(memories)))
        before, now = torch.stack(list(known.values())), by_first[list(known)]
        changes = (now - before).abs().mean((1, 2)) / before.abs().mean((1, 2))
        alike = {row for row, change in zip(known, changes.tolist(), strict=True) if change <= self._threshold}
        return [row for row in range(len(memories)) if row not in alike]

    def _run_rest(self, text: Tensor, picture: Tensor, temb: Tensor, common: dict[str, Any]) -> Streams:
        for block in self.rest:
            text, picture = block(hidden_states=picture, encoder_hidden_states=text, temb=temb, **common)
        return text, picture
