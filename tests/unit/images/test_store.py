"""The image store: what it keeps, refuses, shares between replicas and survives: on a folder, in memory and over S3."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from s3fs import S3FileSystem

from deployments.errors import NotFound, StoreUnavailable
from serve_app.images import store as store_module
from serve_app.images.store import GRACE_SECONDS, SIGNING_VARIABLE, ImageStore, StoreRefused
from tests.object_storage import ObjectStorage
from tests.running import free_port

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
EXPIRES = 2_000_000_000
RANDOM = "0123456789abcdef" * 2
HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "../signing-secret",
    "signing-secret",
    "..%2fx",
    "%00",
    "/etc/passwd",
    "\\etc\\passwd",
    "..\\x",
    "\x00",
    f"../{EXPIRES}-{RANDOM}.png",
    f"/{EXPIRES}-{RANDOM}.png",
    f"./{EXPIRES}-{RANDOM}.png",
    f"{EXPIRES}-{RANDOM}.png\x00",
    f"{EXPIRES}-{RANDOM}.png\n",
    f"{EXPIRES}-{RANDOM}.png/..",
    f"{EXPIRES}-{RANDOM}.partial",
    f"{EXPIRES}-{RANDOM.upper()}.png",
    f"{EXPIRES}-{RANDOM}.svg",
    f"{EXPIRES}-{RANDOM}",
    f"-1-{RANDOM}.png",
    f"\u0662-{RANDOM}.png",
    "memory://x",
    "~",
]


@pytest.fixture(autouse=True)
def _no_configured_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_VARIABLE, raising=False)


KINDS = ["local", "memory", "s3"]


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Of another empty store, of the kind given."""

    def new(kind: str) -> str:
        if kind == "s3":
            storage: ObjectStorage = request.getfixturevalue("storage")
            for name, value in storage.environment.items():
                monkeypatch.setenv(name, value)
            return f"{storage.new_bucket()}/pictures"
        return f"memory://{uuid.uuid4().hex}" if kind == "memory" else str(tmp_path / uuid.uuid4().hex / "images")

    return new


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> ImageStore:
    return ImageStore(new_url(request.param))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.mark.parametrize("extension", ["png", "jpeg", "jpg", "webp"])
def test_a_picture_comes_back_as_it_was_put(store: ImageStore, extension: str) -> None:
    name = store.put(PICTURE, extension, EXPIRES)

    assert name.startswith(f"{EXPIRES}-")
    assert name.endswith(f".{extension}")
    assert store.get(name) == PICTURE


def test_an_empty_picture_and_equal_pictures_have_files_of_their_own(store: ImageStore) -> None:
    names = {store.put(b"", "png", EXPIRES) for _ in range(20)}

    assert len(names) == 20
    assert all(store.get(name) == b"" for name in names)


def test_threads_may_share_a_store(store: ImageStore) -> None:
    pictures = [bytes([number]) * 1000 for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(lambda picture: store.put(picture, "png", EXPIRES), pictures))
        assert list(threads.map(store.get, names)) == pictures


@pytest.mark.parametrize(("extension", "expires"), [("svg", 1), ("", 1), ("partial", 1), ("/../png", 1), ("png", -1)])
def test_put_refuses_what_would_not_be_a_name(store: ImageStore, extension: str, expires: int) -> None:
    with pytest.raises(ValueError, match="no picture can be kept"):
        store.put(PICTURE, extension, expires)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = ImageStore("~/deep/images").put(PICTURE, "png", EXPIRES)

    assert (tmp_path / "deep/images" / name).read_bytes() == PICTURE


