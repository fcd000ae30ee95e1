"""Processes that decode: what they answer, what becomes of those that misbehave, and what they may do at all."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import numpy as np
import psutil
import pytest
from PIL import ExifTags, Image

from deployments.errors import EaselError, ImageRejected, InvalidRequest, Overloaded, TooLarge
from deployments.imaging import sandbox as sandbox_module
from deployments.imaging import worker
from deployments.imaging.canvas import canvas_of
from deployments.imaging.decode import decode
from deployments.imaging.masks import mask_of
from deployments.imaging.sandbox import MOST_SAID, MOST_WORKERS, Sandbox
from deployments.types import MAX_PIXELS

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[3]
UNRULY = "tests.unit.imaging.unruly_worker"


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def shades(width: int = 40, height: int = 30) -> Image.Image:
    """Every pixel of another colour, and the right half transparent."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    alpha = np.where(columns < width // 2, 255, 0).astype(np.uint8)
    return Image.fromarray(np.stack([rows, columns, rows + columns, alpha], -1))


GOOD = encoded(Image.new("RGB", (9, 5)))
CALLER = "otter"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def unruly(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """One whose worker does what the file says."""
    monkeypatch.setattr(sandbox_module, "WORKER", UNRULY)
    return sandbox


async def process(unruly: Sandbox) -> int:
    """The one that answers."""
    return (await unruly.measure(b"who", "image", caller=CALLER))[0]


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not true():
            await asyncio.sleep(0.01)


def is_gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestAnswers:
    async def test_the_size(self, sandbox: Sandbox) -> None:
        assert await sandbox.measure(GOOD, "image", caller=CALLER) == (9, 5)

    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    async def test_the_pixels(self, sandbox: Sandbox, mode: str) -> None:
        picture = await sandbox.picture(encoded(shades().convert(mode)), "image", caller=CALLER)
        assert picture.mode == mode
        assert np.array_equal(np.asarray(picture), np.asarray(shades().convert(mode)))

    @pytest.mark.parametrize("reads", ["alpha", "white"])
    @pytest.mark.parametrize("mask", [None, encoded(shades())])
    @pytest.mark.parametrize("image", [encoded(shades()), encoded(shades().convert("RGB"), "WEBP", lossless=True)])
    async def test_the_canvas(self, sandbox: Sandbox, image: bytes, mask: bytes | None, reads: str) -> None:
        canvas = await sandbox.canvas(image, mask, reads, 50, 20, 8, caller=CALLER)  # type: ignore[arg-type]
        decoded = decode(image, param="image")
        repaint = mask_of(decoded, None if mask is None else decode(mask, param="mask"), reads)  # type: ignore[arg-type]
        expected = canvas_of(decoded, repaint, 50, 20, 8)
        assert (canvas.width, canvas.height) == (50, 20)
        assert np.array_equal(np.asarray(canvas.picture), np.asarray(expected.picture))
        assert (canvas.mask is None) == (expected.mask is None)
        if expected.mask is not None:
            assert np.array_equal(np.asarray(canvas.mask), np.asarray(expected.mask))

    async def test_the_largest_picture_and_mask(self, sandbox: Sandbox) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        largest = encoded(Image.new("RGBA", (4096, 4096), (1, 2, 3, 4)), "WEBP", exif=exif)
        assert Image.open(io.BytesIO(largest)).width ** 2 == MAX_PIXELS
        canvas = await sandbox.canvas(largest, largest, "alpha", 64, 64, 8, caller=CALLER)
        assert canvas.mask is not None
        assert canvas.mask.getextrema() == (251, 251)

    @pytest.mark.parametrize(
        ("image", "mask", "error", "param"),
        [
            (b"", None, ImageRejected, "image"),
            (GOOD, b"GIF89a", ImageRejected, "mask"),
            (encoded(Image.new("1", (4096, 4097))), None, TooLarge, "image"),
            (GOOD, encoded(Image.new("L", (9, 6))), InvalidRequest, "mask"),
        ],
    )
    async def test_errors_are_of_the_tree_and_cost_no_process(
        self, sandbox: Sandbox, image: bytes, mask: bytes | None, error: type[EaselError], param: str
    ) -> None:
        assert await sandbox.measure(GOOD, "image", caller=CALLER) == (9, 5)
        (before,) = sandbox._idle
        with pytest.raises(error) as refused:
            await sandbox.canvas(image, mask, "alpha", 64, 64, 8, caller=CALLER)
        assert type(refused.value) is error
        assert refused.value.param == param
        assert sandbox._idle == [before]

    async def test_nothing_is_parsed_here(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("must not be parsed here"))
        await sandbox.measure(GOOD, "image", caller=CALLER)
        await sandbox.picture(GOOD, "image", caller=CALLER)
        await sandbox.canvas(GOOD, GOOD, "alpha", 64, 64, 8, caller=CALLER)


class TestMisdeeds:
    @pytest.mark.parametrize(
        ("misdeed", "codes"),
        [
            (b"crash", {-signal.SIGSEGV}),
            (b"compute", {-signal.SIGPROF}),
            (b"leave", {0, -signal.SIGKILL}),  # its socket closes a little before its end
        ],
    )
    async def test_what_ends_the_process_is_refused_and_the_next_is_answered(
        self, unruly: Sandbox, misdeed: bytes, codes: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sandbox_module, "SECONDS", 120)
        before = await process(unruly)
        (ended,) = unruly._idle
        with pytest.raises(ImageRejected, match=r"^mask: cannot be decoded") as refused:
            await unruly.measure(misdeed, "mask", caller=CALLER)
        assert refused.value.param == "mask"
        assert ended._process.wait() in codes
        assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)
        assert await process(unruly) != before

    async def test_what_hangs_is_killed_and_the_next_is_answered(
        self, unruly: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = await process(unruly)
        with monkeypatch.context() as impatient:
            impatient.setattr(sandbox_module, "SECONDS", 0.1)
            with pytest.raises(ImageRejected, match="or not in time"):
                await unruly.measure(b"hang", "image", caller=CALLER)
        await until(lambda: is_gone(before))
        assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)

    async def test_what_eats_memory_is_told_so_and_the_next_is_answered(self, unruly: Sandbox) -> None:
        before = await process(unruly)
        with pytest.raises(TooLarge, match=r"^mask: takes too much memory") as refused:
            await unruly.measure(b"eat", "mask", caller=CALLER)
        assert refused.value.param == "mask"
        assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)
        assert await process(unruly) == before
        most = int(Path(f"/proc/{before}/status").read_text().split("VmHWM:")[1].split()[0]) * 2**10
        assert worker.MEMORY_BYTES / 2 < most < worker.MEMORY_BYTES + 100 * 2**20

    async def test_a_process_that_died_at_rest_costs_nobody_an_answer(self, unruly: Sandbox) -> None:
        before = await process(unruly)
        os.kill(before, signal.SIGKILL)
        await until(lambda: is_gone(before))
        assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)


