"""From what a caller asked for to requests that a model can run, and to their pictures."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from config.schema import IngressSettings, ModelRoute
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    Forbidden,
    ImageRejected,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    Overloaded,
    QuotaExceeded,
    TooLarge,
)
from deployments.quotas import Quota
from deployments.types import MAX_SEED, ImageRequest, ImageResult, Person, PoseSource, Progress
from serve_app import orders
from serve_app.auth import Caller
from serve_app.orders import Accepted, Order, complete, stream
from tests.unit.serve_app.samples import photo, read_into

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

SDXL, POSE = "stabilityai/stable-diffusion-xl-base-1.0", "easel/stable-diffusion-xl-pose"
SCHNELL, FILL = "black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-Fill-dev"
PEOPLE = (Person(body=((0.5, 0.5), *[None] * 17)),)
JOINTS = PoseSource(people=PEOPLE)
DRAWING = PoseSource(drawing=photo(96, 64))
CALLER = Caller("theirs", weight=2.5, priority=-1)


def order(**changed: Any) -> Order:
    return Order(**{"model": None, "prompt": "otter", "seed": 1, **changed})


async def accept(order: Order, backend: FakeBackend, identifier: str, caller: Caller) -> Accepted:
    """Where it is of no matter how long the block lasts."""
    async with orders.accept(order, backend, identifier, caller) as accepted:
        return accepted


async def test_a_mask_is_looked_at_before_anything_is_queued(backend: FakeBackend) -> None:
    with pytest.raises(InvalidRequest, match="as large as the image") as refused:
        await accept(order(image=photo(96, 64), mask=photo(64, 96)), backend, "mine", CALLER)
    assert refused.value.param == "mask"
    with pytest.raises(ImageRejected) as rejected:
        await accept(order(image=photo(), mask=b"no picture"), backend, "mine", CALLER)
    assert rejected.value.param == "mask"


async def test_the_pictures_of_an_order_are_known_as_such(backend: FakeBackend) -> None:
    ours, theirs = [await accept(order(count=3), backend, "same identifier", CALLER) for _ in range(2)]
    assert len({request.standing.order for request in ours.requests}) == 1
    assert ours.requests[0].standing.order not in ("", theirs.requests[0].standing.order)


@pytest.mark.parametrize("changed", [{"image": photo(), "mask": photo()}, {"pose": DRAWING}])
async def test_pictures_are_looked_at_in_the_name_of_their_caller(
    changed: dict[str, Any], backend: FakeBackend
) -> None:
    await accept(order(**changed), backend, "r", CALLER)
    assert backend.asked_for == ["theirs"] * 2


async def test_everything_asked_for_is_in_the_request(backend: FakeBackend) -> None:
    asked = {
        "negative_prompt": "fog",
        "quality": "hd",
        "steps": 7,
        "guidance_scale": 0.0,
        "image": photo(),
        "mask": photo(),
        "mask_reads": "white",
        "strength": 0.3,
        "output_format": "webp",
        "output_compression": 50,
        "partial_images": 2,
    }
    before = time.time()
    accepted = await accept(order(**asked, size=(512, 256)), backend, "mine", CALLER)
    (request,) = accepted.requests
    assert {name: getattr(request, name) for name in asked} == asked
    assert (request.request_id, request.model, request.prompt, request.seed) == ("mine", SDXL, "otter", 1)
    assert (request.width, request.height, request.pose) == (512, 256, None)
    assert before + 240 <= request.standing.deadline <= time.time() + 240
    assert (request.standing.caller, request.standing.weight, request.standing.priority) == ("theirs", 2.5, -1)
    assert (accepted.route.name, accepted.skeleton) == (SDXL, None)


def test_what_a_person_wrote_or_drew_is_not_shown() -> None:
    shown = repr(order(prompt="SECRET", negative_prompt="SECRET", image=b"SECRET", mask=b"SECRET"))
    assert "SECRET" not in shown + repr(order(pose=PoseSource(drawing=b"SECRET", photo=b"SECRET")))


class TestSeeds:
    async def test_follow_one_another_and_wrap_around(self, backend: FakeBackend) -> None:
        requests = (await accept(order(seed=MAX_SEED, count=3), backend, "r", CALLER)).requests
        assert [request.seed for request in requests] == [MAX_SEED, 0, 1]
        assert [request.request_id for request in requests] == ["r", "r-1", "r-2"]

    async def test_are_drawn_where_none_is_asked_for(self, backend: FakeBackend) -> None:
        seeds = [(await accept(order(seed=None), backend, "r", CALLER)).requests[0].seed for _ in range(8)]
        assert len(set(seeds)) == 8
        assert 2**16 < max(seeds) <= MAX_SEED


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"image": b"x" * 101}, "image"),
        ({"image": b"", "mask": b"x" * 101}, "mask"),
        ({"pose": PoseSource(drawing=b"x" * 101)}, "pose_image"),
    ],
)
async def test_pictures_have_at_most_so_many_bytes(changed: dict[str, Any], param: str, backend: FakeBackend) -> None:
    backend.current = backend.current.model_copy(update={"max_image_bytes": 100})
    with pytest.raises(TooLarge, match=f"^{param}: at most 100 bytes") as refused:
        await accept(order(**changed), backend, "r", CALLER)
    assert refused.value.param == param


async def test_a_picture_of_just_so_many_bytes_is_taken(backend: FakeBackend) -> None:
    backend.current = backend.current.model_copy(update={"max_image_bytes": len(photo())})
    assert (await accept(order(image=photo(), mask=photo()), backend, "r", CALLER)).requests


@pytest.mark.parametrize(
    ("param", "changed"), [("image", {"image": b"?"}), ("pose_image", {"pose": PoseSource(drawing=b"?")})]
)
async def test_what_is_no_picture_is_refused_whatever_the_size(
    param: str, changed: dict[str, Any], backend: FakeBackend
) -> None:
    with pytest.raises(ImageRejected) as refused:
        await accept(order(**changed, size=(512, 512)), backend, "r", CALLER)
    assert refused.value.param == param
    assert backend.poses == []


class TestCapabilities:
    @pytest.mark.parametrize(
        ("model", "changed"),
        [
            (SDXL, {}),
            (SDXL, {"image": photo()}),
            (SDXL, {"image": photo(), "mask": photo()}),
            (SCHNELL, {}),
            (FILL, {"image": photo(), "mask": photo()}),
            (FILL, {"image": photo()}),  # its own transparency may be the mask
            (POSE, {}),
        ],
    )
    async def test_that_a_model_has(self, model: str, changed: dict[str, Any], backend: FakeBackend) -> None:
        (request,) = (await accept(order(model=model.upper(), **changed), backend, "r", CALLER)).requests
        assert (request.model, request.image, request.mask) == (model, changed.get("image"), changed.get("mask"))

    @pytest.mark.parametrize(
        ("model", "changed", "does"),
        [
            (SCHNELL, {"image": photo()}, "inpainting; it does text-to-image."),
            (SCHNELL, {"image": photo(), "mask": photo()}, "inpainting; it does text-to-image."),
            (FILL, {}, "text-to-image; it does inpainting."),
        ],
    )
    async def test_that_a_model_lacks(
        self, model: str, changed: dict[str, Any], does: str, backend: FakeBackend
    ) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await accept(order(model=model, **changed), backend, "r", CALLER)
        assert (refused.value.code, refused.value.param) == ("unsupported_capability", "model")
        assert refused.value.message == f"{model} does not do {does}"

    async def test_steps_and_names_are_checked(self, backend: FakeBackend) -> None:
        with pytest.raises(InvalidRequest, match="1 to 10 steps"):
            await accept(order(model="small", steps=11), backend, "r", CALLER)
        with pytest.raises(NotFound):
            await accept(order(model="none"), backend, "r", CALLER)


@pytest.mark.parametrize(
    ("changed", "size"),
    [
        pytest.param({}, (1024, 1024), id="the model's default"),
        pytest.param({"model": "small"}, (256, 128), id="another model's default"),
        pytest.param({"size": (520, 512)}, (520, 512), id="asked for"),
        pytest.param({"image": photo(101, 67)}, (101, 67), id="the picture's own, whatever the multiple"),
        pytest.param({"image": photo(101, 67), "size": (512, 512)}, (512, 512), id="asked for, with a picture"),
        pytest.param({"image": photo(700, 500), "model": "small"}, (428, 305), id="too many pixels"),
        pytest.param({"image": photo(32, 48), "model": "small"}, (64, 96), id="too small"),
        pytest.param({"image": photo(101, 67), "model": FILL}, (101, 67), id="fill, the picture's own"),
        pytest.param({"image": photo(), "model": FILL, "size": (1000, 527)}, (992, 512), id="fill rounds"),
        pytest.param({"image": photo(101, 67), "model": POSE}, (96, 64), id="pose, to its multiple"),
        pytest.param({"pose": DRAWING}, (96, 64), id="the skeleton's own"),
        pytest.param({"pose": PoseSource(people=PEOPLE, canvas=(513, 300))}, (512, 296), id="the canvas's"),
        pytest.param({"pose": JOINTS}, (1024, 1024), id="joints without a canvas"),
        pytest.param({"pose": JOINTS, "image": photo()}, (1024, 1024), id="a picture that is not looked at"),
    ],
)
async def test_size(changed: dict[str, Any], size: tuple[int, int], backend: FakeBackend) -> None:
    (request,) = (await accept(order(**changed), backend, "r", CALLER)).requests
    assert (request.width, request.height) == size


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"size": (1001, 1001)}, "size"),
        ({"size": (1001, 1001), "image": photo()}, "size"),
        ({"image": photo(500, 100)}, "image"),
        ({"pose": PoseSource(drawing=photo(500, 100))}, "pose_image"),
        ({"pose": PoseSource(people=PEOPLE, canvas=(500, 100))}, "keypoints"),
    ],
)
async def test_size_that_the_model_cannot_make(changed: dict[str, Any], param: str, backend: FakeBackend) -> None:
    with pytest.raises(InvalidRequest, match="aspect of at most 4:1") as refused:
        await accept(order(**changed), backend, "r", CALLER)
    assert refused.value.param == param
    assert backend.poses == []


class TestPose:
    @pytest.mark.parametrize(
        ("changed", "source"),
        [
            pytest.param({"wants_pose": True, "image": photo()}, PoseSource(photo=photo()), id="wanted"),
            pytest.param(
                {"wants_pose": True, "image": photo(), "model": "small"},
                PoseSource(photo=photo()),
                id="of another SDXL",
            ),
            pytest.param({"model": POSE, "image": photo()}, PoseSource(photo=photo()), id="by the model's own name"),
            pytest.param({"pose": JOINTS}, JOINTS, id="joints"),
            pytest.param({"pose": DRAWING, "model": POSE}, DRAWING, id="skeleton"),
            pytest.param(
                {"pose": JOINTS, "wants_pose": True, "image": photo()}, JOINTS, id="joints rather than an image"
            ),
        ],
    )
    async def test_is_drawn_and_guides(self, changed: dict[str, Any], source: PoseSource, backend: FakeBackend) -> None:
        unused = {"mask": photo(), "strength": 0.5}
        asked = order(**changed, **unused, size=(128, 64), pose_strength=0.7, pose_end=0.4)
        accepted = await accept(asked, backend, "r", CALLER)
        assert backend.poses == [(source, 128, 64)]
        (request,) = accepted.requests
        assert (accepted.route.name, request.model) == (POSE, POSE)
        assert request.pose is not None
        assert (request.pose.skeleton, request.pose.strength, request.pose.end) == (b"skeleton", 0.7, 0.4)
        assert (request.image, request.mask, request.strength) == (None, None, None)
        assert accepted.skeleton is not None
        assert accepted.skeleton.people == backend.people

    async def test_is_drawn_once_for_several_pictures(self, backend: FakeBackend) -> None:
        requests = (await accept(order(pose=JOINTS, count=3), backend, "r", CALLER)).requests
        assert len(backend.poses) == 1
        assert len(requests) == 3
        assert len({id(request.pose) for request in requests}) == 1

    async def test_without_one_the_pose_model_makes_pictures_from_text(self, backend: FakeBackend) -> None:
        accepted = await accept(order(model=POSE), backend, "r", CALLER)
        assert (accepted.skeleton, accepted.requests[0].pose, backend.poses) == (None, None, [])

    @pytest.mark.parametrize("model", [SCHNELL, FILL])
    @pytest.mark.parametrize("changed", [{"wants_pose": True, "image": photo()}, {"pose": JOINTS}])
    async def test_is_followed_by_sdxl_alone(self, model: str, changed: dict[str, Any], backend: FakeBackend) -> None:
        with pytest.raises(InvalidRequest, match=f"^{model} does not follow poses") as refused:
            await accept(order(model=model, **changed), backend, "r", CALLER)
        assert (refused.value.code, refused.value.param) == ("unsupported_capability", "model")

    async def test_is_refused_where_the_service_has_no_pose_model(self, backend: FakeBackend) -> None:
        route = ModelRoute(name=SDXL, application="sdxl", family="sdxl")
        backend.current = IngressSettings(models=(route,), default_model=SDXL)
        with pytest.raises(InvalidRequest, match="does not follow poses"):
            await accept(order(pose=JOINTS), backend, "r", CALLER)

    @pytest.mark.parametrize(
        "failure",
        [InvalidRequest("image: no person", code="no_pose_found", param="image"), ModelUnavailable("loading")],
    )
    async def test_that_is_not_found_is_told(self, failure: EaselError, backend: FakeBackend) -> None:
        backend.pose_failure = failure
        with pytest.raises(type(failure)) as refused:
            await accept(order(wants_pose=True, image=photo()), backend, "r", CALLER)
        assert refused.value is failure


@pytest.mark.parametrize(
    ("changed", "useless"),
    [
        ({}, {"mask", "strength", "pose_strength", "pose_end"}),
        ({"image": photo()}, {"pose_strength", "pose_end"}),
        ({"model": SCHNELL}, {"guidance_scale", "negative_prompt", "mask", "strength", "pose_strength", "pose_end"}),
        ({"model": FILL, "image": photo()}, {"negative_prompt", "pose_strength", "pose_end"}),
        ({"model": POSE, "image": photo(), "mask": photo()}, {"mask", "strength"}),
        ({"pose": JOINTS}, {"image", "images", "mask", "strength"}),
    ],
)
async def test_fields_without_meaning_are_known(
    changed: dict[str, Any], useless: set[str], backend: FakeBackend
) -> None:
    told = (await accept(order(**changed), backend, "r", CALLER)).useless
    assert set(told) == useless
    assert len(told) == len(useless)


class TestComplete:
    async def test_gives_the_pictures_in_the_order_of_their_seeds(self, backend: FakeBackend) -> None:
        accepted = await accept(order(count=3), backend, "r", CALLER)
        results = await complete(accepted, backend)
        assert [result.seed for result in results] == [1, 2, 3]
        assert [result.image for result in results] == [backend.picture_of(request) for request in accepted.requests]
        assert {route.name for route in backend.routes} == {SDXL}

    async def test_that_fails_for_one_picture_cancels_the_others(self, backend: FakeBackend) -> None:
        backend.failure, backend.failing_seed = ModelUnavailable("gone"), 2
        with pytest.raises(ModelUnavailable):
            await complete(await accept(order(count=3), backend, "r", CALLER), backend)
        assert sorted(backend.cancelled) == [1, 3]

    async def test_that_is_cancelled_cancels_all(self, backend: FakeBackend) -> None:
        backend.failing_seed = 99
        work = asyncio.create_task(complete(await accept(order(count=2), backend, "r", CALLER), backend))
        while len(backend.requests) < 2:
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert sorted(backend.cancelled) == [1, 2]


class TestStream:
    async def test_tells_of_every_picture_and_ends_with_the_last(self, backend: FakeBackend) -> None:
        accepted = await accept(order(count=2, steps=2, partial_images=1), backend, "r", CALLER)
        events = [event async for event in stream(accepted, backend)]
        for index, request in enumerate(accepted.requests):
            *steps, result = [event for of, event in events if of == index]
            assert steps == [
                Progress(step=0, steps=2),
                Progress(step=1, steps=2, preview=b"preview 1"),
                Progress(step=2, steps=2),
            ]
            assert isinstance(result, ImageResult)
            assert (result.seed, result.image) == (request.seed, backend.picture_of(request))
        assert len(events) == 8
        assert backend.closed_streams == 2

    async def test_is_refused_as_one_before_it_tells_anything(self, backend: FakeBackend) -> None:
        backend.refusal, backend.failing_seed = Overloaded("Busy."), 2
        events: list[object] = []
        with pytest.raises(Overloaded):
            await read_into(events, stream(await accept(order(count=3), backend, "r", CALLER), backend))
        assert events == []
        assert backend.closed_streams == 3

    @pytest.mark.usefixtures("no_garbage")
    async def test_that_is_closed_early_closes_those_of_the_backend_and_is_no_error(
        self, backend: FakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        backend.failing_seed = 99  # no picture is ever finished
        async with aclosing(stream(await accept(order(count=2), backend, "r", CALLER), backend)) as events:
            await anext(events)
        assert backend.closed_streams == 2
        gc.collect()  # asyncio logs what nobody looked at
        assert caplog.records == []

    async def test_that_is_cancelled_closes_those_of_the_backend(self, backend: FakeBackend) -> None:
        async def read() -> None:
            async with aclosing(stream(await accept(order(count=2), backend, "r", CALLER), backend)) as events:
                async for _ in events:
                    pass

        backend.failing_seed = 99
        reader = asyncio.create_task(read())
        while len(backend.requests) < 2:
            await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert (sorted(backend.cancelled), backend.closed_streams) == ([1, 2], 2)

    async def test_that_fails_tells_what_was_before_and_cancels_the_other_pictures(self, backend: FakeBackend) -> None:
        backend.failure, backend.failing_seed = ModelUnavailable("gone"), 2
        events: list[object] = []
        accepted = await accept(order(count=2, steps=1), backend, "r", CALLER)
        with pytest.raises(ModelUnavailable):
            await read_into(events, stream(accepted, backend))
        assert (1, Progress(step=1, steps=1)) in events
        assert "ImageResult" not in repr(events)
        assert (backend.cancelled, backend.closed_streams) == ([1], 2)


LIMITED = Caller("theirs", quota=Quota(caller="theirs", max_concurrent=9))


class TestPermit:
    """Of a caller with a quota."""

    async def test_is_asked_for_by_such_callers_alone(self, backend: FakeBackend) -> None:
        async with orders.accept(order(count=3), backend, "r", CALLER) as accepted:
            await complete(accepted, backend)
        assert backend.permits == []
        async with orders.accept(order(count=3), backend, "r", LIMITED):
            assert (backend.permits, backend.charged) == ([(LIMITED.quota, 3)], [])
        assert backend.charged == [0.0]

    @pytest.mark.parametrize(
        "changed",
        [
            {"model": "none"},
            {"model": FILL},
            {"model": "small", "steps": 11},
            {"size": (1001, 1001)},
            {"pose": JOINTS, "size": (1001, 1001)},
            {"image": b"x" * 101},
            {"pose": JOINTS, "model": SCHNELL},
        ],
    )
    async def test_is_not_asked_for_what_is_refused_without_work(
        self, changed: dict[str, Any], backend: FakeBackend
    ) -> None:
        backend.current = backend.current.model_copy(update={"max_image_bytes": 100})
        with pytest.raises(EaselError):
            await accept(order(**changed), backend, "r", LIMITED)
        assert backend.permits == []

    @pytest.mark.parametrize(
        "changed",
        [{"image": b"?"}, {"image": b"?", "mask": b"?"}, {"pose": DRAWING}, {"wants_pose": True, "image": photo()}],
    )
    async def test_is_asked_for_before_anything_is_decoded_or_drawn(
        self, changed: dict[str, Any], backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backend, "measure", lambda *_: pytest.fail("it was decoded"))
        backend.refused_permit = QuotaExceeded("Enough.")
        with pytest.raises(QuotaExceeded):
            await accept(order(**changed), backend, "r", LIMITED)
        assert (backend.poses, backend.requests) == ([], [])

    async def test_is_given_back_where_looking_at_pictures_takes_too_long(
        self, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def never(*_: object) -> tuple[int, int]:
            await asyncio.sleep(3600)
            raise AssertionError

        monkeypatch.setattr(backend, "measure", never)
        backend.current = backend.current.model_copy(update={"deadline_seconds": 0.05})
        with pytest.raises(DeadlineExceeded):
            await accept(order(image=photo()), backend, "r", LIMITED)
        assert (len(backend.permits), backend.charged) == (1, [0.0])

    @pytest.mark.parametrize("changed", [{"image": b"?"}, {"wants_pose": True, "image": photo()}])
    async def test_is_given_back_where_the_order_is_refused_later(
        self, changed: dict[str, Any], backend: FakeBackend
    ) -> None:
        backend.pose_failure = ModelUnavailable("loading")
        with pytest.raises((ImageRejected, ModelUnavailable)):
            await accept(order(**changed), backend, "r", LIMITED)
        assert (len(backend.permits), backend.charged) == (1, [0.0])

    async def test_is_charged_with_what_the_pictures_took(self, backend: FakeBackend) -> None:
        async with orders.accept(order(count=3), backend, "r", LIMITED) as accepted:
            await complete(accepted, backend)
        assert backend.charged == [6.0]

    async def test_is_charged_with_the_pictures_that_were_made_before_another_failed(
        self, backend: FakeBackend
    ) -> None:
        accepted = await accept(order(count=3), backend, "r", LIMITED)
        backend.failure, backend.failing_seed = ModelUnavailable("gone"), 2
        with pytest.raises(ModelUnavailable):
            await complete(accepted, backend)
        assert accepted.spending == {}
        backend.failing_seed, made = None, backend.generate

        async def fail_last(route: ModelRoute, request: ImageRequest) -> ImageResult:
            backend.failure = ModelUnavailable("gone") if request.seed == 3 else None
            return await made(route, request)

        backend.generate = fail_last  # type: ignore[method-assign]
        with pytest.raises(ModelUnavailable):
            await complete(accepted, backend)
        assert accepted.spending == {0: 2.0, 1: 2.0}

    async def test_of_a_stream_is_charged_with_what_was_told_last(self, backend: FakeBackend) -> None:
        backend.device_seconds_a_step = 0.25
        async with orders.accept(order(steps=4), backend, "r", LIMITED) as accepted:
            async with aclosing(stream(accepted, backend)) as events:
                async for _, event in events:
                    if isinstance(event, Progress) and event.step == 3:
                        break
            assert accepted.spending[0] in (0.75, 1.0, 2.0)  # what is told may be ahead of what is heard
        async with orders.accept(order(count=2, steps=4), backend, "r", LIMITED) as accepted:
            assert [event async for event in stream(accepted, backend)]
        assert backend.charged[1] == 4.0

    async def test_of_a_stream_that_fails_is_charged_with_its_steps(self, backend: FakeBackend) -> None:
        backend.device_seconds_a_step, backend.failure = 0.25, ModelUnavailable("gone")
        with pytest.raises(ModelUnavailable):
            async with orders.accept(order(steps=4), backend, "r", LIMITED) as accepted:
                await read_into([], stream(accepted, backend))
        assert backend.charged == [1.0]

    async def test_of_who_is_cancelled_is_given_back(self, backend: FakeBackend) -> None:
        async def make() -> None:
            async with orders.accept(order(count=2), backend, "r", LIMITED) as accepted:
                await complete(accepted, backend)

        backend.failing_seed = 99  # no picture is ever finished
        work = asyncio.create_task(make())
        while len(backend.requests) < 2:
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert backend.charged == [0.0]


class TestScope:
    """The models that a caller's key is for."""

    @pytest.mark.parametrize(
        ("models", "changed", "runs_on"),
        [
            ((SDXL,), {}, SDXL),
            (("BE-stable-diffusion-xl-base-1.0",), {"model": SDXL.upper()}, SDXL),
            ((SCHNELL, "small"), {"model": "Small"}, "small"),
            ((POSE,), {"model": POSE}, POSE),
            pytest.param((SDXL,), {"wants_pose": True, "image": photo()}, POSE, id="a pose, by the model named"),
            pytest.param((POSE,), {"wants_pose": True, "image": photo()}, POSE, id="a pose, by the one that runs"),
            pytest.param((POSE,), {"pose": JOINTS, "model": "small"}, POSE, id="joints, by the one that runs"),
        ],
    )
    async def test_that_holds_the_model(
        self, models: tuple[str, ...], changed: dict[str, Any], runs_on: str, backend: FakeBackend
    ) -> None:
        accepted = await accept(order(**changed), backend, "r", Caller("theirs", models=models))
        assert accepted.route.name == runs_on

    @pytest.mark.parametrize(
        ("models", "changed", "message"),
        [
            ((SCHNELL,), {}, f"not for {SDXL}, the model of requests that name none. It is for: {SCHNELL}."),
            ((SDXL, "small"), {"model": SCHNELL}, f"not for {SCHNELL}. It is for: {SDXL}, small."),
            ((SDXL,), {"model": POSE, "image": photo()}, f"not for {POSE}. It is for: {SDXL}."),
            ((SCHNELL,), {"pose": JOINTS}, f"not for {SDXL}, the model of"),
            ((POSE,), {"image": photo()}, f"not for {SDXL}, the model of"),
            ((), {}, "It is for: no model."),
        ],
    )
    async def test_that_does_not(
        self, models: tuple[str, ...], changed: dict[str, Any], message: str, backend: FakeBackend
    ) -> None:
        caller = Caller("theirs", models=models, quota=LIMITED.quota)
        with pytest.raises(Forbidden) as refused:
            await accept(order(**changed), backend, "r", caller)
        assert (refused.value.code, refused.value.param) == ("model_not_allowed", "model")
        assert message in refused.value.message
        assert (backend.permits, backend.poses) == ([], [])

    async def test_does_not_tell_of_other_models(self, backend: FakeBackend) -> None:
        with pytest.raises(NotFound) as refused:
            await accept(order(model="none"), backend, "r", Caller("theirs", models=(SCHNELL,)))
        assert f"Known models: {SCHNELL}." in refused.value.message
