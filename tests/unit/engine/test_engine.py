"""The engine with a toy module: everything that no picture is needed for."""

from __future__ import annotations

import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from deployments.engine.collate import MergeRules
from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.engine.job import Job, JobState
from deployments.engine.shared_module import share
from deployments.engine.workload import Role, Workload
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    InvalidOutput,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ReplicaLost,
)

SECONDS = 30  # for what takes milliseconds: only a hang takes longer


class Toy(nn.Module):
    """Adds the timestep to every row. Rows of -1 poison a batch; more than `fits` rows do not fit into memory."""

    def __init__(self) -> None:
        super().__init__()
        self.fits = 100
        self.breaks_with: Exception | None = None
        self.loses_rows = False
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def forward(self, sample: Tensor, timestep: Tensor | int) -> Tensor:
        self.entered.set()
        assert self.gate.wait(SECONDS)
        self.batches.append(sample.shape[0])
        if sample.shape[0] > self.fits:
            raise torch.OutOfMemoryError("simulated")
        if self.breaks_with:
            raise self.breaks_with
        if (sample == -1).any():
            raise ValueError("poison")
        assert not torch.is_grad_enabled()
        output = sample + (timestep[:, None] if isinstance(timestep, Tensor) else timestep)
        return output[:1] if self.loses_rows else output


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def engine() -> Iterator[DiffusionEngine]:
    engine = DiffusionEngine(EngineLimits(max_rows=64))
    yield engine
    engine.stop()


Pipeline = Callable[[], float]


def pipeline(
    toy: Toy,
    start: float = 0.0,
    steps: int = 4,
    width: int = 3,
    rows: int = 1,
    finish: Callable[[], None] | None = None,
    at_step: Callable[[int], None] | None = None,
) -> Pipeline:
    """Counts to `start + steps`, one denoising step each."""
    net = share(toy, "toy", {"forward": MergeRules(per_row=frozenset({"timestep"}))}, role=Role.DENOISES)

    def run() -> float:
        sample = torch.full((rows, width), float(start))
        for step in range(steps):
            sample = net(sample, 1)
            if at_step:
                at_step(step + 1)
        if finish:
            finish()
        return sample[0, 0].item()

    return run


def submit_all(engine: DiffusionEngine, pipelines: list[Pipeline]) -> list[Job[float]]:
    """Submitted before the engine starts, so that what runs together does not depend on timing."""
    jobs = [engine.submit(pipeline) for pipeline in pipelines]
    engine.start()
    return jobs


def results(jobs: list[Job[float]]) -> list[float]:
    return [job.future.result(SECONDS) for job in jobs]


def test_requests_share_forwards_and_leave_when_done(engine: DiffusionEngine, toy: Toy) -> None:
    jobs = submit_all(
        engine, [pipeline(toy, start=10, steps=2), pipeline(toy, start=20, steps=5), pipeline(toy, steps=3)]
    )
    assert results(jobs) == [12.0, 25.0, 3.0]
    assert toy.batches == [3, 3, 2, 1, 1]
    (forwards,) = engine.statistics().forwards.values()
    assert (forwards.forwards, forwards.calls, forwards.largest_batch) == (5, 10, 3)


def test_a_request_joins_a_running_batch(engine: DiffusionEngine, toy: Toy) -> None:
    late: list[Job[float]] = []

    def submit_late(step: int) -> None:
        if step == 2:
            late.append(engine.submit(pipeline(toy, steps=2)))

    (job,) = submit_all(engine, [pipeline(toy, steps=6, at_step=submit_late)])
    assert results([job]) == [6.0]
    assert results(late) == [2.0]
    assert toy.batches == [1, 1, 2, 2, 1, 1]


