"""A function that can pause in the middle: an unmodified pipeline call in a greenlet of its own.

A coroutine runs until it calls a shared module, where it pauses and hands the call to whoever resumed it. Resumed with
the call's output it goes on from there, or ends. Greenlets of one thread take turns and never run at the same time, so
all coroutines of one engine must be started and resumed by the engine's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from deployments.engine.collate import ModuleCall

Result = TypeVar("Result")


class Cancelled(BaseException):
    """Thrown into a coroutine to end it. Not an `Exception`, so that no pipeline mistakes it for an error to handle."""


class Coroutine(Generic[Result]):
    """One function call that pauses at each shared-module call.

    Once `resume` or `throw` has returned None the coroutine has ended: with `error`, or if that is None with `result`.
    """

    result: Result

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._greenlet = _CoroutineGreenlet(self._run)
        self.error: BaseException | None = None

    def _run(self, _: object = None) -> None:
        try:
            self.result = self._function()
        except BaseException as error:  # what it raised is the outcome of this coroutine, and nobody else's
            self.error = error

    def resume(self, output: Any = None) -> ModuleCall | None:
        """Starts it, or answers the call it paused at; returns the next call, None at its end."""
        self._greenlet.parent = getcurrent()
        call: ModuleCall | None = self._greenlet.switch(output)
        return call

    def throw(self, error: BaseException) -> ModuleCall | None:
        """Raises `error` where it paused; returns the next call (it may have been handled there), None at its end."""
        if not self._greenlet:  # never started: there is nothing inside to raise it
            self.error = error
            return None
        self._greenlet.parent = getcurrent()
        call: ModuleCall | None = self._greenlet.throw(error)
        return call


class _CoroutineGreenlet(greenlet):
    """Told from other greenlets by its type."""


def in_coroutine() -> bool:
    """Whether the caller runs inside a coroutine, and so can pause."""
    return isinstance(getcurrent(), _CoroutineGreenlet)


def pause(call: ModuleCall) -> Any:
    """Hands `call` to whoever resumed this coroutine; returns the call's output once it is resumed with it."""
    parent = getcurrent().parent
    assert parent is not None, "only the main greenlet has no parent, and it is no coroutine"
    return parent.switch(call)
