"""Identical requests in flight are one job: same model, same inputs, same seed, so the same picture.

Whoever asks while such a job waits or runs listens to it. It is cancelled when nobody listens any more, and nothing is
kept of it once it has ended. Belongs to the event loop of one replica; steps are told from the engine's thread.
Everybody hears the same: each step once, in order, and of those before one came the last and those with a preview.
Everybody is also told, and charged, all the seconds that the job took: what a picture costs does not depend on what
else its caller asks for at that moment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.engine.job import Job
    from deployments.models.protocol import StepListener


class _Steps:
    """What was told of a job, and to whom."""

    def __init__(self) -> None:
        self._listeners: list[StepListener] = []
        self._told: list[tuple[Any, ...]] = []
        self._telling = Lock()

    def tell(self, *step: Any) -> None:
        """To everybody, but for a step that was told before: a job may start over."""
        with self._telling:
            number = step[0]
            if self._told and number <= self._told[-1][0]:
                return
            self._told = [each for each in self._told if each[-1] is not None] + [step]
            for listener in self._listeners:
                listener(*step)

    def add(self, listener: StepListener) -> None:
        with self._telling:
            for step in self._told:
                listener(*step)
            self._listeners.append(listener)

    def remove(self, listener: StepListener) -> int:
        """Returns how many are left."""
        with self._telling:
            self._listeners.remove(listener)
            return len(self._listeners)


@dataclasses.dataclass
class _Shared:
    job: Job[Tensor]
    steps: _Steps


class SharedJobs:
    """Those of one replica, by what they make."""

    def __init__(self) -> None:
        self.listening_now = 0  # requests, of which some may wait for the same job
        self._shared: dict[Hashable, _Shared] = {}

    def has(self, key: Hashable) -> bool:
        """Whether there is one to join."""
        shared = self._shared.get(key)
        return shared is not None and not shared.job.settled

    @contextmanager
    def listening(
        self,
        key: Hashable,
        listener: StepListener,
        start: Callable[[StepListener], Job[Tensor]],
        join: Callable[[Job[Tensor]], None],
    ) -> Iterator[Job[Tensor]]:
        """The job of that key, started if there is none; `listener` is told of its steps.

        `start` is given what the job must tell of its steps; `join` one that there is already. Raises what they raise.
        """
        if self.has(key):
            shared = self._shared[key]
            join(shared.job)
        else:
            steps = _Steps()
            shared = self._shared[key] = _Shared(start(steps.tell), steps)
        shared.steps.add(listener)
        self.listening_now += 1
        try:
            yield shared.job
        finally:
            self.listening_now -= 1
            if not shared.steps.remove(listener):
                shared.job.cancel()  # does nothing to a job that has ended
                if self._shared.get(key) is shared:
                    del self._shared[key]
