"""Every file of the corpus, through the sandbox as it runs: the right picture or a refusal, and nobody is worse off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from deployments.errors import EaselError, ImageRejected, TooLarge
from deployments.imaging import worker
from deployments.imaging.sandbox import Sandbox
from tests.unit.imaging import corpus
from tests.unit.imaging.corpus import Case, Picture, Refused

CASES = corpus.cases()
LIBRARIES = 64 * 2**20  # bytes of memory that are no data
Result = TypeVar("Result")
GOOD = corpus.sample("PNG")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


def test_there_are_many() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 300


async def outcome_of(call: Awaitable[Result]) -> Result | EaselError:
    try:
        return await call
    except (ImageRejected, TooLarge) as error:
        return error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_right_picture_or_is_refused(case: Case, sandbox: Sandbox) -> None:
    async def check() -> None:
        data = case.data
        size = await outcome_of(sandbox.measure(data, "mask", caller="otter"))
        picture = await outcome_of(sandbox.picture(data, "mask", caller="otter"))
        if isinstance(picture, EaselError):
            assert picture.param == "mask"
            assert not isinstance(case.outcome, Picture) or case.outcome.or_refused, picture.message
            assert not isinstance(case.outcome, Refused) or type(picture) in case.outcome.value
        else:
            assert size == picture.size
            assert picture.mode in ("RGB", "RGBA")
            assert not isinstance(case.outcome, Refused)
            if case.outcome is not None:
                assert_shows(picture, case.outcome)
        assert (await sandbox.picture(GOOD, "image", caller="otter")).size == (32, 16)
        (process,) = sandbox._idle
        most = Path(f"/proc/{process._process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
        assert int(most) * 2**10 < worker.MEMORY_BYTES + LIBRARIES

    asyncio.run(check())


def assert_shows(picture: Image.Image, expected: Picture) -> None:
    assert (picture.mode, picture.size) == (expected.mode, expected.size)
    for at, colour in expected.pixels.items():
        shown = np.asarray(picture.getpixel(at)).astype(int)
        assert np.abs(shown - colour).max() <= expected.off_by, (at, shown)