def test_the_seconds_of_a_forward_are_divided_by_rows(engine: DiffusionEngine, toy: Toy) -> None:
    jobs = submit_all(engine, [pipeline(toy), pipeline(toy, rows=3), pipeline(toy, steps=8), pipeline(toy, width=5)])
    results(jobs)
    assert toy.batches.count(5) == 4
    one, three, longer, _ = [job.device_seconds for job in jobs]
    assert 0 < one < longer
    assert three == pytest.approx(3 * one)
    spent = sum(forwards.seconds for forwards in engine.statistics().forwards.values())
    assert sum(job.device_seconds for job in jobs) == pytest.approx(spent)


def test_seconds_that_were_lost_are_nobodys(toy: Toy) -> None:
    job = Job(0, pipeline(toy), Workload(), SECONDS, lambda: None, lambda _: None)
    job.device_seconds = 1.0
    job.start_over()
    assert job.device_seconds == 0.0


def test_sizes_never_share_a_forward(engine: DiffusionEngine, toy: Toy) -> None:
    jobs = submit_all(engine, [pipeline(toy, width=3), pipeline(toy, width=4)])
    assert results(jobs) == [4.0, 4.0]
    assert set(toy.batches) == {1}


def test_a_short_request_overtakes_a_long_one_of_another_size(engine: DiffusionEngine, toy: Toy) -> None:
    order: list[str] = []
    toy.register_forward_pre_hook(lambda *_: None if order else time.sleep(0.02))  # steps longer than between submits
    long = pipeline(toy, steps=50, width=3, finish=lambda: order.append("long"))
    short = pipeline(toy, steps=4, width=4, finish=lambda: order.append("short"))
    jobs = [engine.submit(work, Workload(steps=steps)) for work, steps in ((long, 50), (short, 4))]
    engine.start()
    assert results(jobs) == [50.0, 4.0]
    assert order == ["short", "long"]


def test_it_runs_in_the_context_of_whoever_starts_it(engine: DiffusionEngine, toy: Toy) -> None:
    setting = contextvars.ContextVar("setting", default="as torch has it")
    seen: list[str] = []
    toy.register_forward_pre_hook(lambda *_: seen.append(setting.get()))
    setting.set("as the model that was loaded needs it")
    results(submit_all(engine, [pipeline(toy, steps=1)]))
    assert seen == ["as the model that was loaded needs it"]


def test_the_cap_on_rows_holds(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=2))
    assert results(submit_all(engine, [pipeline(toy, steps=2) for _ in range(5)])) == [2.0] * 5
    assert max(toy.batches) == 2
    engine.stop()


def test_forecasts_count_with_a_cap_on_rows_that_has_changed(engine: DiffusionEngine, toy: Toy) -> None:
    """Also where much larger forwards were seen to cost no more."""
    toy.register_forward_pre_hook(lambda *_: time.sleep(0.02))
    results(submit_all(engine, [pipeline(toy, steps=4) for _ in range(8)]))
    results([engine.submit(pipeline(toy, steps=4))])  # now one row is known to cost what eight do
    toy.gate.clear()
    jobs = [engine.submit(pipeline(toy, steps=4)) for _ in range(8)]
    together = engine.backlog_seconds()
    engine.limits = EngineLimits(max_rows=1)
    assert engine.backlog_seconds() > 4 * together
    toy.gate.set()
    results(jobs)


def test_the_cap_on_running_holds_and_the_rest_waits(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=64, max_running=2))
    assert results(submit_all(engine, [pipeline(toy, steps=2) for _ in range(5)])) == [2.0] * 5
    assert max(toy.batches) == 2
    engine.stop()


def test_a_full_queue_refuses(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=1, max_queued=1))
    engine.submit(pipeline(toy))
    engine.submit(pipeline(toy))
    with pytest.raises(Overloaded) as refused:
        engine.submit(pipeline(toy))
    assert refused.value.retry_after_seconds is not None
    engine.stop()


def test_a_flood_of_one_caller_leaves_the_queue_and_its_places_to_others(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=64, max_running=2, max_queued=6))
    order: list[str] = []

    def ask(caller: str) -> Job[float]:
        return engine.submit(pipeline(toy, steps=20, finish=lambda: order.append(caller)), Workload(caller=caller))

    flood = [ask("flood") for _ in range(8)]
    with pytest.raises(Overloaded):
        ask("flood")
    polite = ask("polite")
    engine.start()
    results([*flood, polite])
    assert order.index("polite") <= 2  # and not behind the eight
    engine.stop()


