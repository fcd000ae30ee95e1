from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.engine.cost import CostModel


def measured(**seconds_by_rows: float) -> CostModel:
    cost = CostModel()
    for rows, seconds in seconds_by_rows.items():
        cost.observe("key", int(rows.removeprefix("rows")), seconds)
    return cost


def test_nothing_measured_nothing_known() -> None:
    assert CostModel().row_cap("key") == 1
    assert CostModel().seconds("key", 4) == 0.0


def test_a_launch_bound_shape_asks_for_more_rows() -> None:
    assert measured(rows1=1.0, rows2=1.0, rows4=1.0).row_cap("key") == 8


def test_a_compute_bound_shape_stops_at_its_knee() -> None:
    assert measured(rows1=1.0, rows2=1.1, rows4=2.2, rows8=4.4).row_cap("key") == 2


def test_a_few_percent_are_not_worth_a_bigger_batch() -> None:
    assert measured(rows2=2.0, rows4=3.95).row_cap("key") == 2


def test_keys_are_apart() -> None:
    cost = measured(rows1=1.0, rows2=1.0)
    assert cost.row_cap("other") == 1


def test_an_outlier_does_not_count_and_a_lasting_change_does() -> None:
    cost = measured(rows2=1.0)
    cost.observe("key", 2, 100.0)
    assert cost.seconds("key", 2) == 1.0
    for _ in range(8):
        cost.observe("key", 2, 2.0)
    assert cost.seconds("key", 2) == 2.0


def test_what_callers_choose_cannot_fill_the_memory() -> None:
    cost = CostModel()
    for size in range(5000):
        cost.observe(("unet", size), 2, 1.0)
    assert len(cost._shapes) <= 1024
    assert cost.seconds(("unet", 4999), 2) == 1.0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("knee", "least", "most"), [(32, 24, 64), (2, 2, 4)], ids=["launch-bound", "compute-bound"])
def test_under_noise_and_backlog_the_cap_finds_the_knee(knee: int, least: int, most: int, seed: int) -> None:
    """A forward costs the same up to the knee; measurements are 5 % uneven, the first is cold and some are far off."""
    noise, cost = Random(seed), CostModel()
    caps = []
    for forward in range(600):
        rows = max(2, cost.row_cap("key"))  # there is always more waiting; guidance makes a request two rows
        seconds = max(1.0, rows / knee) * noise.uniform(1.0, 1.05)
        cost.observe("key", rows, seconds * (20 if forward == 0 or noise.random() < 0.01 else 1))
        caps.append(rows)
    usual = sorted(caps[300:])[150]
    assert least <= usual <= most


def test_a_cold_outlier_cannot_hold_guided_requests_at_one() -> None:
    """Guidance makes a request two rows: the look above a knee of one row must be at more than one request."""
    cost = measured(rows1=1.0, rows2=1.96, rows4=40.0)
    for _ in range(200):
        rows = max(2, cost.row_cap("key", rows=2))
        cost.observe("key", rows, 1.0)
    assert cost.row_cap("key", rows=2) >= 16


def test_after_light_traffic_a_backlog_is_batched_again() -> None:
    """Batches are measured slow once, then requests come alone for long; the knee must not stay at one request."""
    cost = measured(rows2=1.0, rows4=4.0, rows8=8.0)
    for _ in range(1000):
        cost.observe("key", 2, 1.0)
    for _ in range(200):
        rows = cost.row_cap("key")
        cost.observe("key", rows, 1.0)
    assert cost.row_cap("key") >= 32


def test_prediction_from_the_nearest_measurement() -> None:
    cost = measured(rows2=1.0, rows8=2.0)
    assert cost.seconds("key", 2) == 1.0
    assert cost.seconds("key", 1) == 1.0
    assert cost.seconds("key", 16) == 4.0


@given(st.dictionaries(st.integers(1, 64), st.floats(0.001, 100), min_size=1))
def test_the_cap_is_a_measured_count_or_twice_the_largest(seconds: dict[int, float]) -> None:
    cost = CostModel()
    for rows, value in seconds.items():
        cost.observe("key", rows, value)
    assert cost.row_cap("key") in {*seconds, *(2 * rows for rows in seconds)}
