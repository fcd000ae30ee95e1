from __future__ import annotations

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from deployments.engine.scheduler import AGING, WaitingCall, choose


def waiting(
    ticket: int,
    key: Hashable = "unet",
    rows: int = 2,
    cap: int = 8,
    denoises: bool = True,
    age: float = 0.0,
    remaining: float = 1.0,
) -> WaitingCall:
    return WaitingCall(ticket, key, rows, cap, denoises, age_seconds=age, remaining_seconds=remaining)


def tickets(calls: list[WaitingCall]) -> list[int]:
    return [call.ticket for call in calls]


def test_nothing_waits_nothing_runs() -> None:
    assert choose([]) == []


def test_equal_keys_run_together_up_to_the_cap() -> None:
    calls = [waiting(ticket, cap=6) for ticket in range(5)]
    assert tickets(choose(calls)) == [0, 1, 2]


def test_other_keys_never_join() -> None:
    calls = [waiting(0, key="small"), waiting(1, key="large"), waiting(2, key="small")]
    assert tickets(choose(calls)) == [0, 2]


def test_the_first_runs_even_above_the_cap() -> None:
    assert tickets(choose([waiting(0, rows=4, cap=2), waiting(1, rows=1, cap=2)])) == [0]


def test_a_call_that_does_not_fit_is_passed_over_for_one_that_does() -> None:
    calls = [waiting(0, rows=2, cap=3), waiting(1, rows=2, cap=3), waiting(2, rows=1, cap=3)]
    assert tickets(choose(calls)) == [0, 2]


def test_calls_around_the_steps_go_before_denoising() -> None:
    calls = [waiting(0, remaining=0.1), waiting(1, key="text_encoder", denoises=False, remaining=50.0)]
    assert tickets(choose(calls)) == [1]


def test_little_remaining_work_overtakes_much() -> None:
    long, short = waiting(0, key="large", age=5.0, remaining=40.0), waiting(1, key="small", remaining=2.0)
    assert tickets(choose([long, short])) == [1]


def test_age_wins_in_the_end() -> None:
    """The bound of the module's docstring: R / AGING seconds."""
    remaining = 40.0
    long = waiting(0, key="large", age=remaining / AGING + 0.1, remaining=remaining)
    assert tickets(choose([waiting(1, key="small", remaining=0.0), long])) == [0]


calls = st.lists(
    st.builds(
        WaitingCall,
        ticket=st.integers(0, 10**6),
        key=st.sampled_from(["a", "b", "c"]),
        rows=st.integers(1, 6),
        row_cap=st.integers(1, 16),
        denoises=st.booleans(),
        age_seconds=st.floats(0, 1000),
        remaining_seconds=st.floats(0, 1000),
    ),
    unique_by=lambda call: call.ticket,
    max_size=20,
)


@given(calls)
def test_every_choice_is_one_batch(waiting: list[WaitingCall]) -> None:
    chosen = choose(waiting)
    assert bool(chosen) == bool(waiting)
    assert len({call.key for call in chosen}) <= 1
    assert sum(call.rows for call in chosen) <= (max(chosen[0].row_cap, chosen[0].rows) if chosen else 0)
    assert set(tickets(chosen)) <= set(tickets(waiting))
    assert len(set(tickets(chosen))) == len(chosen)
    if any(not call.denoises for call in waiting):
        assert not any(call.denoises for call in chosen)


@given(calls, st.randoms())
def test_the_order_of_the_queue_does_not_matter(waiting: list[WaitingCall], random: object) -> None:
    shuffled = list(waiting)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(shuffled) == choose(waiting)


def test_nobody_starves_under_a_stream_of_short_requests() -> None:
    """A virtual clock: one request of 20 one-second steps, and a one-second request of another size every second."""
    now, left = 0.0, 20.0
    arrivals: dict[int, float] = {}
    while left and now < 1000:
        arrivals[int(now) + 1] = now
        queue = [waiting(0, key="large", cap=2, age=now, remaining=left)]
        queue += [waiting(ticket, key="small", cap=2, age=now - at, remaining=1.0) for ticket, at in arrivals.items()]
        (first, *_) = choose(queue)
        if first.ticket == 0:
            left -= 1
        else:
            del arrivals[first.ticket]
        now += 1
    # It may be overtaken for 20 / AGING seconds, and takes 20 of its own.
    assert left == 0
    assert now <= 20 / AGING + 20 + 1
