"""Keeps pictures for the time that their links answer, in a folder or any other place that fsspec reaches by URL.

Invariants:
- A name is `<expires>-<128 random bits in hex>.<extension>`. It says by itself when the file may go, so that sweeping
  needs no modification times, and nobody can guess it. Nothing else in the folder is ever served or deleted.
- A name is matched whole against one pattern before a path is made of it, and in a local folder only a regular file is
  read: neither `..`, NUL nor a symbolic link leads out of the folder.
- A picture appears whole or not at all. Locally it is written and synced under a temporary name, then renamed; object
  stores publish an upload when it is complete.
- A local disk is never filled to the last byte: others live on it too.
- All methods block (call them in a thread) and may be called from several threads. Where the place behind the URL
  fails, they raise StoreUnavailable. What the clients of stores write may hold credentials and the names of pictures,
  so neither that error nor the log repeats it: they name the kind of the failure.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from deployments.errors import EaselError, NotFound, StoreUnavailable
from deployments.logs import without_text

CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg", "webp": "image/webp"}
GRACE_SECONDS = 60  # covers clocks that differ between replicas and answers that are still being read
RETRY_AFTER_SECONDS = 5.0
SIGNING_VARIABLE = "EASEL_SIGNING_SECRET"

_SIGNING_FILE = "signing-secret"
_SIGNING_BYTES = 32
_SIGNING_MINIMUM_LENGTH = 16
_TEMPORARY = "partial"
_PROBE = bytes(4096)  # an empty file would have room on a full disk
_EXTENSIONS = "|".join([*CONTENT_TYPES, _TEMPORARY])
_NAME = re.compile(rf"(?P<expires>[0-9]{{1,12}})-[0-9a-f]{{32}}\.(?P<extension>{_EXTENSIONS})")
_REFUSALS = (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
_logger = logging.getLogger(__name__)
# fsspec's memory file system looks and then writes, which is exclusive only if one thread at a time does it.
_creating_secret = threading.Lock()


class StoreRefused(StoreUnavailable):
    """It answers, and has no such folder or bucket, or does not let us write there: only a person can mend that."""


class ImageStore:
    """The pictures below one fsspec URL, as `~/pictures`, `s3://bucket/prefix` or `memory://pictures`.

    `least_free_bytes` are left free on the disk of a local folder. Raises ValueError or ImportError where fsspec does
    not know the URL's protocol or lacks the package for it.
    """

    def __init__(self, url: str, least_free_bytes: int = 0) -> None:
        self._files, self._folder = url_to_fs(url)
        self._least_free_bytes = least_free_bytes
        self._is_local = isinstance(self._files, LocalFileSystem)

    def put(self, picture: bytes, extension: str, expires: int) -> str:
        """Keep `picture` until `expires` (unix seconds) and return the name that was made for it.

        Raises ValueError for an extension not in CONTENT_TYPES or a time that is not one.
        """
        name = _new_name(expires, extension)
        if not _is_picture(name):
            raise ValueError(f"no picture can be kept with extension {extension!r} and expiry {expires!r}")
        with _store_failures("write a picture"):
            if self._is_local:
                with self._temporary_file(picture, expires) as temporary:
                    os.replace(temporary, self._path(name))
            else:
                self._files.pipe_file(self._path(name), picture)
        return name

    def get(self, name: str) -> bytes:
        """The picture of that name; NotFound where there is none, or the name is not one that `put` makes."""
        missing = NotFound("There is no such picture.")
        if not _is_picture(name):
            raise missing
        with _store_failures("read a picture"):
            try:
                return self._read(name)
            except FileNotFoundError:
                raise missing from None

    def sweep(self, now: float) -> int:
        """Delete what expired more than GRACE_SECONDS before `now` (unix seconds); returns how many files that were.

        Temporary files of writers that died go by the same rule. A file that cannot be deleted does not keep the others
        from going; StoreUnavailable is raised after them.
        """
        swept = 0
        failure: Exception | None = None
        with _store_failures("sweep"):
            self._files.invalidate_cache(self._folder)  # s3fs would list what it saw last time
            try:
                entries = self._files.ls(self._folder, detail=True)
            except FileNotFoundError:  # an object store has no empty folders
                return 0
            for entry in entries:
                name = _NAME.fullmatch(entry["name"].rpartition("/")[2])
                if not name or entry["type"] != "file" or now <= int(name["expires"]) + GRACE_SECONDS:
                    continue
                try:
                    self._files.rm_file(entry["name"])
                    swept += 1
                except FileNotFoundError:  # another replica swept it
                    pass
                except Exception as error:
                    failure = error
            if failure:
                raise failure
        return swept

    def secret(self) -> bytes:
        """The secret that signs links: EASEL_SIGNING_SECRET, else a random one in the store, the same for all replicas.

        Exclusive creation needs hard links in a local folder and conditional writes (`If-None-Match`) in an object
        store; where these are missing, set the variable. Raises ValueError where the variable is too short.
        """
        configured = os.environ.get(SIGNING_VARIABLE)
        if configured is not None:
            if len(configured) < _SIGNING_MINIMUM_LENGTH:
                raise ValueError(f"{SIGNING_VARIABLE} must have at least {_SIGNING_MINIMUM_LENGTH} characters")
            return os.fsencode(configured)
        with _store_failures("read or create the signing secret"), _creating_secret:
            try:
                secret = self._read(_SIGNING_FILE)
            except FileNotFoundError:
                with suppress(FileExistsError):  # another replica was faster, and its secret counts
                    self._create_exclusively(_SIGNING_FILE, secrets.token_bytes(_SIGNING_BYTES))
                secret = self._read(_SIGNING_FILE)
            if len(secret) != _SIGNING_BYTES:
                _logger.error("The signing secret in the store is damaged; delete it, and all links become invalid")
                raise StoreRefused("The image store's signing secret is damaged.")
        return secret

    def check_writable(self) -> None:
        """Raise StoreUnavailable unless a picture can be written and deleted now."""
        probe = self.put(_PROBE, "png", expires=int(time.time()))
        with _store_failures("delete a picture"):
            self._files.rm_file(self._path(probe))

    def _path(self, name: str) -> str:
        return f"{self._folder.rstrip('/')}/{name}"

    def _read(self, name: str) -> bytes:
        path = self._path(name)
        if self._is_local and not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileNotFoundError(path)
        content: bytes = self._files.cat_file(path)
        return content

    def _create_exclusively(self, name: str, content: bytes) -> None:
        if self._is_local:
            with self._temporary_file(content, int(time.time())) as temporary:
                os.link(temporary, self._path(name))  # unlike a rename, fails where the name is taken
        else:
            self._files.pipe_file(self._path(name), content, mode="create")

    @contextmanager
    def _temporary_file(self, content: bytes, expires: int) -> Iterator[str]:
        """The path of a synced file (mode 0600) in the local folder, which is gone afterwards unless it was renamed.

        Not fsspec's transaction: it belongs to the file system and not to the thread, and it writes to the system's
        temporary folder, from where a rename is a copy if that is another disk.
        """
        self._files.makedirs(self._folder, exist_ok=True)
        if shutil.disk_usage(self._folder).free < self._least_free_bytes + len(content):
            raise OSError(errno.ENOSPC, "less would be free than is to be left")
        path = self._path(_new_name(expires, _TEMPORARY))
        try:
            with open(path, "xb", opener=partial(os.open, mode=0o600)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            with suppress(OSError):  # what stays is swept later
                os.remove(path)


def _new_name(expires: int, extension: str) -> str:
    return f"{expires}-{secrets.token_hex(16)}.{extension}"


def _is_picture(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and match["extension"] != _TEMPORARY


@contextmanager
def _store_failures(action: str) -> Iterator[None]:
    """Turn whatever a file system raises into StoreUnavailable, or StoreRefused where no time will mend it.

    Catches Exception, since those of botocore, aiohttp and other clients have no nearer class in common.
    """
    try:
        yield
    except EaselError:
        raise
    except Exception as error:
        _logger.warning("The image store failed to %s:\n%s", action, without_text(error))
        failure, does = StoreUnavailable, "does not answer"
        if isinstance(error, _REFUSALS):
            failure, does = StoreRefused, "refuses"
        # Without its cause, whose text would be in the log wherever the error is logged with its traceback.
        raise failure(f"The image store {does}; try again later.", retry_after_seconds=RETRY_AFTER_SECONDS) from None