def test_a_picture_that_is_not_there_is_not_found(store: ImageStore) -> None:
    with pytest.raises(NotFound):
        store.get(f"{EXPIRES}-{RANDOM}.png")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_not_found_and_touch_no_file(
    store: ImageStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.secret()
    monkeypatch.setattr(ImageStore, "_read", lambda *_: pytest.fail("the file system was asked"))
    with pytest.raises(NotFound):
        store.get(name)


@given(st.text())
def test_no_other_text_is_a_name(name: str) -> None:
    with pytest.raises(NotFound):
        ImageStore("/proc/nothing-here").get(name)


def test_only_regular_files_are_read(folder: Path, tmp_path: Path) -> None:
    store = ImageStore(str(folder))
    name = store.put(PICTURE, "png", EXPIRES)
    (tmp_path / "outside").write_bytes(b"private")
    (folder / name).unlink()
    for replace in (
        lambda path: path.symlink_to(tmp_path / "outside"),
        lambda path: path.symlink_to(tmp_path / "nowhere"),
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
    ):
        replacement = folder / f"{EXPIRES}-{uuid.uuid4().hex}.png"
        replace(replacement)
        with pytest.raises(NotFound):
            store.get(replacement.name)


def test_pictures_are_private_files_and_nothing_else_stays(folder: Path) -> None:
    name = ImageStore(str(folder)).put(PICTURE, "png", EXPIRES)

    assert [path.name for path in folder.iterdir()] == [name]
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_write_that_fails_in_the_middle_leaves_nothing(folder: Path) -> None:
    store = ImageStore(str(folder))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(StoreUnavailable):
            store.put(bytes(1024 * 1024), "png", EXPIRES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(folder.iterdir()) == []


def test_a_disk_found_full_when_syncing_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable):
        ImageStore(str(folder)).put(PICTURE, "png", EXPIRES)

    assert list(folder.iterdir()) == []


def test_a_writer_killed_before_the_rename_leaves_only_what_is_swept(folder: Path) -> None:
    program = (
        "import os, sys; from serve_app.images.store import ImageStore; os.replace = lambda *_: os._exit(9);"
        f"ImageStore(sys.argv[1]).put(b'half', 'png', {EXPIRES})"
    )
    assert subprocess.run([sys.executable, "-c", program, str(folder)], check=False).returncode == 9

    store = ImageStore(str(folder))
    (stray,) = folder.iterdir()
    assert stray.suffix == ".partial"
    with pytest.raises(NotFound):
        store.get(stray.name)
    assert store.sweep(EXPIRES) == 0
    assert store.sweep(EXPIRES + GRACE_SECONDS + 1) == 1
    assert list(folder.iterdir()) == []


def test_sweep_deletes_what_expired_longer_ago_than_the_grace(store: ImageStore) -> None:
    old, live = store.put(b"old", "png", 1000), store.put(b"live", "webp", 1001)

    assert store.sweep(1000 + GRACE_SECONDS) == 0
    assert store.sweep(1000.5 + GRACE_SECONDS) == 1
    assert store.get(live) == b"live"
    with pytest.raises(NotFound):
        store.get(old)


def test_sweep_of_a_store_without_pictures(store: ImageStore) -> None:
    assert store.sweep(EXPIRES) == 0


def test_sweep_leaves_what_the_store_did_not_make(folder: Path) -> None:
    store = ImageStore(str(folder))
    secret = store.secret()
    foreign = ["notes.txt", f"1-{RANDOM}.txt", f"1-{RANDOM}.png.bak", "1-abc.png", f"x1-{RANDOM}.png"]
    for name in foreign:
        (folder / name).write_text("mine")
    (folder / f"1-{RANDOM}.png").mkdir()
    (folder / f"2-{RANDOM}.png").symlink_to(folder / "notes.txt")

    assert store.sweep(EXPIRES) == 0
    assert len(list(folder.iterdir())) == len(foreign) + 3
    assert store.secret() == secret


def test_sweep_tolerates_files_that_vanish(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [store.put(PICTURE, "png", 1) for _ in range(3)]
    remove = store._files.rm_file

    def swept_by_another_replica(path: str) -> None:
        remove(path)
        if path.endswith(names[1]):
            raise FileNotFoundError(path)

    monkeypatch.setattr(store._files, "rm_file", swept_by_another_replica)
    assert store.sweep(EXPIRES) == 2


def test_sweep_goes_on_after_a_file_that_cannot_be_deleted(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [store.put(PICTURE, "png", 1) for _ in range(3)]
    remove = store._files.rm_file

    def refuse_one(path: str) -> None:
        if path.endswith(names[1]):
            raise PermissionError(path)
        remove(path)

    monkeypatch.setattr(store._files, "rm_file", refuse_one)
    with pytest.raises(StoreUnavailable):
        store.sweep(EXPIRES)
    assert store.get(names[1]) == PICTURE
    for name in (names[0], names[2]):
        with pytest.raises(NotFound):
            store.get(name)


def test_the_secret_is_made_once(store: ImageStore) -> None:
    secret = store.secret()

    assert len(secret) == 32
    assert store.secret() == secret


def test_the_secret_is_private_and_leaves_no_other_file(folder: Path) -> None:
    ImageStore(str(folder)).secret()

    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_that_race_end_with_one_secret(
    kind: str, new_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = MemoryFileSystem.exists

    def slow_exists(files: MemoryFileSystem, path: str) -> bool:
        found = bool(exists(files, path))
        time.sleep(0.001)  # widens the gap between looking and writing
        return found

    monkeypatch.setattr(MemoryFileSystem, "exists", slow_exists)
    for _ in range(20):
        url = new_url(kind)
        barrier = threading.Barrier(8)

        def replica(url: str, barrier: threading.Barrier) -> bytes:
            store = ImageStore(url)
            barrier.wait()
            return store.secret()

        with ThreadPoolExecutor(8) as threads:
            futures = [threads.submit(replica, url, barrier) for _ in range(8)]
            assert len({future.result() for future in futures}) == 1


def test_the_secret_of_a_faster_replica_counts(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create = ImageStore._create_exclusively

    def lose_the_race(store: ImageStore, name: str, content: bytes) -> None:
        create(store, name, b"f" * 32)
        create(store, name, content)

    monkeypatch.setattr(ImageStore, "_create_exclusively", lose_the_race)
    assert store.secret() == b"f" * 32


def test_a_lost_race_leaves_no_temporary_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lose_the_race(temporary: str, path: str) -> None:
        Path(path).write_bytes(b"f" * 32)
        link(temporary, path)

    monkeypatch.setattr(os, "link", lose_the_race)
    assert ImageStore(str(folder)).secret() == b"f" * 32
    assert len(list(folder.iterdir())) == 1


def test_a_damaged_secret_is_never_used(folder: Path) -> None:
    folder.mkdir()
    (folder / "signing-secret").touch()
    with pytest.raises(StoreRefused):
        ImageStore(str(folder)).secret()


def test_a_configured_secret_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIGNING_VARIABLE, "sixteen letters!")

    assert ImageStore(str(folder)).secret() == b"sixteen letters!"
    assert not folder.exists()


@pytest.mark.parametrize("value", ["", "fifteen letters"])
def test_a_short_configured_secret_is_refused(folder: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIGNING_VARIABLE, value)
    with pytest.raises(ValueError, match="at least 16"):
        ImageStore(str(folder)).secret()


def test_check_writable_leaves_nothing(folder: Path) -> None:
    ImageStore(str(folder)).check_writable()

    assert list(folder.iterdir()) == []


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A folder that is a disk of a MiB, with room for eight files, itself included."""
    folder.mkdir()
    options = "size=1m,nr_inodes=8"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, stderr=subprocess.DEVNULL
    )
    if mounted.returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_unavailable_before_and_while_pictures_are_kept(disk: Path) -> None:
    store = ImageStore(str(disk))
    name = store.put(bytes(600_000), "png", EXPIRES)
    with pytest.raises(StoreUnavailable):
        store.put(bytes(600_000), "png", EXPIRES)
    store.check_writable()
    (disk / "others").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(StoreUnavailable):
        store.check_writable()
    assert {path.name for path in disk.iterdir()} == {name, "others"}
    assert store.get(name) == bytes(600_000)
    (disk / "others").unlink()
    store.check_writable()


def test_a_disk_without_room_for_another_file_is_unavailable(disk: Path) -> None:
    store = ImageStore(str(disk))
    names = {store.put(b"", "png", EXPIRES) for _ in range(7)}
    for operation in ("put", "check_writable"):
        with pytest.raises(StoreUnavailable):
            OPERATIONS[operation](store)
    assert {path.name for path in disk.iterdir()} == names


def test_what_is_to_be_left_free_is_left_free(disk: Path) -> None:
    free = shutil.disk_usage(disk).free
    store = ImageStore(str(disk), least_free_bytes=free - 8192)
    name = store.put(bytes(4096), "png", EXPIRES)
    with pytest.raises(StoreUnavailable):
        store.put(bytes(4097), "png", EXPIRES)
    store.check_writable()
    store.put(bytes(4096), "png", EXPIRES)
    with pytest.raises(StoreUnavailable):
        store.check_writable()
    assert len(list(disk.iterdir())) == 2
    assert store.get(name) == bytes(4096)


def test_what_is_left_free_is_of_local_folders_alone() -> None:
    store = ImageStore(f"memory://{uuid.uuid4().hex}", least_free_bytes=2**60)
    store.check_writable()


@pytest.mark.parametrize(
    ("failure", "is_refusal"),
    [
        (PermissionError, True),
        (FileNotFoundError, True),
        (NotADirectoryError, True),
        (FileExistsError, True),
        (ConnectionError, False),
        (TimeoutError, False),
        (OSError, False),
        (Exception, False),
    ],
)
def test_what_only_a_person_can_mend_is_told_from_what_time_may(
    failure: type[Exception], is_refusal: bool, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(store._files, "rm_file", fail)
    with pytest.raises(StoreUnavailable) as caught:
        store.check_writable()
    assert isinstance(caught.value, StoreRefused) == is_refusal
    assert caught.value.code == "image_store_unavailable"


OPERATIONS: dict[str, Callable[[ImageStore], object]] = {
    "put": lambda store: store.put(PICTURE, "png", EXPIRES),
    "get": lambda store: store.get(f"{EXPIRES}-{RANDOM}.png"),
    "sweep": lambda store: store.sweep(EXPIRES),
    "secret": lambda store: store.secret(),
    "check_writable": lambda store: store.check_writable(),
}


def _assert_unavailable(operation: Callable[[ImageStore], object], store: ImageStore, path: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        operation(store)
    assert caught.value.retry_after_seconds is not None
    assert 1 <= caught.value.retry_after_seconds <= 60
    assert path not in caught.value.message


@pytest.mark.parametrize("operation", ["put", "get", "secret", "check_writable"])
def test_a_folder_that_cannot_be_one_is_unavailable(operation: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _assert_unavailable(OPERATIONS[operation], ImageStore(str(tmp_path / "file" / "images")), str(tmp_path))


@pytest.mark.parametrize("operation", ["put", "secret", "check_writable"])
def test_an_unwritable_folder_is_unavailable(operation: str, folder: Path) -> None:
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # to root every folder of a disk is writable, one of the kernel's is not
        folder = Path("/proc/self/images")
    _assert_unavailable(OPERATIONS[operation], ImageStore(str(folder)), str(folder))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_errors_of_any_client_library_are_unavailable(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class ClientError(Exception):
        """Like botocore's, which derives from nothing but Exception."""

    def fail(*_: object, **__: object) -> None:
        raise ClientError("no credentials for s3://bucket/private")

    store = ImageStore(f"memory://{uuid.uuid4().hex}")
    for method in ("pipe_file", "cat_file", "ls"):
        monkeypatch.setattr(store._files, method, fail)
    _assert_unavailable(OPERATIONS[operation], store, "bucket")


def test_the_kind_of_the_cause_is_logged_without_a_path(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.touch()
    with pytest.raises(StoreUnavailable):
        ImageStore(str(folder)).put(PICTURE, "png", EXPIRES)

    (record,) = caplog.records
    assert record.name == store_module.__name__
    assert record.getMessage().endswith("FileExistsError (EEXIST)")
    assert str(folder) not in caplog.text
    assert record.exc_info is None


def test_an_unknown_protocol_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ImageStore("nonsense://x")


def test_a_bucket_that_is_not_there_is_refused(new_url: Callable[[str], str]) -> None:
    new_url("s3")  # the server is found
    store = ImageStore(f"s3://{uuid.uuid4().hex}/pictures")
    for operation in (store.secret, store.check_writable):
        with pytest.raises(StoreRefused):
            operation()


def test_object_storage_that_is_not_reached_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ObjectStorage(f"http://127.0.0.1:{free_port()}").environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()  # in which is one that knows where the server of other tests is
    try:
        with pytest.raises(StoreUnavailable) as raised:
            ImageStore("s3://bucket/pictures").check_writable()
    finally:
        S3FileSystem.clear_instance_cache()
    assert not isinstance(raised.value, StoreRefused)
    assert "of these tests alone" not in caplog.text
