"""Identical requests in flight: who starts the job, who joins it, and who ends it."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from deployments.shared_jobs import SharedJobs


class FakeJob:
    settled = False
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """Starts a FakeJob whenever asked, and keeps what tells of its steps."""

    def __init__(self) -> None:
        self.jobs: list[FakeJob] = []
        self.joined: list[FakeJob] = []
        self.tellers: list[Any] = []

    def listen(self, shared: SharedJobs, key: str, heard: list[Any]) -> Any:
        def start(tell: Any) -> Any:
            tell(0, 4, None)  # before `start` has returned, as an engine's thread may
            self.tellers.append(tell)
            self.jobs.append(FakeJob())
            return self.jobs[-1]

        return shared.listening(key, lambda *step: heard.append(step), start, cast("Any", self.joined.append))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_equal_keys_share_a_job_and_hear_of_the_same_steps(bench: Bench) -> None:
    shared, first, second = SharedJobs(), list[Any](), list[Any]()
    with bench.listen(shared, "a", first) as one, bench.listen(shared, "a", second) as other:
        assert one is other
        assert bench.joined == [one]
        bench.tellers[0](1, 4, None)
    assert first == [(0, 4, None), (1, 4, None)]
    assert second == [(0, 4, None), (1, 4, None)]  # the last step was told to who came later


def test_who_comes_later_has_missed_no_preview(bench: Bench) -> None:
    shared, heard = SharedJobs(), list[Any]()
    with bench.listen(shared, "a", []):
        for step in [(1, 4, "preview"), (2, 4, None), (3, 4, None)]:
            bench.tellers[0](*step)
        with bench.listen(shared, "a", heard):
            assert heard == [(1, 4, "preview"), (3, 4, None)]


def test_what_starts_over_tells_no_step_twice(bench: Bench) -> None:
    shared, heard = SharedJobs(), list[Any]()
    with bench.listen(shared, "a", heard):
        for step in [(1, 4, "preview"), (0, 4, None), (1, 4, "preview"), (2, 4, None)]:
            bench.tellers[0](*step)
    assert heard == [(0, 4, None), (1, 4, "preview"), (2, 4, None)]


def test_it_is_known_how_many_listen_and_whether_there_is_a_job_to_join(bench: Bench) -> None:
    shared = SharedJobs()
    assert not shared.has("a")
    with bench.listen(shared, "a", []), bench.listen(shared, "a", []), bench.listen(shared, "b", []):
        assert shared.has("a")
        assert shared.listening_now == 3
        bench.jobs[0].settled = True
        assert not shared.has("a")
    assert shared.listening_now == 0


def test_nothing_is_told_out_of_order_to_who_joins_meanwhile(bench: Bench) -> None:
    shared, told = SharedJobs(), range(1, 2000)
    with bench.listen(shared, "a", []):
        teller = threading.Thread(target=lambda: [bench.tellers[0](step, 2000, None) for step in told])
        teller.start()
        while teller.is_alive():
            heard: list[Any] = []
            with bench.listen(shared, "a", heard):
                pass
            steps = [step for step, *_ in heard]
            assert steps == sorted(set(steps))
        teller.join()


def test_other_keys_have_jobs_of_their_own(bench: Bench) -> None:
    shared = SharedJobs()
    with bench.listen(shared, "a", []) as one, bench.listen(shared, "b", []) as other:
        assert one is not other


def test_the_last_who_listens_ends_it(bench: Bench) -> None:
    shared = SharedJobs()
    with bench.listen(shared, "a", []):
        with bench.listen(shared, "a", []):
            pass
        assert not bench.jobs[0].cancelled
    assert bench.jobs[0].cancelled
    assert not shared._shared


def test_what_has_ended_is_not_joined(bench: Bench) -> None:
    shared = SharedJobs()
    with bench.listen(shared, "a", []):
        bench.jobs[0].settled = True
        with bench.listen(shared, "a", []) as other:
            assert other is bench.jobs[1]
        assert not bench.joined


def test_what_could_not_be_started_leaves_nothing(bench: Bench) -> None:
    shared = SharedJobs()

    def refuse(_: Any) -> Any:
        raise RuntimeError

    with pytest.raises(RuntimeError), shared.listening("a", lambda *_: None, refuse, lambda _: None):
        pass
    assert not shared._shared
