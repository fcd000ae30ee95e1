"""The pose estimator, without Ray and with a toy for a detector: what it draws and refuses, and that it never waits."""

from __future__ import annotations

import asyncio
import io
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from ray.serve import Application

from config.schema import PoseEstimatorConfig
from deployments import pose_estimator
from deployments.errors import (
    EaselError,
    GenerationFailed,
    ImageRejected,
    InvalidRequest,
    ModelUnavailable,
    TooLarge,
)
from deployments.pose.detector import DetectorUnavailable
from deployments.pose.skeleton import draw
from deployments.pose_estimator import PoseEstimator, build
from deployments.types import Person, PoseSource
from tests.unit.imaging import corpus
from tests.unit.pose.figures import RIGHT_ARM_UP, STANDING, body

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
SECONDS = 30  # for what takes milliseconds: only a hang takes longer
SOMEBODY = Person(body=body(STANDING))
CALLER = "otter"


def encoded(picture: Image.Image, image_format: str = "PNG") -> bytes:
    target = io.BytesIO()
    picture.save(target, image_format)
    return target.getvalue()


def pixels(png: bytes) -> Any:
    picture = Image.open(io.BytesIO(png))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return np.asarray(picture)


PHOTO = encoded(Image.new("RGB", (64, 48), "white"))


class Toy:
    """Finds `people` in every picture, when its gate is open."""

    def __init__(self) -> None:
        self.people: tuple[Person, ...] = (SOMEBODY,)
        self.seen: list[Image.Image] = []
        self.closed = False
        self.log_joined = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def join_serves_log(self) -> None:
        self.log_joined = True

    def load(self, config: PoseEstimatorConfig) -> Toy:
        assert self.log_joined  # how it goes is told
        self.config = config
        return self

    def detect(self, picture: Image.Image) -> tuple[Person, ...]:
        self.seen.append(picture)
        self.entered.release()
        assert self.gate.wait(SECONDS)
        return self.people

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    toy = Toy()
    monkeypatch.setattr(pose_estimator, "load_detector", toy.load)
    monkeypatch.setattr(pose_estimator, "join_serves_log", toy.join_serves_log)
    return toy


@pytest.fixture
def make(toy: Toy) -> Iterator[Callable[..., PoseEstimator]]:
    made: list[PoseEstimator] = []

    def make_one(**arguments: Any) -> PoseEstimator:
        made.append(PoseEstimator(PoseEstimatorConfig.model_validate(arguments)))
        return made[-1]

    yield make_one
    toy.gate.set()
    for each in made:
        each._threads.shutdown()
        each._sandbox.close()


@pytest.fixture
def estimator(make: Callable[..., PoseEstimator]) -> PoseEstimator:
    return make()


class TestWithoutADetector:
    @pytest.fixture
    def estimator(self, make: Callable[..., PoseEstimator], monkeypatch: pytest.MonkeyPatch) -> PoseEstimator:
        def fail(_: PoseEstimatorConfig) -> None:
            raise DetectorUnavailable("install libegl1")

        monkeypatch.setattr(pose_estimator, "load_detector", fail)
        return make()

    async def test_photos_are_refused_for_now(self, estimator: PoseEstimator) -> None:
        with pytest.raises(ModelUnavailable) as refused:
            await estimator.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)
        assert refused.value.code == "no_pose_detector"
        assert "libegl1" not in refused.value.message

    async def test_joints_and_drawings_need_none(self, estimator: PoseEstimator) -> None:
        assert pixels((await estimator.draw(PoseSource(people=(SOMEBODY,)), 64, 64, CALLER)).picture).any()
        assert pixels((await estimator.draw(PoseSource(drawing=PHOTO), 64, 64, CALLER)).picture).any()


async def test_limbs_are_as_wide_as_configured(make: Callable[..., PoseEstimator]) -> None:
    areas = [
        (pixels((await make(limbs=limbs).draw(PoseSource(people=(SOMEBODY,)), 1024, 1024, CALLER)).picture) > 0)
        .any(-1)
        .sum()
        for limbs in ("canonical", "wide")
    ]
    assert areas[1] > 2 * areas[0]


