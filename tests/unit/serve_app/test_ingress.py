"""The Serve deployment around HTTP: that it is not healthy while something of it has ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app import ingress

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("chore", ["sweep_pictures", "follow_keys"])
async def test_a_chore_that_ends_makes_the_replica_unhealthy(chore: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else keys that were taken away would be good for as long as it runs, and nobody would know."""
    ends = asyncio.Event()

    async def goes_on() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        await ends.wait()
        raise RuntimeError("can't start new thread")

    chores = {"sweep_pictures": goes_on, "follow_keys": goes_on} | {chore: fails}
    service = SimpleNamespace(settings=lambda: None, **chores)
    monkeypatch.setattr(ingress, "join_serves_log", lambda: None)
    ours: Any = ingress.Ingress.__mro__[1]  # within Serve's wrapper
    replica = ours(lambda _: service, None)
    try:
        await asyncio.sleep(0)
        await replica.check_health()
        ends.set()
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="changed keys not taken"):
            await replica.check_health()
    finally:
        for task in replica._chores:
            task.cancel()
        await asyncio.gather(*replica._chores, return_exceptions=True)
