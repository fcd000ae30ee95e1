"""What the benchmarks ask for, when, and how they add up the answers."""

from __future__ import annotations

import asyncio
import time
from statistics import mean

import pytest

from benchmarks.load import Measured, Order, arrivals, closed_loop, never_asked_before, open_loop, orders


def test_alike_orders_differ_in_seed_and_prompt_alone() -> None:
    first, *others = orders("alike", 20)
    assert all(order | {"seed": 0, "prompt": first["prompt"]} == first for order in others)
    assert [order["seed"] for order in others] == list(range(1, 20))


def test_mixed_orders_have_two_sizes_several_steps_and_mostly_guidance() -> None:
    asked = orders("mixed", 400)
    assert {order["size"] for order in asked} == {"64x64", "128x128"}
    assert {order["num_steps"] for order in asked} == {4, 8, 12, 16, 20}
    assert 0.7 < mean(order["guidance_scale"] > 1 for order in asked) < 0.9


def test_large_orders_are_alike_but_of_another_size() -> None:
    assert orders("large", 5) == [order | {"size": "256x256"} for order in orders("alike", 5)]


def test_all_sides_get_the_same_orders() -> None:
    assert orders("mixed", 50) == orders("mixed", 50)


def test_no_prompt_comes_twice() -> None:
    asked = orders("mixed", 10)
    again = [never_asked_before(asked) for _ in range(2)]
    assert len({order["prompt"] for some in (asked, *again) for order in some}) == 30
    assert [order | {"prompt": ""} for order in again[1]] == [order | {"prompt": ""} for order in asked]


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    times = arrivals(4000, rate=8.0)
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert min(gaps) >= 0
    assert mean(gaps) == pytest.approx(1 / 8, rel=0.05)
    assert mean(gap > 1 / 8 for gap in gaps) == pytest.approx(0.368, abs=0.03)  # 1 / e of an exponential's


def test_arrivals_at_another_rate_are_the_same_but_for_their_pace() -> None:
    assert arrivals(30, 4.0) == pytest.approx([2 * time for time in arrivals(30, 8.0)])


def test_runs_add_up() -> None:
    both = Measured((1.0, 3.0), seconds=4.0) + Measured((2.0,), seconds=2.0)
    assert (both.throughput, both.mean, both.percentile(50)) == (0.5, 2.0, 2.0)
    assert both.percentile(95) == pytest.approx(2.9)


def test_a_closed_loop_has_as_many_under_way_as_there_are_clients() -> None:
    under_way, most, sent = 0, 0, []

    async def send(order: Order) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        sent.append(order["seed"])
        under_way -= 1

    measured = asyncio.run(closed_loop(send, orders("alike", 20), clients=3))
    assert most == 3
    assert sorted(sent) == list(range(20))
    assert len(measured.latencies) == 20


def test_an_open_loop_counts_from_the_arrival_even_if_nobody_could_send_it_then() -> None:
    async def send(order: Order) -> None:
        if order["seed"] == 0:
            time.sleep(0.1)  # holds up everybody

    measured = asyncio.run(open_loop(send, orders("alike", 2), times=[0.0, 0.02]))
    assert measured.latencies[1] >= 0.08


def test_an_open_loop_does_not_wait_for_answers() -> None:
    arrived = asyncio.Event()

    async def send(order: Order) -> None:
        if order["seed"] == 0:
            await arrived.wait()
        arrived.set()

    async def both() -> Measured:
        return await asyncio.wait_for(open_loop(send, orders("alike", 2), times=[0.0, 0.01]), 30)

    assert len(asyncio.run(both()).latencies) == 2
