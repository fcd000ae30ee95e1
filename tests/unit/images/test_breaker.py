"""What is known of the store, at each moment of a clock that the tests set."""

from __future__ import annotations

import pytest

from serve_app.images.breaker import GOOD_SECONDS, LONGEST_WAIT_SECONDS, SHORTEST_WAIT_SECONDS, Breaker
from tests.unit.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def test_nothing_is_known_at_first(breaker: Breaker) -> None:
    assert not breaker.is_good()
    assert not breaker.is_failing()
    assert breaker.seconds_to_next_look() == 0


def test_a_success_is_good_for_a_while(breaker: Breaker, clock: Clock) -> None:
    breaker.succeeded()
    clock.now += GOOD_SECONDS - 0.01
    assert breaker.is_good()
    clock.now += 0.01
    assert not breaker.is_good()
    assert not breaker.is_failing()


def test_a_failure_ends_what_was_good_and_is_looked_at_a_moment_later(breaker: Breaker, clock: Clock) -> None:
    breaker.succeeded()
    breaker.failed()
    assert breaker.is_failing()
    assert not breaker.is_good()
    assert breaker.seconds_to_next_look() == SHORTEST_WAIT_SECONDS
    clock.now += 0.75
    assert breaker.seconds_to_next_look() == SHORTEST_WAIT_SECONDS - 0.75
    clock.now += 5
    assert breaker.seconds_to_next_look() == 0
    assert breaker.is_failing()


def test_the_longer_it_fails_the_longer_until_the_next_look(breaker: Breaker, clock: Clock) -> None:
    waits = []
    for _ in range(7):
        breaker.failed()
        waits.append(breaker.seconds_to_next_look())
        clock.now += waits[-1]
    assert waits == [1, 1, 2, 4, 8, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]


def test_many_failures_at_once_are_one(breaker: Breaker) -> None:
    for _ in range(50):
        breaker.failed()
    assert breaker.seconds_to_next_look() == SHORTEST_WAIT_SECONDS


def test_a_success_forgets_how_long_it_failed(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 60
    breaker.succeeded()
    assert breaker.is_good()
    assert not breaker.is_failing()
    breaker.failed()
    assert breaker.seconds_to_next_look() == SHORTEST_WAIT_SECONDS


def test_a_look_is_the_only_one_for_as_long_as_it_may_take(breaker: Breaker, clock: Clock) -> None:
    breaker.looking(5)
    clock.now += 2
    assert breaker.seconds_to_next_look() == 3
    clock.now += 9
    assert breaker.seconds_to_next_look() == 0