def test_callers_have_room_by_their_weights_and_all_together_twice_as_much(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=2, max_queued=6))

    def most(caller: str, weight: float = 1.0) -> int:
        taken = 0
        try:
            while True:
                engine.submit(pipeline(toy), Workload(caller=caller, weight=weight))
                taken += 1
        except Overloaded:
            return taken

    assert most("first") == 8
    assert most("heavy", weight=3.0) == 6
    assert most("light", weight=0.8) == 2  # a share of 1.3
    assert sum(most(f"another {number}") for number in range(5)) == 0
    engine.stop()


def test_when_to_come_again_is_when_enough_has_ended(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=1, max_queued=7))
    engine.start()
    assert results([engine.submit(pipeline(toy, steps=20), Workload(steps=20))]) == [20.0]
    toy.gate.clear()
    for caller, count in (("flood", 8), ("other", 4)):
        for _ in range(count):
            engine.submit(pipeline(toy, steps=20), Workload(steps=20, caller=caller))
    hints = []
    for caller in ("other", "flood"):
        with pytest.raises(Overloaded) as refused:
            engine.submit(pipeline(toy), Workload(steps=20, caller=caller))
        hints.append(refused.value.retry_after_seconds)
    one = engine.backlog_seconds() / 12
    assert hints == pytest.approx([one, 5 * one], rel=0.2)  # of the flood's, those beyond its half and one
    toy.gate.set()
    engine.stop()


def test_an_order_is_taken_as_one(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=1, max_queued=1))
    order = Workload(steps=20, order="a")
    engine.start()
    assert results([engine.submit(pipeline(toy, steps=20), Workload(steps=20))]) == [20.0]
    toy.gate.clear()
    jobs = [engine.submit(pipeline(toy, steps=20), order) for _ in range(5)]  # more than there is room for
    with pytest.raises(Overloaded):
        engine.submit(pipeline(toy, steps=20), Workload(steps=20))
    toy.gate.set()
    assert results(jobs) == [20.0] * 5
    engine.stop()


def test_a_failing_request_fails_alone(engine: DiffusionEngine, toy: Toy) -> None:
    good, bad, fine = submit_all(engine, [pipeline(toy), pipeline(toy, start=-1, steps=4), pipeline(toy, start=5)])
    with pytest.raises(GenerationFailed) as failed:
        bad.future.result(SECONDS)
    assert "poison" not in str(failed.value)
    assert results([good, fine]) == [4.0, 9.0]
    assert (engine.statistics().finished, engine.statistics().failed) == (2, 1)


def test_an_error_of_our_own_arrives_as_it_is(engine: DiffusionEngine, toy: Toy) -> None:
    def fail() -> None:
        raise InvalidOutput("not finite")

    (job,) = submit_all(engine, [pipeline(toy, finish=fail)])
    with pytest.raises(InvalidOutput, match="not finite"):
        job.future.result(SECONDS)


def test_out_of_memory_splits_the_batch_and_is_remembered(engine: DiffusionEngine, toy: Toy) -> None:
    toy.fits = 2
    assert results(submit_all(engine, [pipeline(toy, steps=3) for _ in range(4)])) == [3.0] * 4
    assert toy.batches == [4, 2, 2, 2, 2, 2, 2]  # halved once, and no further than had to be


def test_what_does_not_fit_alone_is_out_of_memory(engine: DiffusionEngine, toy: Toy) -> None:
    toy.fits = 0
    (job,) = submit_all(engine, [pipeline(toy)])
    with pytest.raises(OutOfMemory):
        job.future.result(SECONDS)


