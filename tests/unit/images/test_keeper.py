"""The store as the event loop meets it: in time, whatever the store does, and known before pictures are made."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from deployments.errors import NotFound, StoreUnavailable
from serve_app.images import keeper as keeper_module
from serve_app.images.breaker import GOOD_SECONDS, SHORTEST_WAIT_SECONDS
from serve_app.images.keeper import THREADS, Keeper
from serve_app.images.store import SIGNING_VARIABLE, ImageStore, StoreRefused
from tests.unit.clock import Clock
from tests.unit.images.faults import faulty_store

pytestmark = pytest.mark.anyio

EXPIRES = 2_000_000_000
SHORT = 0.02  # for a store that hangs: when it is given up makes no difference
LONG = 60.0
LOOK = ["write", "delete"]  # what a look at the store does, once the secret is known


@pytest.fixture(autouse=True)
def _no_configured_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_VARIABLE, raising=False)


class Kept:
    """A keeper that was opened while its store was well, and what steers it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store, self.files = faulty_store()
        self.keeper = Keeper(self.store, LONG, self.clock)
        self.keeper.open()
        self.files.calls.clear()

    def put(self) -> Awaitable[str]:
        return self.keeper.put(b"picture", "png", EXPIRES)

    def is_impatient(self, seconds: float = SHORT) -> None:
        self.keeper._seconds = self.keeper._threads._seconds = seconds

    def unknown(self) -> None:
        """So much later that nothing is known of the store."""
        self.clock.now += GOOD_SECONDS

    async def refusal(self) -> float:
        """Seconds after which to ask again, of one who asks now."""
        with pytest.raises(StoreUnavailable) as refused:
            await self.keeper.check()
        assert refused.value.retry_after_seconds is not None
        return refused.value.retry_after_seconds


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.files.answers.set()


async def until(true: Callable[[], object]) -> None:
    with anyio.fail_after(LONG):
        while not true():
            await asyncio.sleep(0.001)


class TestWhileTheStoreIsWell:
    async def test_it_is_looked_at_only_where_nothing_was_heard_of_it_for_a_while(self, kept: Kept) -> None:
        await kept.keeper.check()
        assert kept.files.calls == []
        kept.unknown()
        await kept.keeper.check()
        await kept.keeper.check()
        assert kept.files.calls == LOOK

    async def test_a_picture_that_was_kept_says_that_it_is_well(self, kept: Kept) -> None:
        kept.unknown()
        assert await kept.keeper.get(await kept.put()) == b"picture"
        kept.files.calls.clear()
        await kept.keeper.check()
        assert kept.files.calls == []

    async def test_one_look_is_for_all_who_ask_meanwhile_whoever_goes(self, kept: Kept) -> None:
        kept.unknown()
        kept.files.answers.clear()
        asking = [asyncio.create_task(kept.keeper.check()) for _ in range(20)]
        await until(lambda: kept.files.calls)
        asking[0].cancel()
        await asyncio.wait(asking[:1])
        kept.files.answers.set()
        await asyncio.gather(*asking[1:])
        assert asking[0].cancelled()
        assert kept.files.calls == LOOK

    async def test_a_picture_that_is_not_there_is_no_failure(self, kept: Kept) -> None:
        with pytest.raises(NotFound):
            await kept.keeper.get(f"{EXPIRES}-{'0' * 32}.png")
        await kept.keeper.check()


