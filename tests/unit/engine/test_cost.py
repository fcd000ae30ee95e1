from __future__ import annotations

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
    assert CostModel().row_cap("key") is None
    assert CostModel().seconds("key", 4) == 0.0


def test_a_launch_bound_shape_asks_for_more_rows() -> None:
    assert measured(rows1=1.0, rows2=1.0, rows4=1.0).row_cap("key") == 8


def test_a_compute_bound_shape_stops_at_its_knee() -> None:
    assert measured(rows1=1.0, rows2=1.1, rows4=2.2, rows8=4.4).row_cap("key") == 2


def test_a_few_percent_are_not_worth_a_bigger_batch() -> None:
    assert measured(rows2=2.0, rows4=3.95).row_cap("key") == 2


def test_keys_are_apart() -> None:
    cost = measured(rows1=1.0, rows2=1.0)
    assert cost.row_cap("other") is None


def test_an_outlier_fades() -> None:
    cost = measured(rows2=1.0)
    cost.observe("key", 2, 100.0)
    for _ in range(40):
        cost.observe("key", 2, 1.0)
    assert cost.seconds("key", 2) == pytest.approx(1.0, rel=0.02)


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
    assert cost.row_cap("key") in {*seconds, 2 * max(seconds)}