class Held(Toy):
    """A device whose memory is held by the requests that run: a step of one takes what two hold."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.held, self.peak = room, 0, 0

    def forward(self, sample: Tensor, timestep: Tensor | int) -> Tensor:
        if self.held + sample.shape[0] > self.room:
            raise torch.OutOfMemoryError("simulated")
        self.peak = max(self.peak, self.held)
        return super().forward(sample, timestep)

    def pipeline(self, holds: int, steps: int = 3) -> Pipeline:
        counts = pipeline(self, steps=steps)

        def run() -> float:
            self.held += holds
            try:
                return counts()
            finally:
                self.held -= holds

        return run


def test_what_others_leave_no_room_for_waits_until_they_have_ended(engine: DiffusionEngine) -> None:
    toy = Held(room=10)
    jobs = submit_all(engine, [toy.pipeline(holds=2, steps=steps) for steps in (4, 6, 8)] + [toy.pipeline(holds=6)])
    assert results(jobs) == [4.0, 6.0, 8.0, 3.0]
    assert engine.statistics().failed == 0


def test_who_fits_alone_never_fails_for_want_of_room(engine: DiffusionEngine) -> None:
    """Two cannot be held at once, nor go on: one starts over when the other has ended."""
    toy = Held(room=10)
    jobs = submit_all(engine, [toy.pipeline(holds=6) for _ in range(3)] + [toy.pipeline(holds=10)])
    ended = [job.future.exception(SECONDS) for job in jobs]
    assert [type(error) for error in ended] == [type(None)] * 3 + [OutOfMemory]  # the last has none for its own step
    assert toy.held == 0
    assert results([engine.submit(toy.pipeline(holds=9))]) == [3.0]


def test_nobody_is_started_while_somebody_waits_for_room(engine: DiffusionEngine) -> None:
    toy = Held(room=10)
    late: list[Job[float]] = []

    def submit_late() -> float:
        late.append(engine.submit(toy.pipeline(holds=5)))
        return pipeline(toy, steps=8)()

    jobs = submit_all(engine, [submit_late, toy.pipeline(holds=9, steps=2)])
    assert results(jobs) == [8.0, 2.0]
    assert results(late) == [3.0]


class TellsOfMemory:
    """A device of 100 bytes, of which a row takes 10 and a forward 20."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def start(self) -> None:
        pass

    def needed(self) -> int:
        return 20 + 10 * self.toy.batches[-1]

    def free(self) -> int:
        return 100


def test_batches_keep_within_the_memory_that_is_left(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=64), TellsOfMemory(toy))
    toy.fits = 8
    assert results(submit_all(engine, [pipeline(toy, steps=3)])) == [3.0]
    assert results([engine.submit(pipeline(toy, steps=6)) for _ in range(20)]) == [6.0] * 20
    assert max(toy.batches) <= 7  # 92 bytes are 20 and 7.2 rows
    engine.stop()


def test_each_size_has_room_of_its_own(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=64, max_running=1))
    order: list[str] = []
    toy.register_forward_pre_hook(lambda *_: None if order else time.sleep(0.02))  # steps longer than between submits
    for _ in range(3):
        engine.submit(pipeline(toy, steps=50, width=3, finish=lambda: order.append("long")), Workload(None, 1000, 50))
    short = engine.submit(pipeline(toy, steps=4, width=4, finish=lambda: order.append("short")), Workload(None, 10, 4))
    engine.start()
    assert results([short]) == [4.0]
    assert order[0] == "short"  # the long ones may have ended since
    engine.stop()


def test_what_cannot_end_in_time_is_refused_and_told_when_to_come_again(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=64))
    engine.start()
    assert results([engine.submit(pipeline(toy, steps=20), Workload(steps=20))]) == [20.0]
    toy.gate.clear()
    engine.submit(pipeline(toy, steps=20), Workload(steps=20))
    backlog = engine.backlog_seconds()
    assert backlog > 0
    with pytest.raises(Overloaded) as refused:
        engine.submit(pipeline(toy, steps=20), Workload(steps=20), seconds=backlog / 100)
    assert refused.value.retry_after_seconds is not None
    assert 0 < refused.value.retry_after_seconds <= 2 * backlog + 1e-6
    toy.gate.set()
    engine.stop()