class TestLies:
    """A process that a picture took over says what it likes."""

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("measure", ["otter"]),
            ("measure", ["[" * 1000]),
            ("measure", ['{"value": [1, 1], "pictures": []}' + " " * MOST_SAID]),
            ("measure", ['{"value": [1, 1], "pictures": [], "more": 1}']),
            ("measure", ['{"value": null, "pictures": []}']),
            ("measure", ['{"value": [-1, -1], "pictures": []}']),
            ("measure", ['{"value": ["1", "1"], "pictures": []}']),
            ("measure", ['{"value": [4097, 4096], "pictures": []}']),
            ("measure", ['{"value": [1, 1], "pictures": [["L", [1, 1]]]}', "x"]),
            ("measure", ['{"error": ["TooLarge", "", "", null], "pictures": [["L", [1, 1]]]}', "x"]),
            ("measure", ['{"error": ["SystemExit", "", "", null], "pictures": []}']),
            ("picture", ['{"pictures": []}']),
            ("picture", ['{"pictures": [["L", [1, 1]], ["L", [1, 1]]]}', "x", "x"]),
            ("picture", ['{"pictures": [["P", [1, 1]]]}', "x"]),
            ("picture", ['{"pictures": [["RGB", [0, 1]]]}', ""]),
            ("picture", ['{"pictures": [["RGB", [4097, 4096]]]}']),
            ("picture", ['{"pictures": [["RGB", [2, 2]]]}', "x" * 11]),
            ("picture", ['{"pictures": [["RGB", [2, 2]]]}', "x" * 13]),
            ("canvas", ['{"pictures": [["RGB", [16, 2]]]}', "x" * 96]),
            ("canvas", ['{"pictures": [["L", [8, 8]]]}', "x" * 64]),
            ("canvas", ['{"pictures": [["RGB", [8, 8]], ["L", [8, 9]]]}', "x" * 192, "x" * 72]),
        ],
    )
    async def test_are_not_believed_and_their_last(
        self, unruly: Sandbox, asked: str, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sandbox_module, "SECONDS", 120)
        liar = await process(unruly)
        with pytest.raises(ImageRejected, match="cannot be decoded"), anyio.fail_after(30):
            await answer_to(unruly, asked, said)
        await until(lambda: is_gone(liar))
        assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("measure", ['{"value": [4096, 4096], "pictures": []}']),
            ("picture", ['{"pictures": [["RGB", [2, 2]]]}', "x" * 12]),
            ("canvas", ['{"pictures": [["RGB", [8, 8]]]}', "x" * 192]),
            ("canvas", ['{"pictures": [["RGB", [8, 8]], ["L", [8, 8]]]}', "x" * 192, "x" * 64]),
        ],
    )
    async def test_what_could_be_true_is_taken(self, unruly: Sandbox, asked: str, said: list[str]) -> None:
        await answer_to(unruly, asked, said)


