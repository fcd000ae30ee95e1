from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import pytest

from deployments.engine.cost import CostModel
from deployments.engine.forecast import Forecaster, in_fair_shares, unbounded
from deployments.engine.workload import CallKind, CallLog, Recipes, Role, Workload


@dataclass
class Asked:
    """Of one row; every forward of up to four rows takes a second, each row more a quarter."""

    steps: int
    pixels: int = 64
    log: CallLog = field(default_factory=CallLog)

    @property
    def workload(self) -> Workload:
        return Workload(None, self.pixels, self.steps)


def unet(pixels: int) -> CallKind:
    return CallKind(("unet", pixels), 1)


@pytest.fixture
def forecaster() -> Forecaster:
    return known()


def known(most_rows: Callable[[Hashable], int | None] = unbounded) -> Forecaster:
    """Of which all costs and recipes were learnt."""
    cost, recipes = CostModel(), Recipes()
    for pixels in (64, 128):
        for rows in (1, 2, 4, 8):
            cost.observe(("unet", pixels), rows, max(1.0, rows / 4))
        log = CallLog()
        log.add(unet(pixels), Role.DENOISES)
        recipes.learn(Workload(None, pixels), log)
    return Forecaster(cost, recipes, most_rows)


def test_nothing_to_do_takes_no_time(forecaster: Forecaster) -> None:
    assert forecaster.seconds([]) == 0
    assert Forecaster(CostModel(), Recipes()).seconds([Asked(4)]) == 0


def test_one_alone_takes_its_steps(forecaster: Forecaster) -> None:
    assert forecaster.seconds_alone(Asked(10)) == forecaster.seconds([Asked(10)]) == 10


def test_up_to_the_knee_company_costs_nothing(forecaster: Forecaster) -> None:
    assert forecaster.seconds([Asked(10) for _ in range(4)]) == 10


def test_beyond_it_the_work_is_shared_out(forecaster: Forecaster) -> None:
    assert forecaster.seconds([Asked(10) for _ in range(12)]) == 30


@pytest.mark.parametrize(("most_rows", "seconds"), [(2, 60), (1, 120), (8, 30)])
def test_forwards_that_must_be_smaller_than_the_knee_are_more(most_rows: int, seconds: float) -> None:
    bounded = known(lambda shape: most_rows)
    assert bounded.seconds([Asked(10) for _ in range(12)]) == seconds


def test_short_ones_ride_along_with_a_long_one(forecaster: Forecaster) -> None:
    assert forecaster.seconds([Asked(40), Asked(5), Asked(5)]) == 40


def test_sizes_follow_one_another(forecaster: Forecaster) -> None:
    assert forecaster.seconds([Asked(10), Asked(10, pixels=128)]) == 20


def test_what_is_done_is_not_left(forecaster: Forecaster) -> None:
    asked = Asked(10)
    for _ in range(7):
        asked.log.add(unet(64), Role.DENOISES)
    assert forecaster.seconds([asked]) == 3


def test_what_forwards_leave_out_is_added_and_forgotten_again(forecaster: Forecaster) -> None:
    for _ in range(100):
        forecaster.ran(expected_seconds=1.0, taken_seconds=1.5)
    assert forecaster.seconds([Asked(10)]) == pytest.approx(15)
    assert forecaster.seconds_alone(Asked(10)) == 10
    for _ in range(100):
        forecaster.ran(expected_seconds=1.0, taken_seconds=0.5)
    assert forecaster.seconds([Asked(10)]) == 10  # never less than the forwards themselves


def test_a_fair_share_is_no_smaller_than_what_is_left() -> None:
    assert in_fair_shares(everybody=100, own=10, share=0.5) == 20
    assert in_fair_shares(everybody=12, own=10, share=0.5) == 12
    assert in_fair_shares(everybody=10, own=10, share=1.0) == 10