def test_how_long_a_request_will_take_is_told(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_rows=64))
    engine.start()
    assert results([engine.submit(pipeline(toy, steps=20), Workload(steps=20))]) == [20.0]
    toy.gate.clear()
    short = engine.submit(pipeline(toy, steps=5), Workload(steps=5))
    long = engine.submit(pipeline(toy, steps=50), Workload(steps=50))
    assert 0 < engine.seconds_until_done(short) < engine.seconds_until_done(long)
    toy.gate.set()
    assert results([short, long]) == [5.0, 50.0]
    assert engine.backlog_seconds() == 0
    engine.stop()


def test_how_many_wait_before_a_request_is_told(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=1))
    toy.gate.clear()
    engine.start()
    running = engine.submit(pipeline(toy))
    assert toy.entered.wait(SECONDS)
    waiting = [engine.submit(pipeline(toy), Workload(priority=priority)) for priority in (0, 0, 1)]
    assert [engine.waiting_ahead_of(job) for job in (running, *waiting)] == [0, 1, 2, 0]
    toy.gate.set()
    results([running, *waiting])
    assert engine.waiting_ahead_of(waiting[1]) == 0
    engine.stop()


def test_out_of_memory_between_module_calls_is_told_as_such(engine: DiffusionEngine) -> None:
    def merge() -> None:
        raise torch.OutOfMemoryError("simulated")

    (job,) = submit_all(engine, [merge])
    with pytest.raises(OutOfMemory):
        job.future.result(SECONDS)


def test_cancelling_takes_effect_within_one_step_and_disturbs_nobody(engine: DiffusionEngine, toy: Toy) -> None:
    toy.gate.clear()
    stays, leaves = submit_all(engine, [pipeline(toy, steps=10), pipeline(toy, steps=10)])
    assert toy.entered.wait(SECONDS)
    leaves.cancel()  # while the first forward runs
    toy.gate.set()
    assert results([stays]) == [10.0]
    with pytest.raises(EaselError, match="cancelled"):
        leaves.future.result(SECONDS)
    assert leaves.state is JobState.CANCELLED
    assert toy.batches == [2] + [1] * 9


def test_cancelling_a_waiting_request_never_starts_it(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=1))
    first, second = engine.submit(pipeline(toy)), engine.submit(lambda: pytest.fail("must not start"))
    second.cancel()
    engine.start()
    assert results([first]) == [4.0]
    with pytest.raises(EaselError, match="cancelled"):
        second.future.result(SECONDS)
    engine.stop()


def test_a_hung_forward_is_noticed_and_everybody_answered(toy: Toy) -> None:
    toy.gate.clear()
    deaths: list[int] = []
    engine = DiffusionEngine(EngineLimits(max_rows=64), on_death=lambda: deaths.append(1))
    toy.gate.clear()
    jobs = submit_all(engine, [pipeline(toy), pipeline(toy)])
    other = engine.submit(pipeline(toy, width=5))  # cannot be in the same forward
    engine.check(watchdog_seconds=60)
    assert toy.entered.wait(SECONDS)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="stopped answering"):
            engine.check(watchdog_seconds=0)
    for job in jobs:  # one of them may be the reason
        with pytest.raises(ModelUnavailable) as failed:
            job.future.result(SECONDS)
        assert failed.value.code == "replica_lost"
    with pytest.raises(ReplicaLost):  # may be tried elsewhere
        other.future.result(SECONDS)
    with pytest.raises(ReplicaLost):
        engine.submit(pipeline(toy))
    assert deaths == [1]
    toy.gate.set()
    engine.stop()


def test_a_pipeline_that_hangs_between_calls_is_noticed_too(toy: Toy) -> None:
    engine = DiffusionEngine()
    hanging, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        assert go_on.wait(SECONDS)

    (job,) = submit_all(engine, [pipeline(toy, steps=1, finish=hang)])
    assert hanging.wait(SECONDS)
    with pytest.raises(ModelUnavailable):
        engine.check(watchdog_seconds=0)
    with pytest.raises(ModelUnavailable):
        job.future.result(SECONDS)
    go_on.set()
    engine.stop()


