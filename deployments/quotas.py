"""What the callers whose keys have a limit may have: permits for pictures in flight, and seconds of the device.

The counts live in one place, however many ingress replicas there are, and in memory: they begin anew when it does.
Invariants: a permit ends by itself after the time that it was taken for, so that an ingress which dies leaks none; what
pictures took is charged also where their permit has ended, or was never taken since nobody answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from deployments.errors import QuotaExceeded

_SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one caller may have. None: as much as it likes."""

    caller: str
    max_concurrent: int | None = None  # pictures in flight
    gpu_seconds_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class _Permit:
    pictures: int
    ends_at: float


@dataclass(slots=True)
class _Account:
    spent: float = 0.0  # seconds of the device that the time since has not given back
    counted_at: float = 0.0
    permits: dict[str, _Permit] = field(default_factory=dict)


class Accounts:
    """Every caller's permits and what it has spent. `clock` tells seconds, and never goes back.

    What a caller may spend in an hour it may spend at once; it comes back evenly, in an hour.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def take(self, permit: str, quota: Quota, pictures: int, seconds: float) -> None:
        """Takes the permit of that name for `pictures`, for at most `seconds`. Raises QuotaExceeded."""
        account, now = self._account(quota)
        account.permits = {name: other for name, other in account.permits.items() if other.ends_at > now}
        in_flight = sum(other.pictures for other in account.permits.values())
        if quota.max_concurrent is not None and in_flight + pictures > quota.max_concurrent:
            raise QuotaExceeded(
                f"max_concurrent: the most pictures that this API key may have in flight is {quota.max_concurrent}; "
                f"there are {in_flight}, and {pictures} more were asked for."
            )
        allowed = quota.gpu_seconds_per_hour
        if allowed is not None and account.spent >= allowed:
            seconds_left = (account.spent - allowed) * _SECONDS_AN_HOUR / allowed
            raise QuotaExceeded(
                f"gpu_seconds_per_hour: the pictures of this API key may take {allowed:g} seconds of GPU time an hour, "
                f"which are used up; there will be some in about {seconds_left:.0f} s.",
                retry_after_seconds=seconds_left,
            )
        account.permits[permit] = _Permit(pictures, now + seconds)

    def settle(self, permit: str, quota: Quota, device_seconds: float) -> None:
        """Ends the permit, if there is one, and charges what its pictures took: to be told once of each."""
        account, _ = self._account(quota)
        account.permits.pop(permit, None)
        if quota.gpu_seconds_per_hour is not None:
            account.spent += device_seconds

    def _account(self, quota: Quota) -> tuple[_Account, float]:
        """The caller's, as it is now, and the time."""
        now, allowed = self._clock(), quota.gpu_seconds_per_hour
        account = self._accounts.setdefault(quota.caller, _Account())
        seconds = now - account.counted_at
        account.spent = 0.0 if allowed is None else max(0.0, account.spent - seconds * allowed / _SECONDS_AN_HOUR)
        account.counted_at = now
        return account, now


class Quotas:
    """The Serve deployment around them, of one replica: its event loop does one thing at a time."""

    def __init__(self) -> None:
        self._accounts = Accounts()

    async def take(self, permit: str, quota: Quota, pictures: int, seconds: float) -> Literal[True] | QuotaExceeded:
        """See `Accounts.take`. A refusal is returned: Serve logs a traceback for whatever is raised."""
        try:
            self._accounts.take(permit, quota, pictures, seconds)
        except QuotaExceeded as refusal:
            return refusal
        return True

    async def settle(self, permit: str, quota: Quota, device_seconds: float) -> None:
        """See `Accounts.settle`."""
        self._accounts.settle(permit, quota, device_seconds)
