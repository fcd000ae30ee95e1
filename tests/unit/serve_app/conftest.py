"""A backend without Ray whose pictures show whose answer they are, and a client that holds every answer to OpenAPI."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2  # what the openai package brings
import jsonschema  # type: ignore[import-untyped]
import openai
import pytest
from fastapi import APIRouter, FastAPI
from PIL import Image
from starlette.routing import Match, Route

from config.schema import IngressSettings, Limits, ModelRoute, PoseRoute
from deployments.imaging.decode import measure
from deployments.quotas import Quota
from deployments.types import ImageRequest, ImageResult, OutputFormat, Person, PoseSource, Progress, Skeleton
from serve_app.asgi import create_app
from serve_app.backend import ModelState, Spending
from serve_app.request_log import RequestRecord

SDXL = ModelRoute(
    name="stabilityai/stable-diffusion-xl-base-1.0",
    aliases=("be-stable-diffusion-xl-base-1.0",),
    application="sdxl",
    family="sdxl",
)
POSE = ModelRoute(name="easel/stable-diffusion-xl-pose", application="sdxl-pose", family="sdxl-pose")
SCHNELL = ModelRoute(name="black-forest-labs/FLUX.1-schnell", application="schnell", family="flux-schnell")
FILL = ModelRoute(name="black-forest-labs/FLUX.1-Fill-dev", application="fill", family="flux-fill")
SMALL = ModelRoute(
    name="small",
    application="small",
    family="sdxl",
    limits=Limits(min_side=64, max_side=512, max_pixels=512 * 256, max_aspect=2, max_steps=10, default_size="256x128"),
)


class FakeBackend:
    """Records what it is asked; a test sets `current`, `failure`, `durations` and the like to steer it."""

    def __init__(self) -> None:
        self.images_router = APIRouter()
        self.max_body_bytes = 25 * 2**20
        self.body_timeout_seconds = 30.0
        self.current = IngressSettings(
            models=(SDXL, SMALL, POSE, SCHNELL, FILL),
            default_model="be-stable-diffusion-xl-base-1.0",
            pose=PoseRoute(model=POSE.name),
        )
        self.states = {SDXL.name: ModelState(True, "running (1 replica)"), SMALL.name: ModelState(True, "on demand")}
        self.requests: list[ImageRequest] = []
        self.routes: list[ModelRoute] = []
        self.kept: list[tuple[bytes, str]] = []
        self.owners: list[str] = []  # of what was kept
        self.permits: list[tuple[Quota, int]] = []  # that were asked for, and for how many pictures
        self.refused_permit: Exception | None = None
        self.charged: list[float] = []  # seconds, of each permit that was given back
        self.poses: list[tuple[PoseSource, int, int]] = []
        self.asked_for: list[str] = []  # the caller of each picture measured and skeleton drawn
        self.people: tuple[Person, ...] = (Person(body=((0.5, 0.25), *[None] * 17)),)
        self.closed_streams = 0
        self.failure: Exception | None = None
        self.store_failure: Exception | None = None  # when pictures are kept
        self.links_refusal: Exception | None = None  # before they are made
        self.pose_failure: Exception | None = None
        self.refusal: Exception | None = None  # of a stream, before its first step
        self.durations: dict[int, tuple[float, float]] = {}  # of waiting and making the picture of a seed
        self.waiting: tuple[float | None, ...] = ()  # seconds left, each time that a stream tells before it runs
        self.waiting_ahead = 0
        self.seconds_a_step: float | None = None
        self.device_seconds_a_step = 0.0
        self.failing_seed: int | None = None  # None: every seed fails with `failure`, and the others never end
        self.cancelled: list[int] = []
        self.ended: list[RequestRecord] = []

    def settings(self) -> IngressSettings:
        return self.current

    @asynccontextmanager
    async def permit(self, quota: Quota, pictures: int, deadline: float) -> AsyncIterator[Spending]:
        self.permits.append((quota, pictures))
        if self.refused_permit:
            raise self.refused_permit
        spending = Spending()
        try:
            yield spending
        finally:
            self.charged.append(sum(spending.values()))

    async def generate(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        self.routes.append(route)
        self.requests.append(request)
        if self.failure and self.failing_seed in (None, request.seed):
            raise self.failure
        if self.failing_seed is not None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.append(request.seed)
                raise
        queue_seconds, inference_seconds = self.durations.get(request.seed, (0.0, 0.1))
        return ImageResult(
            image=self.picture_of(request),
            output_format=request.output_format,
            width=request.width,
            height=request.height,
            seed=request.seed,
            steps=request.steps or 4,
            guidance_scale=request.guidance_scale or 5.0,
            queue_seconds=queue_seconds,
            inference_seconds=inference_seconds,
            device_seconds=2.0,
        )

    async def stream(self, route: ModelRoute, request: ImageRequest) -> AsyncGenerator[Progress | ImageResult, None]:
        """Steps with the previews asked for, then as `generate`, which may fail after a step."""
        try:
            if self.refusal and self.failing_seed in (None, request.seed):
                raise self.refusal
            steps = request.steps or 4
            for seconds_left in self.waiting:
                yield Progress(
                    step=0, steps=steps, is_waiting=True, waiting_ahead=self.waiting_ahead, seconds_left=seconds_left
                )
            for step in range(steps + 1):
                shown = 0 < step <= request.partial_images
                yield Progress(
                    step=step,
                    steps=steps,
                    seconds_left=None if self.seconds_a_step is None else (steps - step) * self.seconds_a_step,
                    preview=f"preview {step}".encode() if shown else None,
                    device_seconds=step * self.device_seconds_a_step,
                )
            yield await self.generate(route, request)
        finally:
            self.closed_streams += 1

    async def draw_skeleton(
        self, pose: PoseRoute, source: PoseSource, width: int, height: int, deadline: float, caller: str
    ) -> Skeleton:
        assert pose.model == POSE.name
        self.poses.append((source, width, height))
        self.asked_for.append(caller)
        if self.pose_failure:
            raise self.pose_failure
        return Skeleton(picture=b"skeleton", width=width, height=height, people=self.people)

    async def measure(self, picture: bytes, param: str, caller: str) -> tuple[int, int]:
        self.asked_for.append(caller)
        return measure(picture, param=param)

    async def check_links(self) -> None:
        if self.links_refusal:
            raise self.links_refusal

    async def keep(self, picture: bytes, output_format: OutputFormat, base_url: str, owner: str) -> str:
        if self.store_failure:
            raise self.store_failure
        self.kept.append((picture, base_url))
        self.owners.append(owner)
        return f"{base_url}/images/{len(self.kept)}.{output_format}"

    async def readiness(self) -> Mapping[str, ModelState]:
        return self.states

    def request_ended(self, record: RequestRecord) -> None:
        self.ended.append(record)

    @staticmethod
    def picture_of(request: ImageRequest) -> bytes:
        """A PNG of 8x4 grey pixels: the digest of what the model would see."""
        seen = (request.model, request.prompt, request.negative_prompt, request.width, request.height, request.seed)
        file = io.BytesIO()
        Image.frombytes("L", (8, 4), hashlib.sha256(repr(seen).encode()).digest()).save(file, "PNG")
        return file.getvalue()


@functools.cache
def _document() -> dict[str, Any]:
    """/openapi.json, which is the same for every backend."""
    return create_app(FakeBackend()).openapi()


def _documented_schema(request: httpx.Request, status: int, kind: str) -> dict[str, Any] | None:
    """The schema of an answer of that media type according to /openapi.json; None for what it does not list."""
    scope = {"type": "http", "method": request.method, "path": request.url.path, "root_path": "", "headers": []}
    document = _document()
    for path, operations in document["paths"].items():
        # OpenAPI's paths do not say that a name may hold slashes.
        route = Route(path.replace("{name}", "{name:path}"), lambda _: None, methods=["GET", "POST"])
        if route.matches(scope)[0] is Match.FULL and request.method.lower() in operations:
            answers = operations[request.method.lower()]["responses"]
            answer = answers.get(str(status), answers["default"])
            return {**answer["content"][kind]["schema"], "components": document["components"]}
    return None


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def app(backend: FakeBackend) -> FastAPI:
    return create_app(backend)


@pytest.fixture
async def client(app: FastAPI, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    async def as_documented(response: httpx.Response) -> None:
        await response.aread()
        kind = response.headers.get("content-type", "").partition(";")[0]
        schema = _documented_schema(response.request, response.status_code, kind)
        if schema is not None and kind == "text/event-stream":
            for line in response.text.splitlines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    jsonschema.validate(event, schema["properties"]["data"]["contentSchema"])
        elif schema is not None:
            jsonschema.validate(response.json(), schema)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://easel.test", event_hooks={"response": [as_documented]}
    ) as opened:
        yield opened


@pytest.fixture
async def sdk(app: FastAPI, anyio_backend: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The client that most users bring."""
    async with openai.AsyncOpenAI(
        base_url="http://easel.test/openai/v1",
        api_key="any",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=httpx2.ASGITransport(app)),
    ) as opened:
        yield opened


@pytest.fixture
def no_garbage() -> None:
    """Else asyncio may log in this test what earlier ones left behind."""
    gc.collect()


Refused = Callable[..., str]


@pytest.fixture
def refused() -> Refused:
    """Asserts that an answer is an error of the one shape; its message."""

    def check(response: httpx.Response, status: int, *, code: str | None = None, param: str | None = None) -> str:
        assert response.status_code == status, response.text
        assert response.headers.get_list("x-request-id") != []
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert body.keys() == {"error"}
        assert body["error"].keys() == {"message", "type", "param", "code"}
        expected = "invalid_request_error" if status < 500 else "server_error"
        own = {429: "rate_limit_error", 503: "service_unavailable_error"}
        assert body["error"]["type"] == own.get(status, expected)
        assert body["error"]["param"] == param
        assert code is None or body["error"]["code"] == code
        message: str = body["error"]["message"]
        assert message
        return message

    return check
