"""Identical requests in flight: who starts the job, who joins it, and who ends it."""

from __future__ import annotations

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
