"""The way to the deployment that counts what callers with a quota have.

Invariants: nobody waits for it longer than `ANSWER_SECONDS`, and where it does not answer requests pass, since a count
is worth less than the service. Time in which this process was too busy to hear the answer does not count: else whoever
keeps it busy could pass. A permit is given back even where whoever held it is cancelled; no key goes there.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.errors import QuotaExceeded
from deployments.quotas import Quota
from serve_app.backend import Spending
from serve_app.dispatch import answer_of

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
_LOOKS = 20  # in that time


class Permits:
    """See serve_app.backend.Backend.permit. `quotas` is a handle of deployments.quotas.Quotas."""

    def __init__(self, quotas: DeploymentHandle) -> None:
        self._quotas = quotas
        self._settling: set[asyncio.Task[Any]] = set()  # asyncio itself does not keep them

    @asynccontextmanager
    async def permit(self, quota: Quota, pictures: int, deadline: float) -> AsyncIterator[Spending]:
        permit, spending = secrets.token_hex(8), Spending()
        is_taken, waits = True, True  # as far as anybody knows who is cancelled while this is asked
        try:
            answer = await self._ask(self._quotas.take, permit, quota, pictures, deadline - time.time())
            is_taken = not isinstance(answer, QuotaExceeded)
            waits = answer is True  # else it may have been taken, and nobody shall wait for who does not answer
            if isinstance(answer, QuotaExceeded):
                raise answer
            yield spending
        finally:
            if is_taken:
                settling = self._settle(permit, quota, sum(spending.values()))
                if waits:
                    await asyncio.shield(settling)

    def _settle(self, permit: str, quota: Quota, device_seconds: float) -> asyncio.Task[Any]:
        """Is done whatever becomes of the request; who waits for it may then ask again."""
        settling = self._ask(self._quotas.settle, permit, quota, device_seconds)
        # Apart from the request, with which Serve would cancel the call.
        task = contextvars.Context().run(asyncio.create_task, settling)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    async def _ask(self, method: Any, *arguments: object) -> Any:
        """The answer; None where there is none."""
        call: asyncio.Future[Any] | None = None
        try:
            call = asyncio.ensure_future(answer_of(method.remote(*arguments)))
            for _ in range(_LOOKS):  # one at least passes between being busy and the end
                await asyncio.wait([call], timeout=ANSWER_SECONDS / _LOOKS)
                if call.done():
                    return call.result()
            raise TimeoutError
        except Exception as error:  # of Ray and Serve, which have no nearer class in common
            logger.warning("The quotas do not answer, so this request is not counted: %s", type(error).__name__)
            return None
        finally:
            if call is not None:
                call.cancel()
