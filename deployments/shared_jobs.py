"""Identical requests in flight are one job: same model, same inputs, same seed, so the same picture.

Whoever asks while such a job waits or runs listens to it. It is cancelled when nobody listens any more, and nothing is
kept of it once it has ended. Belongs to the event loop of one replica; steps are told from the engine's thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.engine.job import Job
    from deployments.models.protocol import StepListener


@dataclasses.dataclass
class _Steps:
    listeners: list[StepListener]
    last: tuple[Any, ...] | None = None

    def tell(self, *step: Any) -> None:
        self.last = step
        for listener in list(self.listeners):
            listener(*step)


@dataclasses.dataclass
class _Shared:
    job: Job[Tensor]
    steps: _Steps


class SharedJobs:
    """Those of one replica, by what they make."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _Shared] = {}

    @contextmanager
    def listening(
        self,
        key: Hashable,
        listener: StepListener,
        start: Callable[[StepListener], Job[Tensor]],
        join: Callable[[Job[Tensor]], None],
    ) -> Iterator[Job[Tensor]]:
        """The job of that key, started if there is none; `listener` is told of its steps, and first of its last one.

        `start` is given what the job must tell of its steps; `join` one that there is already. Raises what they raise.
        """
        shared = self._shared.get(key)
        if shared is not None and not shared.job.settled:
            join(shared.job)
            shared.steps.listeners.append(listener)
            if shared.steps.last is not None:
                listener(*shared.steps.last)
        else:
            steps = _Steps([listener])
            shared = self._shared[key] = _Shared(start(steps.tell), steps)
        try:
            yield shared.job
        finally:
            shared.steps.listeners.remove(listener)
            if not shared.steps.listeners:
                shared.job.cancel()  # does nothing to a job that has ended
                if self._shared.get(key) is shared:
                    del self._shared[key]
