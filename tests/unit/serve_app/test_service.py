"""The backend on a cluster, with a folder for a store and no cluster."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image
from pydantic import ValidationError
from ray import serve
from ray.serve.schema import ServeStatus

from config.mistakes import ConfigError
from config.schema import ImageStoreConfig, IngressConfig, IngressSettings
from deployments.errors import DeadlineExceeded, ImageRejected, ModelUnavailable, StoreUnavailable
from deployments.types import ImageRequest, ImageResult, PoseSource, Progress, Standing
from serve_app import errors
from serve_app import service as service_module
from serve_app.backend import ModelState
from serve_app.images import breaker, routes
from serve_app.images.store import GRACE_SECONDS, SIGNING_VARIABLE
from serve_app.service import Service
from tests.unit.clock import Clock
from tests.unit.serve_app.samples import photo

pytestmark = pytest.mark.anyio

BASE = "http://easel.test"
SETTINGS: dict[str, Any] = {
    "models": [{"name": "paint", "application": "sdxl", "family": "sdxl"}],
    "default_model": "paint",
}
LIFETIME = 3600


@pytest.fixture(autouse=True)
def _no_configured_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_VARIABLE, raising=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time where pictures are kept and served."""
    # In whole seconds, as links tell them; and later than sweeps, which go by the true time.
    clock = Clock(float(int(time.time()) + 1000 * LIFETIME))
    create = routes.create_router
    monkeypatch.setattr(service_module, "time", SimpleNamespace(time=clock))
    monkeypatch.setattr(service_module, "create_router", lambda *parts: create(*parts, clock=clock))
    return clock


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Service]:
    def make_one(**images: Any) -> Service:
        # A busy machine and a full disk change nothing.
        patient = {"timeout_seconds": 60, "least_free_bytes": 0}
        config = ImageStoreConfig(
            **{"url": str(tmp_path / "pictures"), "lifetime_seconds": LIFETIME, **patient, **images}
        )
        config_of_all = IngressConfig(images=config, max_body_bytes=1234, body_timeout_seconds=5.5)
        return Service(config_of_all, None)  # type: ignore[arg-type] # no quotas

    return make_one


@pytest.fixture
def service(make: Callable[..., Service], clock: Clock) -> Service:
    return make()


