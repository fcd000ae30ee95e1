"""The planner under a virtual clock: requests that are only calls, forwards that only cost time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.virtual_engine import VirtualEngine, VirtualRequest

SIZES = (256, 512)


def cost(module: str, size: int, rows: int) -> float:
    """Launch-bound below a knee, arithmetic-bound beyond, as a large GPU is."""
    if module == "denoiser":
        return max(0.04, 0.02 * (size / 512) ** 2 * rows)
    return 0.01 if module == "text" else 0.02 * (size / 512) ** 2


def uneven(spread: float) -> object:
    noise = random.Random(7)
    return lambda *call: cost(*call) * noise.uniform(1.0, 1.0 + spread)


def load(count: int, rate: float, seconds_allowed: float, seed: int = 1) -> list[VirtualRequest]:
    """Poisson arrivals of mixed sizes, steps and guidance."""
    draw, now, requests = random.Random(seed), 0.0, []
    for number in range(count):
        now += draw.expovariate(rate)
        size, steps, rows = draw.choice(SIZES), draw.choice([4, 8, 12, 20, 30]), draw.choice([1, 2, 2, 2, 2])
        requests.append(VirtualRequest(number, now, size, steps, rows, seconds_allowed))
    return requests


@pytest.fixture
def engine() -> VirtualEngine:
    engine = VirtualEngine(cost)
    engine.warm_up(SIZES)
    return engine


CAPACITY = 8.0  # requests a second of such a load, when batches are full


@pytest.mark.parametrize("order", ["", "a"])
def test_an_order_that_comes_to_an_idle_engine_is_taken_whatever_it_costs(order: str, engine: VirtualEngine) -> None:
    requests = [VirtualRequest(number, 0.0, 512, 30, 2, seconds_allowed=6.0, order=order) for number in range(9)]
    engine.serve(requests)
    refused = sum(request.refused is not None for request in requests)
    assert (refused == 0) == (order != "")


@pytest.mark.parametrize(("overload", "spread"), [(1.2, 0.3), (2.0, 0.0), (10.0, 0.3)])
def test_what_is_admitted_is_finished_in_time(overload: float, spread: float) -> None:
    engine = VirtualEngine(uneven(spread))  # type: ignore[arg-type]
    engine.warm_up(SIZES)
    requests = load(int(250 * overload), CAPACITY * overload, seconds_allowed=10.0)
    engine.serve(requests)
    admitted = [request for request in requests if request.refused is None]
    late = [request for request in admitted if request.done_at is None]
    assert len(late) <= 0.01 * len(admitted)
    assert len(admitted) >= 0.5 * CAPACITY * requests[-1].submitted_at  # and the device is not left idle
    assert len(admitted) < len(requests) or overload < 2


def test_a_refusal_says_when_it_would_be_taken() -> None:
    engine = VirtualEngine(cost)
    engine.warm_up(SIZES)
    burst = [VirtualRequest(number, 0.0, 512, 20, 2, 10.0) for number in range(100)]
    engine.serve(burst)
    refused = [request for request in burst if request.refused]
    assert refused
    wait = refused[0].refused.retry_after_seconds  # type: ignore[union-attr]
    assert wait is not None
    for share, taken in ((0.5, False), (1.1, True)):
        engine = VirtualEngine(cost)
        engine.warm_up(SIZES)
        again = VirtualRequest(1000, share * wait, 512, 20, 2, 10.0)
        engine.serve([*(VirtualRequest(r.number, 0.0, 512, 20, 2, 10.0) for r in burst if not r.refused), again])
        assert (again.refused is None) is taken


def test_what_comes_to_an_idle_engine_is_always_taken(engine: VirtualEngine) -> None:
    """Lest a wrong measurement refuses for ever what would correct it."""
    hurried = VirtualRequest(0, 1.0, 512, 30, 2, seconds_allowed=0.1)
    engine.serve([hurried])
    assert hurried.refused is None


def test_the_expected_time_is_about_right(engine: VirtualEngine) -> None:
    requests = load(150, CAPACITY * 0.7, seconds_allowed=float("inf"))
    engine.serve(requests)
    off = sorted(
        (request.done_at - request.submitted_at) / request.foretold_seconds  # type: ignore[operator]
        for request in requests
    )
    assert 0.8 <= off[len(off) // 2] <= 1.25
    assert off[int(0.9 * len(off))] <= 2.0


def test_a_short_request_is_not_stuck_behind_long_ones_of_another_size(engine: VirtualEngine) -> None:
    long = [VirtualRequest(number, 0.0, 1024, 50, 2) for number in range(16)]
    short = VirtualRequest(99, 1.0, 512, 4, 2)
    engine.serve([*long, short])
    assert short.done_at is not None
    assert short.done_at - short.submitted_at < 1.0
    assert min(request.done_at or 0 for request in long) > short.done_at


def test_one_callers_flood_leaves_others_their_share(engine: VirtualEngine) -> None:
    flood = [VirtualRequest(number, 0.0, 512, 20, 2, caller="flood") for number in range(60)]
    other = [VirtualRequest(100 + each, 1.0 + 3 * each, 512, 20, 2, caller="other") for each in range(5)]
    engine.serve([*flood, *other])
    alone = 20 * 0.04 + 0.05
    assert all((request.done_at or 0) - request.submitted_at < 4 * alone for request in other)


@pytest.mark.parametrize("callers", [3, 8])
def test_promises_to_many_callers_are_kept_too(callers: int) -> None:
    """Each floods at once, and each was promised no more than its share leaves time for."""
    engine = VirtualEngine(cost)
    engine.warm_up(SIZES)
    burst = [
        VirtualRequest(number, number * 0.01, 512, 20, 2, 15.0, caller=str(number % callers)) for number in range(200)
    ]
    engine.serve(burst)
    admitted = [request for request in burst if request.refused is None]
    assert sum(request.done_at is None for request in admitted) <= 0.01 * len(admitted)
    assert len({request.caller for request in admitted}) == callers


def test_a_flood_does_not_close_the_door_to_others() -> None:
    engine = VirtualEngine(cost)
    engine.warm_up(SIZES)
    flood = [VirtualRequest(number, 0.0, 512, 20, 2, 20.0, caller="flood") for number in range(300)]
    other = VirtualRequest(999, 0.5, 512, 20, 2, 20.0, caller="other")
    engine.serve([*flood, other])
    assert any(request.refused for request in flood)
    assert other.done_at is not None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 5),  # seconds after the one before
            st.sampled_from([256, 512, 1024]),
            st.integers(1, 20),
            st.integers(1, 2),
            st.sampled_from([1.0, 10.0, float("inf")]),
            st.sampled_from(["", "a", "b"]),
            st.integers(-1, 1),
        ),
        max_size=30,
    )
)
def test_every_request_ends_in_exactly_one_way(asked: list[tuple[float, int, int, int, float, str, int]]) -> None:
    engine, now, requests = VirtualEngine(cost), 0.0, []
    for number, (gap, size, steps, rows, allowed, caller, priority) in enumerate(asked):
        now += gap
        requests.append(VirtualRequest(number, now, size, steps, rows, allowed, caller, priority))
    engine.serve(requests)
    for request in requests:
        is_late = request.done_at is None and request.refused is None
        assert (request.done_at is not None) + (request.refused is not None) + is_late == 1
        assert not is_late or request.seconds_allowed < float("inf")
        if request.done_at is not None:
            assert request.log.denoised == request.steps
            assert request.done_at >= request.submitted_at