class TestPhoto:
    @pytest.mark.parametrize("size", [(64, 48), (1024, 768), (100, 300)])
    async def test_its_people_are_drawn_where_they_are(
        self, estimator: PoseEstimator, toy: Toy, size: tuple[int, int]
    ) -> None:
        skeleton = await estimator.draw(PoseSource(photo=PHOTO), *size, CALLER)
        assert (skeleton.width, skeleton.height) == size
        assert toy.seen[0].size == (64, 48)
        assert np.array_equal(pixels(skeleton.picture), draw(skeleton.people, *size))
        nose = skeleton.people[0].body[0]
        assert nose is not None
        scale = min(size[0] / 64, size[1] / 48)
        assert nose[0] * size[0] == pytest.approx(size[0] / 2 + (STANDING["nose"][0] - 0.5) * 64 * scale)
        assert nose[1] * size[1] == pytest.approx(size[1] / 2 + (STANDING["nose"][1] - 0.5) * 48 * scale)

    async def test_the_detector_sees_rgb(self, estimator: PoseEstimator, toy: Toy) -> None:
        await estimator.draw(PoseSource(photo=encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 100)))), 64, 64, CALLER)
        assert (toy.seen[0].mode, toy.seen[0].getpixel((0, 0))) == ("RGB", (1, 2, 3))

    @pytest.mark.parametrize(
        "people", [(), (Person(body=(None,) * 18),), (Person(body=((0.5, 0.5), (0.5, 0.6), *[None] * 16)),)]
    )
    async def test_of_nobody_is_refused(self, estimator: PoseEstimator, toy: Toy, people: tuple[Person, ...]) -> None:
        toy.people = people
        with pytest.raises(InvalidRequest, match="no person was found") as refused:
            await estimator.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)
        assert (refused.value.code, refused.value.param) == ("no_pose_found", "image")

    async def test_only_who_can_be_recognised_is_drawn(self, estimator: PoseEstimator, toy: Toy) -> None:
        toy.people = (Person(body=((0.5, 0.5), *[None] * 17)), SOMEBODY)
        skeleton = await estimator.draw(PoseSource(photo=PHOTO), 64, 48, CALLER)
        assert len(skeleton.people) == 1

    async def test_that_is_none_is_refused(self, estimator: PoseEstimator) -> None:
        with pytest.raises(ImageRejected) as refused:
            await estimator.draw(PoseSource(photo=b"GIF89a"), 64, 64, CALLER)
        assert refused.value.param == "image"

    async def test_that_breaks_the_detector_is_shown_nowhere(
        self, estimator: PoseEstimator, toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_: object) -> NoReturn:
            raise error

        error = ZeroDivisionError("a person")
        monkeypatch.setattr(toy, "detect", fail)
        with pytest.raises(GenerationFailed) as failed:
            await estimator.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)
        assert "ZeroDivisionError" in caplog.text
        assert "a person" not in caplog.text + "".join(traceback.format_exception(failed.value))


class TestDrawing:
    async def test_of_that_size_comes_back_as_it_was(self, estimator: PoseEstimator, toy: Toy) -> None:
        drawing = draw([SOMEBODY], 200, 100)
        skeleton = await estimator.draw(PoseSource(drawing=encoded(Image.fromarray(drawing))), 200, 100, CALLER)
        assert np.array_equal(pixels(skeleton.picture), drawing)
        assert (skeleton.width, skeleton.height, skeleton.people) == (200, 100, ())
        assert toy.seen == []

    async def test_of_another_size_is_fitted(self, estimator: PoseEstimator) -> None:
        white = encoded(Image.new("RGB", (50, 50), "white"), "WEBP")
        skeleton = await estimator.draw(PoseSource(drawing=white), 200, 100, CALLER)
        drawn = pixels(skeleton.picture)
        assert drawn.shape == (100, 200, 3)
        assert drawn[:, 50:150].min() == 255
        assert drawn[:, :50].max() == drawn[:, 150:].max() == 0

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
    async def test_nothing_but_its_pixels_is_kept(self, estimator: PoseEstimator, form: str) -> None:
        for size in ((32, 16), (64, 64)):
            skeleton = await estimator.draw(PoseSource(drawing=corpus.told(form)), *size, CALLER)
            assert corpus.CANARY not in skeleton.picture
            with Image.open(io.BytesIO(skeleton.picture)) as picture:
                picture.load()
                assert picture.info == {}

    @pytest.mark.parametrize(("bytes_", "error"), [(b"", ImageRejected), (b"\x89PNG", ImageRejected)])
    async def test_that_is_none_is_refused(
        self, estimator: PoseEstimator, bytes_: bytes, error: type[EaselError]
    ) -> None:
        with pytest.raises(error) as refused:
            await estimator.draw(PoseSource(drawing=bytes_), 64, 64, CALLER)
        assert refused.value.param == "pose_image"

    async def test_that_is_too_large_is_refused(self, estimator: PoseEstimator) -> None:
        with pytest.raises(TooLarge) as refused:
            await estimator.draw(PoseSource(drawing=encoded(Image.new("1", (4096, 4097)))), 64, 64, CALLER)
        assert refused.value.param == "pose_image"


class TestPeople:
    async def test_they_are_drawn_as_they_are(self, estimator: PoseEstimator, toy: Toy) -> None:
        people = (SOMEBODY, Person(body=body(RIGHT_ARM_UP), left_hand=((0.5, 0.5),) * 21))
        skeleton = await estimator.draw(PoseSource(people=people), 300, 200, CALLER)
        assert np.array_equal(pixels(skeleton.picture), draw(people, 300, 200))
        assert toy.seen == []

    async def test_they_are_fitted_from_their_canvas(self, estimator: PoseEstimator) -> None:
        skeleton = await estimator.draw(PoseSource(people=(SOMEBODY,), canvas=(100, 100)), 400, 200, CALLER)
        nose = skeleton.people[0].body[0]
        assert nose == pytest.approx((0.5, STANDING["nose"][1]))
        elbow = skeleton.people[0].body[3]
        assert elbow == pytest.approx((0.5 + (STANDING["right elbow"][0] - 0.5) / 2, STANDING["right elbow"][1]))