async def answer_to(unruly: Sandbox, asked: str, said: list[str]) -> object:
    """What becomes of these messages in answer to that question; the canvas is of 8 × 8."""
    messages = json.dumps(said).encode()
    if asked == "measure":
        return await unruly.measure(b"say: " + messages, "image", caller=CALLER)
    if asked == "picture":
        return await unruly.picture(messages, "image", caller=CALLER)
    return await unruly.canvas(messages, None, "alpha", 7, 8, 8, caller=CALLER)


class TestKilledByOthers:
    """As by the kernel where memory is short: a good picture is not told that it is bad."""

    @pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    async def test_it_is_tried_once_more(self, by: signal.Signals, unruly: Sandbox, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        first = await process(unruly)
        call = asyncio.create_task(unruly.measure(f"wait: {gate}".encode(), "image", caller=CALLER))
        await until(lambda: not unruly._idle)
        os.kill(first, by)
        await until(lambda: is_gone(first))
        gate.touch()
        assert await call == (1, 1)
        assert await process(unruly) != first

    async def test_whenever_it_is_killed_that_is_no_fault_of_the_picture(self, unruly: Sandbox) -> None:
        with pytest.raises(Overloaded, match="was ended"):
            await unruly.measure(b"be killed", "image", caller=CALLER)
        assert unruly._idle == []
        assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)

    async def test_nor_is_it_where_no_process_can_be_had(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_process(*_: object, **__: object) -> None:
            raise BlockingIOError(errno.EAGAIN, "otter")

        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", no_process)
            with pytest.raises(Overloaded) as refused:
                await sandbox.measure(GOOD, "image", caller=CALLER)
        assert "otter" not in refused.value.message
        assert await sandbox.measure(GOOD, "image", caller=CALLER) == (9, 5)


async def test_a_process_that_does_not_work_is_no_fault_of_the_picture(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module, "WORKER", "no.such.module")
    with pytest.raises(RuntimeError, match="failed"):
        await sandbox.measure(GOOD, "image", caller=CALLER)


async def test_who_stops_waiting_has_the_process_killed(unruly: Sandbox) -> None:
    before = await process(unruly)
    call = asyncio.create_task(unruly.measure(b"hang", "image", caller=CALLER))
    await until(lambda: not unruly._idle)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: is_gone(before))
    assert await unruly.measure(GOOD, "image", caller=CALLER) == (9, 5)


