"""How a replica ends whose engine has failed: docs/decisions/0013-a-dead-replica.md.

Those whose requests may be the reason have their answer from the engine. Nobody else has one: a refusal is quick, and
Serve would send more to whoever is quick. The end of the process, a moment later, sends them elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployments.errors import ReplicaLost

SECONDS_TO_ANSWER = 1.0  # in which those who have an answer are sent it

logger = logging.getLogger(__name__)


def end_process_soon() -> None:
    """No other way is open to all that can have failed, and Serve's own is slow. Callable from any thread."""
    logger.critical("This replica's engine has failed: the process ends, to be replaced")
    threading.Timer(SECONDS_TO_ANSWER, os._exit, [1]).start()


@asynccontextmanager
async def unanswered_when_lost() -> AsyncIterator[None]:
    """Within, ReplicaLost is raised only when the process should have ended, for whoever hears it all the same."""
    try:
        yield
    except ReplicaLost:
        await asyncio.sleep(2 * SECONDS_TO_ANSWER)
        raise
