from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.engine.scheduler import AGING, TURN_SECONDS, DeficitRoundRobin, Scheduler, WaitingCall
from deployments.engine.workload import Role


def waiting(
    number: int,
    key: Hashable = "unet",
    rows: int = 2,
    cap: int = 8,
    role: Role = Role.DENOISES,
    age: float = 0.0,
    remaining: float = 1.0,
    **changed: Any,
) -> WaitingCall:
    values = {"seconds": 0.1, "age_seconds": age, "remaining_seconds": remaining}
    return WaitingCall(number, key, rows, cap, role, **{**values, **changed})


def chosen(calls: list[WaitingCall]) -> list[int]:
    return [call.number for call in Scheduler().choose(calls)]


def surrounding(number: int, **changed: Any) -> WaitingCall:
    return waiting(number, **{"key": "text_encoder", "role": Role.SURROUNDS, "cap": 2, **changed})


class TestBatches:
    def test_nothing_waits_nothing_runs(self) -> None:
        assert chosen([]) == []

    def test_equal_keys_run_together_up_to_the_cap(self) -> None:
        assert chosen([waiting(number, cap=6) for number in range(5)]) == [0, 1, 2]

    def test_other_keys_never_join(self) -> None:
        assert chosen([waiting(0, key="small"), waiting(1, key="large"), waiting(2, key="small")]) == [0, 2]

    def test_the_first_runs_even_above_the_cap(self) -> None:
        assert chosen([waiting(0, rows=4, cap=2), waiting(1, rows=1, cap=2)]) == [0]

    def test_a_call_that_does_not_fit_is_passed_over_for_one_that_does(self) -> None:
        assert chosen([waiting(0, rows=2, cap=3), waiting(1, rows=2, cap=3), waiting(2, rows=1, cap=3)]) == [0, 2]


class TestUrgency:
    def test_little_remaining_work_overtakes_much(self) -> None:
        assert chosen([waiting(0, key="large", age=5.0, remaining=40.0), waiting(1, key="small", remaining=2.0)]) == [1]

    def test_age_wins_in_the_end(self) -> None:
        """The bound of the module's docstring: R / AGING seconds."""
        remaining = 40.0
        long = waiting(0, key="large", age=remaining / AGING + 0.1, remaining=remaining)
        assert chosen([waiting(1, key="small", remaining=0.0), long]) == [0]

    def test_nobody_starves_under_a_stream_of_short_requests(self) -> None:
        """A virtual clock: one request of 20 one-second steps, and a one-second one of another size every second."""
        scheduler, now, left = Scheduler(), 0.0, 20.0
        arrivals: dict[int, float] = {}
        while left and now < 1000:
            arrivals[int(now) + 1] = now
            queue = [waiting(0, key="large", cap=2, age=now, remaining=left)]
            queue += [waiting(number, key="small", cap=2, age=now - at) for number, at in arrivals.items()]
            (first, *_) = scheduler.choose(queue)
            scheduler.ran([first], 1.0)
            if first.number == 0:
                left -= 1
            else:
                del arrivals[first.number]
            now += 1
        # It may be overtaken for 20 / AGING seconds, and takes 20 of its own.
        assert left == 0
        assert now <= 20 / AGING + 20 + 1


class TestPromises:
    def test_who_must_run_now_to_end_in_time_goes_first(self) -> None:
        endangered = waiting(0, key="large", age=50.0, remaining=30.0, seconds_to_deadline=35.0, priority=-1)
        assert chosen([waiting(1, key="small", priority=1, caller="other"), endangered]) == [0]

    def test_the_one_nearest_to_its_end_before_others(self) -> None:
        calls = [
            waiting(0, key="a", age=1.0, remaining=9.0, seconds_to_deadline=10.0),
            waiting(1, key="b", age=1.0, remaining=4.0, seconds_to_deadline=5.0),
        ]
        assert chosen(calls) == [1]

    def test_who_cannot_make_it_any_more_endangers_nobody(self) -> None:
        hopeless = waiting(0, key="large", age=500.0, remaining=30.0, seconds_to_deadline=20.0)
        assert chosen([hopeless, waiting(1, key="small", age=1.0)]) == [1]

    def test_without_a_deadline_nobody_is_endangered(self) -> None:
        assert not waiting(0, remaining=1e9).is_endangered


class TestPriority:
    def test_goes_before_turns_and_urgency(self) -> None:
        assert chosen([waiting(0, key="a"), waiting(1, key="b", remaining=99.0, priority=1, caller="other")]) == [1]

    def test_low_goes_last_and_still_fills_a_batch(self) -> None:
        assert chosen([waiting(0, priority=-1, remaining=0.1), waiting(1)]) == [1, 0]


