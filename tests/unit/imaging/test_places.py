"""Places that callers take by turns: how many are held, who is next, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.imaging.places import Places

pytestmark = pytest.mark.anyio

SECONDS = 30  # for what takes none: only who is forgotten waits so long


@dataclass
class Visit:
    """Somebody who takes a place and keeps it until told to leave."""

    caller: str
    may_leave: asyncio.Event = field(default_factory=asyncio.Event)
    is_in: bool = False
    task: asyncio.Task[None] | None = None

    async def run(self, places: Places, entered: list[Visit]) -> None:
        async with places.taken_by(self.caller):
            self.is_in = True
            entered.append(self)
            try:
                await self.may_leave.wait()
            finally:
                self.is_in = False

    def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()


class Hall:
    """Places, and everybody who came."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.entered: list[Visit] = []
        self.visits: list[Visit] = []
        self._places = Places(count)

    async def comes(self, caller: str) -> Visit:
        visit = Visit(caller)
        visit.task = asyncio.create_task(visit.run(self._places, self.entered))
        self.visits.append(visit)
        await settled()
        return visit

    async def leaves(self, visit: Visit) -> None:
        visit.may_leave.set()
        await settled()

    def inside(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.is_in]

    def waiting(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.task and not visit.task.done() and not visit.is_in]

    async def order(self) -> str:
        """By whom the places were taken, when everybody inside leaves one by one, who entered first first."""
        for visit in self.entered:  # which grows
            await self.leaves(visit)
        return "".join(visit.caller for visit in self.entered)


async def settled() -> None:
    for _ in range(5):  # a task's turns from being told something to where it waits again
        await asyncio.sleep(0)


async def hall_of(count: int, callers: str) -> Hall:
    """With whoever came, in that order; each letter is a caller."""
    hall = Hall(count)
    for caller in callers:
        await hall.comes(caller)
    return hall


@pytest.mark.parametrize(
    ("count", "came", "taken"),
    [
        (1, "aaa", "aaa"),
        (2, "aaaab", "aabaa"),  # b has fewer
        (1, "aaaab", "aabaa"),  # nobody has any: by turns
        (1, "aaabbbc", "aabcabb"),
        (2, "aabbaacc", "aabacbac"),
        (3, "aaaaaabbb", "aaabababa"),
    ],
)
async def test_who_is_next(count: int, came: str, taken: str) -> None:
    hall = await hall_of(count, came)
    assert await hall.order() == taken
    assert sorted(came) == sorted(taken)


async def test_of_one_caller_the_first_goes_first() -> None:
    hall = await hall_of(1, "aaaa")
    await hall.order()
    assert hall.entered == hall.visits


async def test_two_callers_who_send_much_keep_nobody_waiting_for_long() -> None:
    """Each holds one of two places: whoever leaves has as few as a newcomer, and came before."""
    hall = await hall_of(2, "abaaaabbbb")
    newcomer = await hall.comes("c")
    for number in range(3):
        await hall.leaves(hall.entered[number])
    assert newcomer.is_in


async def test_a_block_that_fails_gives_its_place_back() -> None:
    places = Places(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with places.taken_by("a"):
                raise ZeroDivisionError


@pytest.mark.parametrize("came", ["abcd", "abbb"])
async def test_who_gives_up_waiting_takes_nothing(came: str) -> None:
    hall = await hall_of(1, came)
    first, second, third, fourth = hall.visits
    third.cancel()
    await settled()
    await hall.order()
    assert hall.entered == [first, second, fourth]


@pytest.mark.parametrize("told_first", ["place", "cancellation"])
async def test_a_place_given_to_who_gives_up_at_that_moment_goes_on(told_first: str) -> None:
    hall = Hall(1)
    async with hall._places.taken_by("a"):
        second, third = await hall.comes("b"), await hall.comes("c")
        if told_first == "cancellation":
            second.cancel()
    second.cancel()  # which has not run since
    await settled()
    assert hall.entered == hall.inside() == [third]
    await hall.leaves(third)
    assert (await hall.comes("d")).is_in


async def test_time_that_is_up_counts_as_giving_up() -> None:
    hall = await hall_of(1, "a")
    with anyio.move_on_after(0.01) as scope:
        async with hall._places.taken_by("b"):
            pytest.fail("there is no place")
    assert scope.cancelled_caught
    await hall.leaves(hall.visits[0])
    assert (await hall.comes("c")).is_in


@given(
    count=st.integers(1, 3),
    deeds=st.lists(
        st.tuples(st.sampled_from(["come", "come", "leave", "give up", "leave and give up"]), st.integers(0, 20)),
        min_size=20,  # else most of what is tried is too short for a queue
        max_size=40,
    ),
)
def test_invariants(count: int, deeds: list[tuple[str, int]]) -> None:
    async def check() -> None:
        hall = Hall(count)
        for deed, number in deeds:
            inside, waiting = hall.inside(), hall.waiting()
            held = Counter(visit.caller for visit in inside)
            already = len(hall.entered)
            if deed == "come":
                await hall.comes("abc"[number % 3])
            if "leave" in deed and inside:
                leaving = inside[number % len(inside)]
                held[leaving.caller] -= 1
                leaving.may_leave.set()
            if "give up" in deed and waiting:
                given_up = waiting.pop(number % len(waiting))
                given_up.cancel()
            await settled()
            assert len(hall.inside()) <= count
            assert len(hall.inside()) == count or not hall.waiting()
            for entered in hall.entered[already:]:
                if entered in waiting:
                    assert held[entered.caller] == min(held[visit.caller] for visit in waiting)
                    assert entered is next(visit for visit in waiting if visit.caller == entered.caller)
        left = hall.waiting()
        with anyio.fail_after(SECONDS):
            await hall.order()
            await asyncio.gather(*(visit.task for visit in hall.visits if visit.task), return_exceptions=True)
        assert all(visit in hall.entered for visit in left)
        assert [(await hall.comes("d")).is_in for _ in range(count + 1)] == [True] * count + [False]
        for visit in hall.visits:
            visit.cancel()
        await settled()

    asyncio.run(check())


@given(callers=st.lists(st.sampled_from("abcd"), min_size=2, max_size=30), count=st.integers(1, 3))
def test_nobody_is_overtaken_twice_by_one_caller(callers: list[str], count: int) -> None:
    """Whose first request waits has at most one of each other caller, beside those inside, go before it."""

    async def check() -> None:
        hall = await hall_of(count, "".join(callers) + "z")
        (newcomer,) = (visit for visit in hall.visits if visit.caller == "z")
        inside = len(hall.entered)
        await hall.order()
        before = hall.entered[inside : max(inside, hall.entered.index(newcomer))]
        assert max(Counter(visit.caller for visit in before).values(), default=0) <= 1

    asyncio.run(check())
