"""Deletes expired pictures from time to time, for as long as the process serves.

Invariants: the event loop never waits for the store; a store that fails now is tried again at the next turn, one that
hangs when it has answered, so that there is never a second sweep beside the first; every replica may sweep, since
sweeping what another has swept is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from deployments.errors import StoreUnavailable
from serve_app.images.store import ImageStore
from serve_app.threads import in_thread

_logger = logging.getLogger(__name__)


async def sweep_forever(store: ImageStore, interval_seconds: float) -> None:
    """Sweep `store` now and every `interval_seconds`, until cancelled."""
    while True:
        try:
            # Without a time limit: many pictures take a while, and nobody waits for it.
            swept = await asyncio.wrap_future(in_thread(partial(store.sweep, time.time())))
            if swept > 0:
                _logger.info("Deleted %d expired pictures", swept)
        except StoreUnavailable as error:
            _logger.warning("Expired pictures stay for now: %s", error.message)
        await asyncio.sleep(interval_seconds)
