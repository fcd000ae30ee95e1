"""The ingress's settings as they are now: what was configured, with the keys of its file, which may change in place.

Invariants: what is in force was good once; a file that turns bad changes nothing, and is told once for each change.
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
        self._seen = self._file_state()  # before it is read: a change meanwhile is then seen
        self.current = with_keys_of_file(configured)

    def refresh(self) -> None:
        """Takes the keys anew if their file has changed. Blocks, mostly for one `stat`; only one thread may call it."""
        state = self._file_state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self.current = with_keys_of_file(self._configured)
        except ConfigError as error:
            logger.error("The keys in force stay: %s", error)
        else:
            logger.info("The file of keys has changed: %d keys are in force.", len(self.current.keys))

    def _file_state(self) -> tuple[int, ...] | None:
        """Another one after every change; None where there is no file."""
        if self._configured.keys_file is None:
            return None
        try:
            status = Path(self._configured.keys_file).expanduser().stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
