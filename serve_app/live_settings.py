"""The ingress's settings as they are now: what was configured, with the keys of its file, which may change in place.

Invariants: what is in force was good once; a file that turns bad, or cannot be read just now, changes nothing, is told
once for each change, and is read again until it is good.
"""

from __future__ import annotations

import logging
from pathlib import Path

from config.keys import with_keys_of_file
from config.mistakes import ConfigError
from config.schema import IngressSettings

logger = logging.getLogger(__name__)


class LiveSettings:
    """Raises ConfigError, as `with_keys_of_file`, when the file is bad as it is made."""

    def __init__(self, configured: IngressSettings) -> None:
        self._configured = configured
        self._in_force = self._told = self._file_state()  # before it is read: a change meanwhile is then seen
        self.current = with_keys_of_file(configured)

    def refresh(self) -> None:
        """Takes the keys anew if their file has changed. Blocks, mostly for one `stat`; only one thread may call it."""
        state = self._file_state()
        if state == self._in_force:
            return
        try:
            self.current = with_keys_of_file(self._configured)
        except ConfigError as error:
            if state != self._told:
                logger.error("The keys in force stay: %s", error)
        else:
            self._in_force = state
            logger.info("The file of keys has changed: %d keys are in force.", len(self.current.keys))
        self._told = state

    def _file_state(self) -> tuple[int, ...] | None:
        """Another one after every change; None where there is no file."""
        if self._configured.keys_file is None:
            return None
        try:
            status = Path(self._configured.keys_file).expanduser().stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
