"""Whose photos are looked at for people, how large, and what is held meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    Forbidden,
    ImageRejected,
    InvalidRequest,
    ModelUnavailable,
    QuotaExceeded,
    TooLarge,
)
from deployments.quotas import Quota
from deployments.types import PoseSource
from serve_app.auth import Caller
from serve_app.poses import find_people
from tests.unit.serve_app.samples import photo

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

SDXL, POSE = "stabilityai/stable-diffusion-xl-base-1.0", "easel/stable-diffusion-xl-pose"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
CALLER = Caller("theirs")
LIMITED = Caller("theirs", quota=Quota(caller="theirs", max_concurrent=1))


@pytest.mark.parametrize(
    ("size", "drawn"), [((96, 64), (96, 64)), ((101, 67), (96, 64)), ((40, 40), (64, 64)), ((3000, 2000), (2048, 1360))]
)
async def test_people_are_drawn_as_large_as_a_picture_that_follows_them(
    size: tuple[int, int], drawn: tuple[int, int], backend: FakeBackend
) -> None:
    skeleton = await find_people(photo(*size), backend, CALLER)
    assert backend.poses == [(PoseSource(photo=photo(*size)), *drawn)]
    assert (skeleton.width, skeleton.height, skeleton.people) == (*drawn, backend.people)
    assert (backend.asked_for, backend.requests) == (["theirs"] * 2, [])


@pytest.mark.parametrize("models", [None, (POSE,), (SDXL,), ("small", SCHNELL), (POSE.upper(),)])
async def test_keys_that_may_have_the_pose_model_may_find_poses(
    models: tuple[str, ...] | None, backend: FakeBackend
) -> None:
    assert await find_people(photo(), backend, Caller("theirs", models=models))


@pytest.mark.parametrize("models", [(SCHNELL,), ()])
async def test_others_may_not(models: tuple[str, ...], backend: FakeBackend) -> None:
    with pytest.raises(Forbidden, match=f"not for {POSE}") as refused:
        await find_people(photo(), backend, Caller("theirs", models=models, quota=LIMITED.quota))
    assert refused.value.code == "model_not_allowed"
    assert (backend.permits, backend.asked_for) == ([], [])


async def test_a_service_without_a_pose_model_finds_none(backend: FakeBackend) -> None:
    backend.current = backend.current.model_copy(update={"pose": None})
    with pytest.raises(InvalidRequest) as refused:
        await find_people(photo(), backend, LIMITED)
    assert refused.value.code == "unsupported_capability"
    assert (backend.permits, backend.asked_for) == ([], [])


async def test_a_photo_has_at_most_so_many_bytes(backend: FakeBackend) -> None:
    backend.current = backend.current.model_copy(update={"max_image_bytes": len(photo())})
    assert await find_people(photo(), backend, CALLER)
    with pytest.raises(TooLarge) as refused:
        await find_people(photo() + b"x", backend, LIMITED)
    assert (refused.value.param, backend.permits) == ("image", [])


async def test_a_photo_has_the_shape_of_a_picture(backend: FakeBackend) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await find_people(photo(500, 100), backend, CALLER)
    assert (refused.value.param, backend.poses) == ("image", [])


class TestPermit:
    async def test_is_held_while_people_are_looked_for(
        self, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        charged_meanwhile = []
        draw = backend.draw_skeleton

        async def noting(*asked: object) -> object:
            charged_meanwhile.append(list(backend.charged))
            return await draw(*asked)  # type: ignore[arg-type]

        monkeypatch.setattr(backend, "draw_skeleton", noting)
        await find_people(photo(), backend, LIMITED)
        assert (backend.permits, charged_meanwhile, backend.charged) == ([(LIMITED.quota, 1)], [[]], [0.0])

    async def test_is_asked_for_before_the_photo_is_looked_at(self, backend: FakeBackend) -> None:
        backend.refused_permit = QuotaExceeded("Enough.")
        with pytest.raises(QuotaExceeded):
            await find_people(photo(), backend, LIMITED)
        assert backend.asked_for == []

    @pytest.mark.parametrize("picture", [b"?", photo()])
    async def test_is_given_back_whatever_fails(self, picture: bytes, backend: FakeBackend) -> None:
        backend.pose_failure = ModelUnavailable("loading")
        with pytest.raises((ImageRejected, ModelUnavailable)):
            await find_people(picture, backend, LIMITED)
        assert (len(backend.permits), backend.charged) == (1, [0.0])

    @pytest.mark.parametrize("slow", ["measure", "draw_skeleton"])
    async def test_is_given_back_when_nobody_waits_any_more(
        self, slow: str, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = asyncio.Event()

        async def never(*_: object) -> None:
            begun.set()
            await asyncio.sleep(3600)

        monkeypatch.setattr(backend, slow, never)
        asking = asyncio.create_task(find_people(photo(), backend, LIMITED))
        await begun.wait()
        assert backend.charged == []
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert backend.charged == [0.0]


async def test_a_deadline_holds(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = []
    draw = backend.draw_skeleton

    async def noting(*asked: object) -> object:
        deadlines.append(asked[4])
        return await draw(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "draw_skeleton", noting)
    before = time.time()
    await find_people(photo(), backend, CALLER)
    assert before + 240 <= deadlines[0] <= time.time() + 240  # type: ignore[operator]

    async def never(*_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(backend, "measure", never)
    backend.current = backend.current.model_copy(update={"deadline_seconds": 0.05})
    with pytest.raises(DeadlineExceeded):
        await find_people(photo(), backend, CALLER)


async def test_nobody_found_is_said(backend: FakeBackend) -> None:
    backend.pose_failure = InvalidRequest("image: no person", code="no_pose_found", param="image")
    with pytest.raises(EaselError) as refused:
        await find_people(photo(), backend, CALLER)
    assert refused.value is backend.pose_failure