class TestWhileTheStoreFails:
    async def test_those_who_ask_are_refused_at_once_until_it_is_time_to_look_again(self, kept: Kept) -> None:
        kept.unknown()
        kept.files.failure = OSError("out")
        assert await kept.refusal() == SHORTEST_WAIT_SECONDS
        assert kept.files.calls == ["write"]
        kept.clock.now += 0.25
        assert await kept.refusal() == SHORTEST_WAIT_SECONDS - 0.25
        assert kept.files.calls == ["write"]
        kept.clock.now += 0.75
        assert await kept.refusal() == SHORTEST_WAIT_SECONDS
        assert kept.files.calls == ["write"] * 2

    async def test_it_is_found_well_by_the_first_who_asks_when_it_is_time(self, kept: Kept) -> None:
        kept.unknown()
        kept.files.failure = OSError("out")
        kept.clock.now += await kept.refusal()
        kept.files.failure = None
        await kept.keeper.check()
        await kept.keeper.check()
        assert kept.files.calls == ["write", *LOOK]

    async def test_while_one_looks_again_the_others_are_refused(self, kept: Kept) -> None:
        kept.unknown()
        kept.files.failure = OSError("out")
        kept.clock.now += await kept.refusal()
        kept.files.answers.clear()
        looks = asyncio.create_task(kept.keeper.check())
        await until(lambda: len(kept.files.calls) == 2)
        kept.clock.now += 7
        assert await kept.refusal() == LONG - 7
        kept.files.failure = None
        kept.files.answers.set()
        await looks
        await kept.keeper.check()

    async def test_a_picture_that_could_not_be_kept_says_so(self, kept: Kept) -> None:
        kept.files.failure = OSError("out")
        with pytest.raises(StoreUnavailable) as refused:
            await kept.put()
        assert refused.value.retry_after_seconds == SHORTEST_WAIT_SECONDS
        assert await kept.refusal() == SHORTEST_WAIT_SECONDS
        assert kept.files.calls == ["write"]

    async def test_what_was_made_is_kept_if_it_can_be_which_ends_the_refusals(self, kept: Kept) -> None:
        kept.unknown()
        kept.files.failure = OSError("out")
        await kept.refusal()
        kept.files.failure = None
        await kept.put()
        await kept.keeper.check()

    async def test_pictures_are_read_from_a_store_that_cannot_be_written_which_says_nothing_of_writing(
        self, kept: Kept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = await kept.put()
        kept.unknown()

        def full(*_: object) -> None:
            raise OSError("full")

        monkeypatch.setattr(kept.files, "pipe_file", full)
        await kept.refusal()
        assert await kept.keeper.get(name) == b"picture"
        await kept.refusal()

    async def test_it_is_told_once_and_so_is_its_end(self, kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
        kept.unknown()
        kept.files.failure = OSError("out")
        for _ in range(3):
            kept.clock.now += await kept.refusal()
        kept.files.failure = None
        await kept.keeper.check()
        await kept.put()
        told = [record.message for record in caplog.records if record.name == keeper_module.__name__]
        assert told == [
            "The image store fails: pictures by link are refused until it works again",
            "The image store works again",
        ]


class TestWhileTheStoreHangs:
    async def test_every_operation_is_given_up(self, kept: Kept) -> None:
        name = await kept.put()
        kept.unknown()
        kept.files.answers.clear()
        kept.is_impatient(0.5)  # in which a thread begins also on a busy machine
        await kept.refusal()
        for operation in (kept.put(), kept.keeper.get(name)):
            with pytest.raises(StoreUnavailable):
                await operation
        assert kept.files.calls[-3:] == ["write", "write", "read"]

    async def test_it_takes_its_own_threads_and_no_more(self, kept: Kept) -> None:
        kept.files.answers.clear()
        kept.is_impatient()
        before = threading.active_count()
        while len(kept.files.calls) < THREADS:  # on a busy machine some are given up before they begin
            await asyncio.gather(*[kept.put() for _ in range(THREADS)], return_exceptions=True)
        for _ in range(2):
            await asyncio.gather(*[kept.put() for _ in range(THREADS)], return_exceptions=True)
        assert threading.active_count() - before <= THREADS
        assert kept.files.calls == ["write"] * THREADS
        kept.is_impatient(LONG)
        kept.clock.now += LONG
        wait = await kept.refusal()  # at once: no place will be free
        kept.files.answers.set()
        await until(lambda: not kept.keeper._threads._begun)
        kept.clock.now += wait
        await kept.keeper.check()

    async def test_others_threads_are_free(self, kept: Kept) -> None:
        kept.files.answers.clear()
        hanging = [asyncio.create_task(kept.put()) for _ in range(100)]
        await until(lambda: len(kept.files.calls) == THREADS)
        assert await asyncio.to_thread(lambda: "free") == "free"
        kept.files.answers.set()
        await asyncio.gather(*hanging)


class TestAtTheStart:
    @pytest.mark.parametrize("refusal", [PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError])
    def test_a_store_that_refuses_us_fails_it(self, refusal: type[OSError]) -> None:
        store, files = faulty_store()
        store.secret()
        files.failure = refusal("no")
        with pytest.raises(StoreRefused):
            Keeper(store, LONG).open()

    def test_a_bad_secret_fails_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(SIGNING_VARIABLE, "short")
        with pytest.raises(ValueError, match="at least 16"):
            Keeper(faulty_store()[0], LONG).open()

    @pytest.mark.parametrize("failure", [ConnectionError("out"), OSError(28, "full"), Exception("503"), None])
    async def test_a_store_that_does_not_answer_is_told_and_found_later(
        self, failure: Exception | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, files = faulty_store()
        files.failure = failure
        if failure is None:
            files.answers.clear()
        clock = Clock()
        keeper = Keeper(store, LONG if failure else SHORT, clock)
        keeper.open()
        await until(lambda: files.calls)  # a busy machine may begin late
        assert [record.levelname for record in caplog.records if record.name == keeper_module.__name__] == ["ERROR"]
        looked = len(files.calls)
        for ask in (keeper.check, keeper.signer):
            with pytest.raises(StoreUnavailable):
                await ask()
        assert len(files.calls) == looked
        keeper._threads._seconds = keeper._seconds = LONG
        files.failure = None
        files.answers.set()
        clock.now += SHORTEST_WAIT_SECONDS
        name, signer = "a", await keeper.signer()
        signer.verify(name, str(EXPIRES), signer.sign(name, EXPIRES), now=0)
        await keeper.check()

    async def test_a_configured_secret_is_known_whatever_the_store_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(SIGNING_VARIABLE, "sixteen letters!")
        store, files = faulty_store()
        files.failure = ConnectionError("out")
        keeper = Keeper(store, LONG, Clock())
        keeper.open()
        await keeper.signer()
        with pytest.raises(StoreUnavailable):
            await keeper.check()

    async def test_replicas_sign_alike_whenever_they_reach_the_store(self) -> None:
        store, files = faulty_store()
        files.failure = ConnectionError("out")
        clock = Clock()
        late = Keeper(store, LONG, clock)
        late.open()
        files.failure = None
        early = Keeper(store, LONG)
        early.open()
        clock.now += SHORTEST_WAIT_SECONDS
        (await late.signer()).verify("a", "9", (await early.signer()).sign("a", 9), now=0)


@pytest.mark.parametrize("text", ["https://AKIAKEY:hunter2@bucket/2000-abc.png"])
async def test_no_log_and_no_traceback_holds_what_a_client_says(
    text: str, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    class ClientError(Exception):
        """Like botocore's."""

    caplog.set_level(logging.DEBUG)
    failure = PermissionError(13, text, text)
    failure.__cause__ = ClientError(text)
    kept.files.failure = failure
    kept.unknown()
    for operation in (kept.keeper.check, kept.put, lambda: kept.keeper.get(f"{EXPIRES}-{'0' * 32}.png")):
        try:
            await operation()
        except StoreUnavailable:
            logging.getLogger().exception("what a handler of errors would log")
    store = kept.store
    with pytest.raises(StoreRefused):
        store.sweep(EXPIRES)
    assert "PermissionError (EACCES)" in caplog.text
    assert "ClientError\nled to" in caplog.text
    assert "hunter2" not in caplog.text
    assert "AKIAKEY" not in caplog.text
    assert "2000-abc" not in caplog.text


async def test_a_folder_that_is_a_file_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    folder = tmp_path / "images"
    keeper = Keeper(ImageStore(str(folder)), LONG, clock)
    keeper.open()
    name = await keeper.put(b"picture", "png", EXPIRES)
    clock.now += GOOD_SECONDS
    folder.rename(tmp_path / "away")
    folder.touch()
    for operation in (keeper.check(), keeper.get(name), keeper.put(b"picture", "png", EXPIRES)):
        with pytest.raises(StoreUnavailable):
            await operation
    folder.unlink()
    (tmp_path / "away").rename(folder)
    clock.now += SHORTEST_WAIT_SECONDS
    await keeper.check()
    assert await keeper.get(name) == b"picture"
