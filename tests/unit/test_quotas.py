"""What callers with a quota may have, under a clock of the tests."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import QuotaExceeded
from deployments.quotas import Accounts, Quota, Quotas
from tests.unit.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(clock: Clock) -> Accounts:
    return Accounts(clock)


def spend(accounts: Accounts, quota: Quota, seconds: float) -> None:
    accounts.take("spent", quota, 1, 60)
    accounts.settle("spent", quota, seconds)


class TestPicturesInFlight:
    TWO = Quota(caller="otter", max_concurrent=2)

    def test_are_at_most_so_many(self, accounts: Accounts) -> None:
        accounts.take("a", self.TWO, 1, 60)
        accounts.take("b", self.TWO, 1, 60)
        with pytest.raises(QuotaExceeded) as refused:
            accounts.take("c", self.TWO, 1, 60)
        assert refused.value.message.startswith("max_concurrent: ")
        assert "in flight is 2; there are 2, and 1 more" in refused.value.message
        accounts.settle("a", self.TWO, 0.0)
        accounts.take("c", self.TWO, 1, 60)

    def test_of_one_order_count_each(self, accounts: Accounts) -> None:
        with pytest.raises(QuotaExceeded, match="there are 0, and 3 more"):
            accounts.take("a", self.TWO, 3, 60)
        accounts.take("a", self.TWO, 2, 60)
        with pytest.raises(QuotaExceeded):
            accounts.take("b", self.TWO, 1, 60)

    def test_that_were_refused_count_nothing(self, accounts: Accounts) -> None:
        for _ in range(3):
            with pytest.raises(QuotaExceeded):
                accounts.take("a", self.TWO, 3, 60)
        accounts.take("b", self.TWO, 2, 60)

    def test_of_one_caller_are_not_those_of_another(self, accounts: Accounts) -> None:
        accounts.take("a", self.TWO, 2, 60)
        accounts.take("b", Quota(caller="badger", max_concurrent=2), 2, 60)

    def test_end_by_themselves_at_their_deadline(self, accounts: Accounts, clock: Clock) -> None:
        accounts.take("of an ingress that died", self.TWO, 2, 60)
        clock.now += 59.999
        with pytest.raises(QuotaExceeded):
            accounts.take("b", self.TWO, 1, 60)
        clock.now += 0.001
        accounts.take("b", self.TWO, 2, 60)

    def test_are_given_back_once(self, accounts: Accounts) -> None:
        accounts.take("a", self.TWO, 1, 60)
        accounts.take("b", self.TWO, 1, 60)
        for _ in range(3):
            accounts.settle("a", self.TWO, 0.0)
        accounts.settle("never taken", self.TWO, 0.0)
        accounts.take("c", self.TWO, 1, 60)
        with pytest.raises(QuotaExceeded):
            accounts.take("d", self.TWO, 1, 60)

    def test_are_as_many_as_the_quota_of_now_says(self, accounts: Accounts) -> None:
        accounts.take("a", self.TWO, 2, 60)
        with pytest.raises(QuotaExceeded):
            accounts.take("b", Quota(caller="otter", max_concurrent=1), 1, 60)
        accounts.take("b", Quota(caller="otter", max_concurrent=3), 1, 60)


class TestSeconds:
    HOURLY = Quota(caller="otter", gpu_seconds_per_hour=36.0)  # one comes back every hundred seconds

    def test_may_be_spent_at_once_and_overdrawn_by_what_was_let_in(self, accounts: Accounts) -> None:
        spend(accounts, self.HOURLY, 35.9)
        spend(accounts, self.HOURLY, 10.0)
        with pytest.raises(QuotaExceeded) as refused:
            accounts.take("a", self.HOURLY, 1, 60)
        assert refused.value.message.startswith("gpu_seconds_per_hour: ")
        assert "36 seconds of GPU time an hour" in refused.value.message
        assert "in about 990 s" in refused.value.message
        assert refused.value.retry_after_seconds == pytest.approx(990)

    def test_come_back_evenly_with_time(self, accounts: Accounts, clock: Clock) -> None:
        spend(accounts, self.HOURLY, 38.0)
        clock.now += 199
        with pytest.raises(QuotaExceeded):
            accounts.take("a", self.HOURLY, 1, 60)
        clock.now += 2
        accounts.take("a", self.HOURLY, 1, 60)

    def test_are_never_more_than_those_of_an_hour(self, accounts: Accounts, clock: Clock) -> None:
        clock.now += 100 * 3600
        spend(accounts, self.HOURLY, 36.0)
        with pytest.raises(QuotaExceeded):
            accounts.take("a", self.HOURLY, 1, 60)

    def test_do_not_come_back_for_the_time_before_they_were_spent(self, accounts: Accounts, clock: Clock) -> None:
        accounts.take("a", self.HOURLY, 1, 3600)
        clock.now += 1000
        accounts.settle("a", self.HOURLY, 36.0)
        with pytest.raises(QuotaExceeded):
            accounts.take("b", self.HOURLY, 1, 60)

    def test_are_charged_also_where_the_permit_has_ended(self, accounts: Accounts, clock: Clock) -> None:
        accounts.take("a", self.HOURLY, 1, 60)
        clock.now += 61
        accounts.take("probe", self.HOURLY, 1, 60)
        accounts.settle("a", self.HOURLY, 30.0)
        accounts.settle("never taken, since nobody answered", self.HOURLY, 30.0)
        with pytest.raises(QuotaExceeded):
            accounts.take("b", self.HOURLY, 1, 60)

    def test_are_not_counted_while_there_is_no_limit_on_them(self, accounts: Accounts) -> None:
        for _ in range(5):
            spend(accounts, Quota(caller="otter", max_concurrent=1), 100.0)
        accounts.take("free", Quota(caller="otter", max_concurrent=1), 1, 60)
        accounts.take("a", self.HOURLY, 1, 60)

    def test_and_pictures_may_both_be_limited(self, accounts: Accounts) -> None:
        both = Quota(caller="otter", max_concurrent=1, gpu_seconds_per_hour=36.0)
        accounts.take("a", both, 1, 60)
        with pytest.raises(QuotaExceeded, match="max_concurrent"):
            accounts.take("b", both, 1, 60)
        accounts.settle("a", both, 36.0)
        with pytest.raises(QuotaExceeded, match="gpu_seconds_per_hour"):
            accounts.take("b", both, 1, 60)


STEPS = st.lists(
    st.tuples(st.sampled_from("take settle wait".split()), st.sampled_from("abc"), st.integers(1, 4)), max_size=40
)


@given(STEPS)
def test_no_order_of_events_lets_more_in_flight_or_leaks(steps: list[tuple[str, str, int]]) -> None:
    clock, quota = Clock(), Quota(caller="otter", max_concurrent=4)
    accounts = Accounts(clock)
    ends: dict[str, tuple[int, float]] = {}  # what a simple mind would count
    for number, (kind, permit, amount) in enumerate(steps):
        ends = {name: held for name, held in ends.items() if held[1] > clock.now}
        if kind == "wait":
            clock.now += amount
        elif kind == "settle":
            accounts.settle(permit, quota, 1.0)
            ends.pop(permit, None)
        else:
            name = permit if permit not in ends else f"{permit}{number}"
            fits = sum(pictures for pictures, _ in ends.values()) + amount <= 4
            if fits:
                accounts.take(name, quota, amount, 3)
                ends[name] = (amount, clock.now + 3)
            else:
                with pytest.raises(QuotaExceeded):
                    accounts.take(name, quota, amount, 3)
    clock.now += 3
    accounts.take("last", quota, 4, math.inf)


@pytest.mark.anyio
async def test_the_deployment_returns_a_refusal_and_does_not_raise_it() -> None:
    quotas, quota = Quotas(), Quota(caller="otter", max_concurrent=1)
    assert await quotas.take("a", quota, 1, 60) is True
    refusal = pickle.loads(pickle.dumps(await quotas.take("b", quota, 1, 60)))
    assert isinstance(refusal, QuotaExceeded)
    await quotas.settle("a", quota, 1.0)
    assert await quotas.take("b", quota, 1, 60) is True
