"""A function that can pause in the middle: an unmodified pipeline call in a greenlet of its own.

A coroutine runs until it calls a shared module, where it pauses and hands the call to whoever resumed it. Resumed with
the call's output it goes on from there, or ends. Greenlets of one thread take turns and never run at the same time, so
all coroutines of one engine must be started and resumed by the engine's thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

if TYPE_CHECKING:
    from deployments.engine.collate import ModuleCall

Result = TypeVar("Result")


class Cancelled(BaseException):
    """Thrown into a coroutine to end it. Not an `Exception`, so that no pipeline mistakes it for an error to handle."""


@dataclass
class _Outcome:
    """How a coroutine ended. Apart from it, so that a paused one, whose frames refer to this, is freed with it."""

    result: Any = None
    error: BaseException | None = None


class Coroutine(Generic[Result]):
    """One function call that pauses at each shared-module call.

    Once `resume` or `throw` has returned None it has ended: with `error`, or if that is None with `result`.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._outcome = _Outcome()
        self._greenlet = _CoroutineGreenlet(functools.partial(_run, function, self._outcome))

    @property
    def result(self) -> Result:
        """What the function returned."""
        result: Result = self._outcome.result
        return result

    @property
    def error(self) -> BaseException | None:
        """What the function raised."""
        return self._outcome.error

    def resume(self, output: Any = None) -> ModuleCall | None:
        """Starts it, or answers the call it paused at; returns the next call, None at its end."""
        self._greenlet.parent = getcurrent()
        call: ModuleCall | None = self._greenlet.switch(output)
        return call

    def throw(self, error: BaseException) -> ModuleCall | None:
        """Raises `error` where it paused; returns the next call (it may have been handled there), None at its end."""
        if not self._greenlet:  # never started: there is nothing inside to raise it
            self._outcome.error = error
            return None
        self._greenlet.parent = getcurrent()
        call: ModuleCall | None = self._greenlet.throw(error)
        return call

    def close(self) -> None:
        """Ends it where it paused. Its cleanup runs, but no call that this makes is answered any more."""
        self._greenlet.closing = True
        self.throw(Cancelled())

    def forget(self) -> None:
        """Lets go of what it held once it has ended: tracebacks hold frames, and frames hold tensors."""
        if self.error is not None:
            self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None
        self._outcome.result = None


class _CoroutineGreenlet(greenlet):
    """Told from other greenlets by its type."""

    closing = False


def _run(function: Callable[[], Any], outcome: _Outcome, _: object = None) -> None:
    try:
        outcome.result = function()
    except GreenletExit:  # dropped while it paused: nobody asks how it ended
        return
    except BaseException as error:  # what it raised is the outcome of this coroutine, and nobody else's
        outcome.error = error


def in_coroutine() -> bool:
    """Whether the caller runs inside a coroutine, and so can pause."""
    return isinstance(getcurrent(), _CoroutineGreenlet)


def pause(call: ModuleCall) -> Any:
    """Hands `call` to whoever resumed this coroutine; returns the call's output once it is resumed with it."""
    if getcurrent().closing:
        raise Cancelled
    # The greenlet gets no name here: it would never be freed while a frame of its own holds it.
    return getcurrent().parent.switch(call)