async def test_processes_are_few_and_kept(unruly: Sandbox, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    calls = [
        asyncio.create_task(unruly.measure(f"wait: {gate}".encode(), "image", caller=CALLER))
        for _ in range(3 * MOST_WORKERS)
    ]
    await until(lambda: unruly._places._held[CALLER] == MOST_WORKERS)
    assert len(unruly._places._waiting[CALLER]) == 2 * MOST_WORKERS
    gate.touch()
    assert await asyncio.gather(*calls) == [(1, 1)] * len(calls)
    assert len(unruly._idle) == MOST_WORKERS


async def test_whoever_sends_much_waits_for_it_and_nobody_else(unruly: Sandbox, tmp_path: Path) -> None:
    gates = [tmp_path / str(number) for number in range(2 * MOST_WORKERS)]
    calls = [asyncio.create_task(unruly.measure(f"wait: {gate}".encode(), "image", caller="otter")) for gate in gates]
    await until(lambda: unruly._places._held["otter"] == MOST_WORKERS)
    honest = asyncio.create_task(unruly.measure(GOOD, "image", caller="beaver"))
    await asyncio.sleep(0)
    gates[0].touch()
    with anyio.fail_after(10):  # before a process counts as hung
        assert await honest == (9, 5)
    for gate in gates:
        gate.touch()
    await asyncio.gather(*calls)


async def test_closing_ends_the_processes(unruly: Sandbox) -> None:
    before = await process(unruly)
    unruly.close()
    await until(lambda: is_gone(before))


async def test_processes_end_with_their_parent_whatever_ends_that(unruly: Sandbox) -> None:
    program = (
        "import asyncio, os, signal; from deployments.imaging import sandbox; sandbox.WORKER = %r;"
        "print(*asyncio.run(sandbox.Sandbox().measure(b'who', 'image', caller='otter')), flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program % UNRULY], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL
    await until(lambda: is_gone(int(ended.stdout.split()[0])))


class TestRights:
    @pytest.mark.parametrize("deed", ["open", "connect"])
    async def test_nothing_can_be_opened(self, unruly: Sandbox, deed: str) -> None:
        assert await unruly.measure(f"try: {deed}".encode(), "image", caller=CALLER) == (1, 1)

    async def test_limits_are_those_documented(self, unruly: Sandbox) -> None:
        limits = Path(f"/proc/{await process(unruly)}/limits").read_text()
        for name, most in (
            ("Max data size", worker.MEMORY_BYTES),
            ("Max core file size", 0),
            ("Max file size", 0),
            ("Max processes", 0),
            ("Max open files", 0),
        ):
            assert limits.split(name)[1].split()[:2] == [str(most)] * 2

    async def test_no_secret_is_known(self, unruly: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "secret")
        assert (await unruly.measure(b"knows: HF_TOKEN", "image", caller=CALLER))[0] == 1
        assert (await unruly.measure(b"knows: PYTHONPATH", "image", caller=CALLER))[0] == 2

    @pytest.mark.parametrize("module", ["torch", "ray", "diffusers", "fastapi", "pydantic", "anyio", "asyncio"])
    async def test_only_what_decoding_needs_is_imported(self, unruly: Sandbox, module: str) -> None:
        assert (await unruly.measure(f"knows: {module}".encode(), "image", caller=CALLER))[1] == 1
        assert (await unruly.measure(b"knows: PIL.Image", "image", caller=CALLER))[1] == 2
