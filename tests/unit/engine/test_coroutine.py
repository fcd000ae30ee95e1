from __future__ import annotations

import functools
import weakref

import pytest
from torch import nn

from deployments.engine.collate import MergeRules, ModuleCall
from deployments.engine.coroutine import Cancelled, Coroutine, in_coroutine, pause
from deployments.engine.workload import Role


def call(name: str) -> ModuleCall:
    return ModuleCall(nn.Module(), name, lambda: None, {}, MergeRules(), role=Role.DENOISES)


def test_runs_to_each_call_and_on_with_its_output() -> None:
    coroutine = Coroutine(lambda: [pause(call("first")), pause(call("second"))])
    assert (paused := coroutine.resume()) is not None
    assert paused.name == "first"
    assert (paused := coroutine.resume("one")) is not None
    assert paused.name == "second"
    assert coroutine.resume("two") is None
    assert coroutine.error is None
    assert coroutine.result == ["one", "two"]


def test_coroutines_take_turns() -> None:
    log: list[str] = []

    def work(name: str) -> None:
        for step in range(2):
            log.append(f"{name}{step}")
            pause(call(name))

    first, second = Coroutine(lambda: work("a")), Coroutine(lambda: work("b"))
    for _ in range(3):
        first.resume()
        second.resume()
    assert log == ["a0", "b0", "a1", "b1"]


def test_what_it_raises_is_its_own_outcome() -> None:
    def fail() -> None:
        pause(call("first"))
        raise ValueError("mine")

    coroutine = Coroutine(fail)
    coroutine.resume()
    assert coroutine.resume() is None
    assert isinstance(coroutine.error, ValueError)


def test_a_thrown_error_appears_at_the_call_and_may_be_handled() -> None:
    def careful() -> str:
        try:
            pause(call("first"))
        except ValueError:
            return str(pause(call("fallback")))
        return "unreachable"

    coroutine = Coroutine(careful)
    coroutine.resume()
    assert (paused := coroutine.throw(ValueError())) is not None
    assert paused.name == "fallback"
    assert coroutine.resume("saved") is None
    assert coroutine.result == "saved"


def test_cancelling_runs_cleanup_and_is_no_exception_to_swallow() -> None:
    cleaned: list[bool] = []

    def greedy() -> None:
        try:
            pause(call("first"))
        except Exception:  # what careless pipeline code does
            cleaned.append(False)
        finally:
            cleaned.append(True)

    coroutine = Coroutine(greedy)
    coroutine.resume()
    assert coroutine.throw(Cancelled()) is None
    assert cleaned == [True]
    assert isinstance(coroutine.error, Cancelled)


def test_cancelling_before_the_start_runs_nothing() -> None:
    coroutine = Coroutine(lambda: pytest.fail("must not run"))
    assert coroutine.throw(Cancelled()) is None
    assert isinstance(coroutine.error, Cancelled)


def test_a_closed_one_is_freed_with_all_it_holds_and_gets_no_further_call() -> None:
    cleaned: list[str] = []

    class Held:
        """Something to look for."""

    def stubborn(held: Held) -> None:
        try:
            pause(call("first"))
        finally:
            try:
                pause(call("cleanup"))
            finally:
                cleaned.append(type(held).__name__)

    held = Held()
    reference = weakref.ref(held)
    coroutine = Coroutine(functools.partial(stubborn, held))
    coroutine.resume()
    del held
    coroutine.close()
    assert cleaned == ["Held"]
    coroutine.forget()
    assert reference() is None


def test_one_that_is_dropped_while_it_is_paused_is_freed_too() -> None:
    class Held:
        """Something to look for."""

    def wait(held: Held) -> None:
        pause(call("first"))

    held = Held()
    reference = weakref.ref(held)
    coroutine = Coroutine(functools.partial(wait, held))
    coroutine.resume()
    del held, coroutine
    assert reference() is None


def test_knows_where_it_is() -> None:
    assert not in_coroutine()
    coroutine = Coroutine(in_coroutine)
    coroutine.resume()
    assert coroutine.result is True
