"""Deletes expired pictures from time to time, for as long as the process serves.

Invariants: the event loop never waits for the store; a store that fails now is tried again at the next turn; every
replica may sweep, since sweeping what another has swept is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time

from deployments.errors import StoreUnavailable
from serve_app.images.store import ImageStore

_logger = logging.getLogger(__name__)


async def sweep_forever(store: ImageStore, interval_seconds: float) -> None:
    """Sweep `store` now and every `interval_seconds`, until cancelled."""
    while True:
        try:
            swept = await asyncio.to_thread(store.sweep, time.time())
            if swept > 0:
                _logger.info("Deleted %d expired pictures", swept)
        except StoreUnavailable as error:
            _logger.warning("Expired pictures stay for now: %s", error.message)
        await asyncio.sleep(interval_seconds)