class TestSurroundings:
    def test_go_before_denoising(self) -> None:
        assert chosen([waiting(0, remaining=0.1), surrounding(1, remaining=50.0)]) == [1]

    def test_never_stall_denoising_for_longer_than_a_step(self) -> None:
        """Encoders of 0.04 s and steps of 0.1 s: three encoders between two steps, however many wait."""
        scheduler, ran = Scheduler(), ""
        queue = [waiting(0, remaining=99.0), *(surrounding(number) for number in range(1, 60))]
        for _ in range(40):
            calls = scheduler.choose(queue)
            scheduler.ran(calls, 0.1 if calls[0].role is Role.DENOISES else 0.04)
            if calls[0].role is Role.SURROUNDS:
                queue.remove(calls[0])
            ran += calls[0].role.name[0]
        assert ran.startswith("SSSDSSSD")
        assert set(ran.split("D")) <= {"SSS", "SS", "S", ""}

    def test_run_at_once_where_nobody_denoises(self) -> None:
        scheduler = Scheduler()
        for _ in range(50):
            calls = scheduler.choose([surrounding(0)])
            assert calls
            scheduler.ran(calls, 1.0)

    def test_a_guide_runs_ahead_of_the_step_that_it_can_share(self) -> None:
        guide = waiting(1, key="controlnet", role=Role.GUIDES, remaining=9.0)
        assert chosen([waiting(0, cap=4), guide]) == [1]

    def test_a_guide_of_somebody_whom_the_step_has_no_room_for_waits(self) -> None:
        guide = waiting(2, key="controlnet", role=Role.GUIDES, remaining=9.0)
        assert chosen([waiting(0, cap=4), waiting(1, cap=4), guide]) == [0, 1]


class TestTurns:
    def serve(self, callers: dict[str, tuple[int, float]], seconds: float, forwards: int = 600) -> Counter[str]:
        """Seconds that each caller got, who has so many requests of its own size waiting all the time."""
        scheduler, got = Scheduler(), Counter[str]()
        queue = [
            waiting(index * 100 + each, key=caller, cap=2, caller=caller, weight=weight)
            for index, (caller, (count, weight)) in enumerate(callers.items())
            for each in range(count)
        ]
        for _ in range(forwards):
            calls = scheduler.choose(queue)
            scheduler.ran(calls, seconds)
            got[calls[0].caller] += 1
        return got

    @pytest.mark.parametrize("seconds", [0.01, 0.3, 7.0])
    def test_many_requests_of_one_caller_leave_the_others_their_share(self, seconds: float) -> None:
        got = self.serve({"flood": (50, 1.0), "one": (1, 1.0)}, seconds)
        assert abs(got["one"] - 300) * seconds <= max(TURN_SECONDS, seconds) + 1e-6

    def test_shares_follow_weights(self) -> None:
        got = self.serve({"heavy": (5, 3.0), "light": (5, 1.0)}, 0.1)
        assert got["heavy"] == pytest.approx(450, abs=40)

    def test_others_join_the_forward_of_whose_turn_it_is(self) -> None:
        calls = [waiting(0, caller="a", cap=4), waiting(1, caller="b", cap=4)]
        assert len(chosen(calls)) == 2

    def test_credit_is_not_saved_while_away(self) -> None:
        turns = DeficitRoundRobin()
        for _ in range(100):
            turns.charge(turns.turn({"a": 1.0}, among=["a"]), 1.0)
        order = []
        for _ in range(20):
            order.append(turns.turn({"a": 1.0, "b": 1.0}, among=["a", "b"]))
            turns.charge(order[-1], 1.0)
        assert 8 <= order.count("b") <= 12

    @given(
        st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 10), min_size=1),
        st.lists(st.floats(0, 20), max_size=60),
    )
    def test_it_is_always_the_turn_of_somebody_who_waits(self, weights: dict[str, float], charges: list[float]) -> None:
        turns = DeficitRoundRobin()
        for seconds in charges:
            head = turns.turn(weights, among=weights)
            assert head in weights
            turns.charge(head, seconds)


calls = st.lists(
    st.builds(
        WaitingCall,
        number=st.integers(0, 10**6),
        key=st.sampled_from(["a", "b", "c"]),
        rows=st.integers(1, 6),
        row_cap=st.integers(1, 16),
        role=st.just(Role.DENOISES),
        seconds=st.floats(0, 10),
        age_seconds=st.floats(0, 1000),
        remaining_seconds=st.floats(0, 1000),
        seconds_to_deadline=st.floats(0, 1000) | st.just(float("inf")),
        caller=st.sampled_from(["", "x", "y"]),
        priority=st.integers(-1, 1),
    ),
    unique_by=lambda call: call.number,
    max_size=20,
)


@given(calls)
def test_every_choice_is_one_batch(waiting: list[WaitingCall]) -> None:
    batch = Scheduler().choose(waiting)
    assert bool(batch) == bool(waiting)
    assert len({call.key for call in batch}) <= 1
    assert sum(call.rows for call in batch) <= (max(batch[0].row_cap, batch[0].rows) if batch else 0)
    assert set(batch) <= set(waiting)
    assert len({call.number for call in batch}) == len(batch)


@given(calls, st.randoms())
def test_the_order_of_the_queue_does_not_matter(waiting: list[WaitingCall], random: Any) -> None:
    """But for whose turn comes first among callers that were never seen."""
    alone = [call for call in waiting if call.caller == ""]
    shuffled = list(alone)
    random.shuffle(shuffled)
    assert Scheduler().choose(shuffled) == Scheduler().choose(alone)