def test_an_idle_engine_is_healthy_for_ever(engine: DiffusionEngine, toy: Toy) -> None:
    (job,) = submit_all(engine, [pipeline(toy)])
    assert results([job]) == [4.0]
    while engine._busy_since is not None:
        time.sleep(0.01)
    engine.check(watchdog_seconds=0)


def test_an_error_of_the_device_ends_the_engine(toy: Toy) -> None:
    """After it every call on the device fails: only a new process helps."""
    deaths: list[int] = []
    engine = DiffusionEngine(EngineLimits(max_rows=64), on_death=lambda: deaths.append(1))
    toy.breaks_with = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    for job in submit_all(engine, [pipeline(toy), pipeline(toy)]):
        with pytest.raises(ModelUnavailable):
            job.future.result(SECONDS)
    with pytest.raises(ModelUnavailable):
        engine.check(watchdog_seconds=60)
    with pytest.raises(ReplicaLost):
        engine.submit(pipeline(toy))
    engine.stop()  # which waits for its thread: that answers first
    assert deaths == [1]


def test_an_error_of_the_device_between_calls_ends_it_too(toy: Toy) -> None:
    engine = DiffusionEngine()

    def fail() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    (job,) = submit_all(engine, [pipeline(toy, finish=fail)])
    with pytest.raises(ModelUnavailable):
        job.future.result(SECONDS)
    with pytest.raises(ModelUnavailable, match="failed"):
        engine.check(watchdog_seconds=0)
    engine.stop()


def test_a_devices_out_of_memory_is_no_error_of_the_device(engine: DiffusionEngine, toy: Toy) -> None:
    toy.breaks_with = torch.AcceleratorError("CUDA error: out of memory")
    (job,) = submit_all(engine, [pipeline(toy)])
    with pytest.raises(OutOfMemory):
        job.future.result(SECONDS)
    engine.check(watchdog_seconds=60)


def test_arguments_that_have_no_key_fail_their_own_request(engine: DiffusionEngine, toy: Toy) -> None:
    net = share(toy, "toy", {"forward": MergeRules()}, role=Role.DENOISES)

    def unsortable() -> None:
        net(torch.zeros(1, 3), {1: "a", "b": 2})

    bad = engine.submit(unsortable)
    (good,) = submit_all(engine, [pipeline(toy)])
    assert results([good]) == [4.0]
    with pytest.raises(GenerationFailed):
        bad.future.result(SECONDS)


def test_a_cpus_own_words_for_out_of_memory(engine: DiffusionEngine, toy: Toy) -> None:
    toy.breaks_with = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    (job,) = submit_all(engine, [pipeline(toy)])
    with pytest.raises(OutOfMemory):
        job.future.result(SECONDS)


def test_an_output_that_cannot_be_split_is_never_shared(engine: DiffusionEngine, toy: Toy) -> None:
    toy.loses_rows = True
    assert results(submit_all(engine, [pipeline(toy, start=1), pipeline(toy, start=5)])) == [5.0, 9.0]


def test_a_late_request_ends_wherever_it_is(toy: Toy) -> None:
    engine = DiffusionEngine(EngineLimits(max_running=1))
    engine.start()
    running = engine.submit(pipeline(toy, steps=10**6), seconds=1.0)
    assert toy.entered.wait(SECONDS)
    queued = engine.submit(pipeline(toy), seconds=0.1)
    for job in (running, queued):
        with pytest.raises(DeadlineExceeded):
            job.future.result(SECONDS)
    assert results([engine.submit(pipeline(toy), seconds=SECONDS)]) == [4.0]
    engine.stop()