@pytest.fixture
async def client(service: Service, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    errors.install(app)
    app.include_router(service.images_router)
    service.configure(SETTINGS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as opened:
        yield opened


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_a_kept_picture_is_served_by_its_link(
    output_format: str, service: Service, client: httpx.AsyncClient
) -> None:
    url = await service.keep(b"picture", output_format, BASE, "otter")
    assert httpx.URL(url).path.endswith(f".{output_format}")
    response = await client.get(url)
    assert response.status_code == 200
    assert response.content == b"picture"
    assert response.headers["content-type"] == f"image/{output_format}"


async def test_every_picture_has_a_link_of_its_own(service: Service) -> None:
    service.configure(SETTINGS)
    assert await service.keep(b"picture", "png", BASE, "otter") != await service.keep(b"picture", "png", BASE, "otter")


async def test_a_link_answers_for_its_lifetime_and_no_longer(
    service: Service, client: httpx.AsyncClient, clock: Clock
) -> None:
    url = await service.keep(b"picture", "png", BASE, "otter")
    clock.now += LIFETIME - 1
    assert (await client.get(url)).status_code == 200
    clock.now += 1
    response = await client.get(url)
    assert response.status_code == 410
    assert response.json()["error"]["code"] == "url_expired"


async def test_a_changed_link_is_refused(service: Service, client: httpx.AsyncClient) -> None:
    url = httpx.URL(await service.keep(b"picture", "png", BASE, "otter"))
    later = url.copy_set_param("expires", str(int(url.params["expires"]) + 1))
    assert (await client.get(later)).status_code == 403


async def test_replicas_with_one_store_serve_each_others_links(
    make: Callable[..., Service], client: httpx.AsyncClient
) -> None:
    another = make()
    another.configure(SETTINGS)
    assert (await client.get(await another.keep(b"picture", "png", BASE, "otter"))).status_code == 200


KEYS: dict[str, Any] = {"keys": [{"name": "otter", "sha256": hashlib.sha256(b"key").hexdigest()}]}


async def test_a_picture_that_is_kept_while_they_are_private_needs_its_owners_key(
    service: Service, client: httpx.AsyncClient
) -> None:
    service.configure({**SETTINGS, **KEYS})
    public = await service.keep(b"picture", "png", BASE, "otter")
    assert (await client.get(public)).status_code == 200
    service.configure({**SETTINGS, **KEYS, "private_pictures": True})
    private = await service.keep(b"picture", "png", BASE, "otter")
    assert [(await client.get(url)).status_code for url in (public, private)] == [403, 401]
    assert (await client.get(private, headers={"authorization": "Bearer key"})).content == b"picture"


POSED: dict[str, Any] = {
    "models": [*SETTINGS["models"], {"name": "posed", "application": "posed", "family": "sdxl-pose"}],
    "default_model": "paint",
    "pose": {"model": "posed", "application": "skeletons"},
}
REQUEST = ImageRequest(
    request_id="r", model="paint", prompt="otter", width=64, height=64, seed=7, standing=Standing(deadline=0)
)
SOURCE = PoseSource(photo=b"photo")


async def generate(service: Service) -> object:
    return await service.generate(service.settings().models[0], REQUEST)


async def stream(service: Service) -> object:
    return [event async for event in service.stream(service.settings().models[0], REQUEST)]


async def draw_skeleton(service: Service) -> object:
    pose = service.settings().pose
    assert pose is not None
    return await service.draw_skeleton(pose, SOURCE, 64, 32, 5.0, "otter")


@dataclass
class Told:
    """Of each model, whatever Serve says."""

    states: dict[str, ModelState]

    async def of(self, settings: IngressSettings) -> dict[str, ModelState]:
        return self.states


class LateDispatcher:
    """Whose every answer comes too late."""

    async def generate(self, *_: object) -> ImageResult:
        raise DeadlineExceeded("too late")

    draw_skeleton = generate

    async def stream(self, *_: object) -> AsyncIterator[Progress]:
        yield Progress(step=0, steps=1)
        raise DeadlineExceeded("too late")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"paint": False, "skeletons": True}, (ModelUnavailable, ModelUnavailable, DeadlineExceeded)),
        ({"paint": True, "skeletons": False}, (DeadlineExceeded, DeadlineExceeded, ModelUnavailable)),
        ({"paint": True, "skeletons": True}, (DeadlineExceeded,) * 3),
        ({}, (DeadlineExceeded,) * 3),
    ],
    ids=["model loading", "pose estimator loading", "too slow", "unknown"],
)
async def test_a_time_that_ran_out_is_told_from_an_application_that_is_not_there(
    states: dict[str, bool],
    expected: tuple[type[Exception], ...],
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.configure(POSED)
    monkeypatch.setattr(service, "_dispatcher", LateDispatcher())
    told = {name: ModelState(ready=ready, description="deploying") for name, ready in states.items()}
    monkeypatch.setattr(service, "_readiness", Told(told))
    for call, error in zip((generate, stream, draw_skeleton), expected, strict=True):
        with pytest.raises(error) as raised:
            await call(service)
        assert ("deploying" in str(raised.value)) == (error is ModelUnavailable)


async def test_the_event_loop_is_free_while_a_picture_is_kept(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.configure(SETTINGS)
    begun, turned = threading.Event(), threading.Event()

    def put(*_: object) -> str:
        begun.set()
        return "1-x.png" if turned.wait(3) else "in vain"

    monkeypatch.setattr(service._store, "put", put)
    keeping = asyncio.create_task(service.keep(b"picture", "png", BASE, "otter"))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    turned.set()
    assert "1-x.png" in await keeping


async def test_a_store_that_fails_later_is_told_also_before_the_next_picture(service: Service, tmp_path: Path) -> None:
    await service.check_links()
    folder = tmp_path / "pictures"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.touch()
    for refused in (service.keep(b"picture", "png", BASE, "otter"), service.check_links()):
        with pytest.raises(StoreUnavailable):
            await refused


@pytest.mark.parametrize("secret", [None, "the secret is not in the store"])
def test_a_folder_that_cannot_be_one_is_found_at_the_start(
    secret: str | None, make: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if secret is not None:
        monkeypatch.setenv(SIGNING_VARIABLE, secret)
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="The image store refuses"):
        make(url=str(tmp_path / "file" / "pictures"))


async def test_a_store_that_is_full_keeps_no_replica_from_starting_and_is_found_later(
    make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    monkeypatch.setattr(breaker, "LONGEST_WAIT_SECONDS", 0.0)
    service = make(least_free_bytes=5000)
    service.configure(SETTINGS)
    for refused in (service.check_links(), service.keep(b"picture", "png", BASE, "otter")):
        with pytest.raises(StoreUnavailable):
            await refused
    full = full._replace(free=10_000)
    await service.check_links()
    await service.keep(b"picture", "png", BASE, "otter")


async def test_a_store_that_hangs_is_given_up_after_the_configured_time(
    make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    service = make(timeout_seconds=60)
    service.configure(SETTINGS)
    url = httpx.URL(await service.keep(b"picture", "png", BASE, "otter"))
    assert service._keeper._seconds == service._keeper._threads._seconds == 60
    service._keeper._seconds = service._keeper._threads._seconds = 0.02  # not before: the disk may be slow
    monkeypatch.setattr(service._store, "put", lambda *_: released.wait())
    monkeypatch.setattr(service._store, "get", lambda *_: released.wait())
    app = FastAPI()
    errors.install(app)
    app.include_router(service.images_router)
    try:
        with pytest.raises(StoreUnavailable):
            await service.keep(b"picture", "png", BASE, "otter")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            response = await client.get(url)
    finally:
        released.set()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "image_store_unavailable"
    assert caplog.text.count("does not answer within 0.02 seconds") == 2


def test_a_store_of_an_unknown_kind_is_found_at_the_start(make: Callable[..., Service]) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        make(url="nonsense://pictures")


async def test_expired_pictures_are_swept(service: Service, clock: Clock, tmp_path: Path) -> None:
    service.configure(SETTINGS)
    await service.keep(b"picture", "png", BASE, "otter")
    clock.now = time.time() + 10 * LIFETIME
    live = httpx.URL(await service.keep(b"picture", "png", BASE, "otter")).path.rpartition("/")[2]
    service._store.put(b"old", "png", int(time.time()) - GRACE_SECONDS - 1)
    sweeping = asyncio.create_task(service.sweep_pictures())
    ends = time.monotonic() + 30
    while len(list((tmp_path / "pictures").glob("*.png"))) > 2 and time.monotonic() < ends:
        await asyncio.sleep(0.005)
    sweeping.cancel()
    left = {path.name for path in (tmp_path / "pictures").glob("*.png")}
    assert live in left
    assert len(left) == 2


class TestSettings:
    def test_are_required(self, service: Service) -> None:
        with pytest.raises(ModelUnavailable, match="user_config"):
            service.settings()

    async def test_are_required_for_readiness(self, service: Service) -> None:
        with pytest.raises(ModelUnavailable):
            await service.readiness()

    def test_apply_in_place(self, service: Service) -> None:
        service.configure(SETTINGS)
        assert service.settings().deadline_seconds == 240
        service.configure({**SETTINGS, "deadline_seconds": 9})
        assert service.settings().deadline_seconds == 9

    def test_without_keys_are_told_once_whenever_the_service_is_opened(
        self, service: Service, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        keys = {"keys": [{"name": "a", "sha256": "0" * 64}]}
        told = []
        for settings in (keys, {}, {"deadline_seconds": 9}, keys, {"keys": []}):
            service.configure({**SETTINGS, **settings})
            told.append(caplog.text.count("No API keys are configured: whoever reaches this service may use it."))
        assert told == [0, 1, 1, 1, 2]

    async def test_follow_the_file_of_keys(
        self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service_module, "KEYS_ARE_LOOKED_AT_SECONDS", 0.005)
        following = asyncio.create_task(service.follow_keys())
        path = tmp_path / "keys.yaml"
        path.write_text("[]")
        service.configure({**SETTINGS, "keys_file": str(path)})
        assert service.settings().keys == ()
        path.write_text(f"- {{name: a, sha256: {'a' * 64}}}")
        ends = time.monotonic() + 30
        while not service.settings().keys and time.monotonic() < ends:
            await asyncio.sleep(0.005)
        assert [key.name for key in service.settings().keys] == ["a"]
        following.cancel()

    def test_whose_file_of_keys_is_bad_raise_and_keep_the_old(self, service: Service, tmp_path: Path) -> None:
        service.configure(SETTINGS)
        before = service.settings()
        with pytest.raises(ConfigError, match="No such file"):
            service.configure({**SETTINGS, "keys_file": str(tmp_path / "absent.yaml")})
        assert service.settings() is before

    def test_with_a_file_of_no_keys_are_not_told_to_be_open(
        self, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "ray.serve")
        (tmp_path / "keys.yaml").write_text("[]")
        service.configure({**SETTINGS, "keys_file": str(tmp_path / "keys.yaml")})
        assert "No API keys are configured" not in caplog.text

    @pytest.mark.parametrize("wrong", [{}, {**SETTINGS, "default_model": "x"}, {**SETTINGS, "modles": []}])
    def test_with_a_mistake_raise_and_keep_the_old(self, service: Service, wrong: dict[str, Any]) -> None:
        service.configure(SETTINGS)
        before = service.settings()
        with pytest.raises(ValidationError):
            service.configure(wrong)
        assert service.settings() is before


def test_the_limits_on_bodies_are_the_configured_ones(service: Service) -> None:
    assert (service.max_body_bytes, service.body_timeout_seconds) == (1234, 5.5)


async def test_readiness_asks_about_the_configured_models(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "status", lambda: ServeStatus(applications={}))
    service.configure(SETTINGS)
    assert await service.readiness() == {"paint": ModelState(False, "not deployed")}


class TestDispatch:
    """Requests go through the dispatcher."""

    async def test_of_pictures_and_skeletons(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        async def dispatch(*arguments: object) -> object:
            return arguments

        monkeypatch.setattr(service._dispatcher, "generate", dispatch)
        monkeypatch.setattr(service._dispatcher, "draw_skeleton", dispatch)
        service.configure(POSED)
        assert await generate(service) == (service.settings().models[0], REQUEST)
        assert await draw_skeleton(service) == ("skeletons", SOURCE, 64, 32, 5.0, "otter")

    async def test_of_streams_which_are_closed_with_it(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = []

        async def dispatch(*arguments: object) -> AsyncIterator[object]:
            try:
                yield arguments
                yield "last"
            finally:
                closed.append(True)

        monkeypatch.setattr(service._dispatcher, "stream", dispatch)
        service.configure(POSED)
        assert await stream(service) == [(service.settings().models[0], REQUEST), "last"]
        async with aclosing(service.stream(service.settings().models[0], REQUEST)) as events:
            await anext(events)
            assert closed == [True]
        assert closed == [True, True]


async def test_pictures_are_measured_in_another_process(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("must not be parsed here"))
    assert await service.measure(photo(9, 5), "image", "otter") == (9, 5)
    with pytest.raises(ImageRejected) as refused:
        await service.measure(b"no picture", "pose_image", "otter")
    assert refused.value.param == "pose_image"
    service._sandbox.close()