class TestConcurrency:
    async def test_several_pictures_at_once_and_the_event_loop_is_free(
        self, make: Callable[..., PoseEstimator], toy: Toy
    ) -> None:
        estimator = make(threads=2)
        toy.gate.clear()
        calls = [asyncio.create_task(estimator.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)) for _ in range(3)]
        for _ in range(2):
            assert await asyncio.to_thread(toy.entered.acquire, timeout=SECONDS)
        await asyncio.sleep(0)
        assert len(toy.seen) == 2  # the third waits for a thread
        toy.gate.set()
        assert len(await asyncio.gather(*calls)) == 3

    async def test_whoever_sends_much_waits_for_it_and_nobody_else(
        self, make: Callable[..., PoseEstimator], toy: Toy
    ) -> None:
        estimator = make(threads=1)
        toy.gate.clear()
        many = [asyncio.create_task(estimator.draw(PoseSource(photo=PHOTO), 64, 64, "otter")) for _ in range(4)]
        assert await asyncio.to_thread(toy.entered.acquire, timeout=SECONDS)
        other = encoded(Image.new("RGB", (32, 32)))
        honest = asyncio.create_task(estimator.draw(PoseSource(photo=other), 64, 64, "beaver"))
        await asyncio.sleep(0)
        toy.gate.set()
        await asyncio.gather(*many, honest)
        assert [picture.width for picture in toy.seen] == [64, 64, 32, 64, 64]

    async def test_who_has_gone_is_not_worked_for(self, make: Callable[..., PoseEstimator], toy: Toy) -> None:
        estimator = make(threads=1)
        toy.gate.clear()
        working, waiting = (
            asyncio.create_task(estimator.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)) for _ in range(2)
        )
        assert await asyncio.to_thread(toy.entered.acquire, timeout=SECONDS)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        toy.gate.set()
        await working
        await estimator.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)
        assert len(toy.seen) == 2


class TestHealth:
    async def test_at_rest(self, make: Callable[..., PoseEstimator]) -> None:
        await make(watchdog_seconds=1e-6).check_health()

    async def test_a_picture_that_hangs(self, make: Callable[..., PoseEstimator], toy: Toy) -> None:
        estimator, patient = make(watchdog_seconds=1e-6), make(watchdog_seconds=SECONDS)
        toy.gate.clear()
        calls = [
            asyncio.create_task(each.draw(PoseSource(photo=PHOTO), 64, 64, CALLER)) for each in (estimator, patient)
        ]
        for _ in calls:
            assert await asyncio.to_thread(toy.entered.acquire, timeout=SECONDS)
        with pytest.raises(RuntimeError, match="has been worked on for"):
            await estimator.check_health()
        await patient.check_health()
        toy.gate.set()
        await asyncio.gather(*calls)
        await estimator.check_health()

    async def test_a_picture_that_fails_is_done(self, make: Callable[..., PoseEstimator]) -> None:
        estimator = make(watchdog_seconds=1e-6)
        with pytest.raises(ImageRejected):
            await estimator.draw(PoseSource(photo=b""), 64, 64, CALLER)
        await estimator.check_health()


def test_the_detector_is_closed_with_the_replica(make: Callable[..., PoseEstimator], toy: Toy) -> None:
    make().__del__()
    assert toy.closed


@pytest.mark.usefixtures("toy")
def test_a_replica_whose_detector_does_not_load_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_config: PoseEstimatorConfig) -> None:
        raise RuntimeError("no weights")

    monkeypatch.setattr(pose_estimator, "load_detector", fail)
    with pytest.raises(RuntimeError, match="no weights"):
        PoseEstimator(PoseEstimatorConfig())


def test_skeletons_can_be_sent() -> None:
    source = PoseSource(photo=b"secret", people=(SOMEBODY,), canvas=(3, 4))
    assert pickle.loads(pickle.dumps(source)) == source
    assert "secret" not in repr(source)


class TestBuild:
    def test_makes_the_application_of_a_config(self) -> None:
        application = build({"threads": 3})
        assert isinstance(application, Application)
        deployment = application._bound_deployment
        assert deployment.name == "PoseEstimator"
        assert deployment.ray_actor_options["num_gpus"] == 0

    def test_refuses_what_is_wrong(self) -> None:
        with pytest.raises(ValidationError, match="did you mean 'detector'"):
            build({"detecter": "dwpose"})

    def test_needs_no_detector(self) -> None:
        check = (
            "import sys; from deployments.pose_estimator import build; build({}); "
            "sys.exit(bool({'torch', 'cv2', 'mediapipe', 'onnxruntime'} & set(sys.modules)))"
        )
        subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