def test_cancelling_cannot_be_outlived(engine: DiffusionEngine, toy: Toy) -> None:
    """Not by a pipeline that swallows it, nor by cleanup that calls a module."""
    work = pipeline(toy)

    def stubborn() -> float:
        try:
            return work()
        except BaseException:
            return work()

    toy.gate.clear()
    (job,) = submit_all(engine, [stubborn])
    assert toy.entered.wait(SECONDS)
    job.cancel()
    toy.gate.set()
    with pytest.raises(EaselError, match="cancelled"):
        job.future.result(SECONDS)
    assert results([engine.submit(pipeline(toy))]) == [4.0]


def test_what_a_failed_request_held_is_freed_at_once(engine: DiffusionEngine, toy: Toy) -> None:
    """Not by a later garbage collection: on a GPU that is memory the next request needs."""
    held: list[weakref.ref[Tensor]] = []
    net = share(toy, "toy", {"forward": MergeRules()}, role=Role.DENOISES)

    def fail() -> None:
        activation = torch.full((1, 3), -1.0)
        held.append(weakref.ref(activation))
        net(activation, 1)

    gc.collect()
    gc.disable()
    try:
        job = engine.submit(fail)
        engine.start()
        with pytest.raises(GenerationFailed):
            job.future.result(SECONDS)
        assert results([engine.submit(pipeline(toy))]) == [4.0]  # the thread has gone on
        assert held[0]() is None
    finally:
        gc.enable()


def test_no_text_of_a_failure_is_logged(engine: DiffusionEngine, toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    toy.breaks_with = ValueError("a prompt that is nobody's business")
    (job,) = submit_all(engine, [pipeline(toy)])
    with pytest.raises(GenerationFailed):
        job.future.result(SECONDS)
    assert "ValueError" in caplog.text
    assert "nobody's business" not in caplog.text


def test_stopping_answers_everybody(toy: Toy) -> None:
    engine = DiffusionEngine()
    job = engine.submit(pipeline(toy))
    engine.stop()
    with pytest.raises(ReplicaLost):
        job.future.result(SECONDS)
    with pytest.raises(ReplicaLost):
        engine.submit(pipeline(toy))


def test_memory_is_back_at_its_baseline(engine: DiffusionEngine, toy: Toy) -> None:
    """After a load of finished, failed and cancelled requests no tensor of theirs is left."""

    def tensors() -> int:
        while engine._busy_since is not None:  # it answers before it lets go
            time.sleep(0.01)
        gc.collect()
        return sum(issubclass(type(each), Tensor) for each in gc.get_objects())

    engine.start()
    assert results([engine.submit(pipeline(toy))]) == [4.0]
    before = tensors()
    jobs = [engine.submit(pipeline(toy, start=-1.0 if each % 5 == 0 else each)) for each in range(60)]
    for job in jobs[::4]:
        job.cancel()
    for job in jobs:
        job.future.exception(SECONDS)
    assert results([engine.submit(pipeline(toy))]) == [4.0]
    assert tensors() <= before


@pytest.mark.parametrize("seed", range(20))
def test_every_request_gets_exactly_one_answer_whatever_happens(seed: int) -> None:
    """Random arrivals, cancellations, poison and tight memory: the sum of outcomes is the number of requests."""
    generator = torch.Generator().manual_seed(seed)

    def pick(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    toy, engine = Toy(), DiffusionEngine(EngineLimits(max_running=4, max_rows=8))
    toy.fits = 3
    engine.start()
    expected: list[tuple[Job[float], float, bool]] = []
    for _ in range(25):
        start = -1.0 if pick(6) == 0 else float(pick(100))
        steps = 1 + pick(6)
        job = engine.submit(pipeline(toy, start=start, steps=steps, width=2 + pick(2)))
        if cancelled := pick(5) == 0:
            job.cancel()
        expected.append((job, start + steps, cancelled))
    for job, value, cancelled in expected:
        error = job.future.exception(SECONDS)
        if error is None:
            assert job.future.result() == value
        else:
            assert cancelled or isinstance(error, GenerationFailed)
            assert not isinstance(error, OutOfMemory)
    counted = engine.statistics()
    assert counted.finished + counted.failed + counted.cancelled == len(expected)
    assert (counted.running, counted.waiting) == (0, 0)
    engine.stop()
