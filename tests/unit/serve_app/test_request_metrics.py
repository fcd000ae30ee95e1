"""What the metrics are told of requests: once for each that the log tells of, by dialect, model, outcome and code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from deployments.errors import GenerationFailed, ModelUnavailable, Overloaded
from deployments.metrics import OF_INGRESS
from serve_app import request_metrics
from serve_app.middleware import LOGGED_ROUTES
from serve_app.request_log import DIALECTS, RequestRecord
from serve_app.request_metrics import RequestMetrics
from tests.canaries import CANARIES, leaks
from tests.unit.serve_app.samples import data_url, photo
from tests.unit.serve_app.test_request_log import BODIES, URL
from tests.unit.told import Told, told_instead_of_ray

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

REQUESTS = "easel_requests_total"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return told_instead_of_ray(monkeypatch, request_metrics, OF_INGRESS)


@pytest.fixture
def backend(backend: FakeBackend, told: Told) -> FakeBackend:
    """Which counts as the real one does."""
    backend.request_ended = RequestMetrics().ended  # type: ignore[method-assign]
    return backend


def test_every_logged_route_has_a_dialect() -> None:
    assert set(DIALECTS) == set(LOGGED_ROUTES)


@pytest.mark.parametrize("url", BODIES)
async def test_an_answer_is_counted_in_every_dialect(
    url: str, client: httpx.AsyncClient, backend: FakeBackend, told: Told
) -> None:
    backend.durations = {1: (0.25, 1.5)}
    assert (await client.post(url, json=BODIES[url])).status_code == 200
    ((count, labels),) = told.values[REQUESTS]
    assert count == 1
    dialect = next(name for start, name in DIALECTS.items() if url.startswith(start))
    assert labels == {"model": "small", "dialect": dialect, "outcome": "answered", "code": "none"}
    ((seconds, of_time),) = told.values["easel_request_seconds"]
    assert seconds >= 0
    assert of_time == {"model": "small", "dialect": dialect, "outcome": "answered"}
    assert told.values["easel_request_queue_seconds"] == [(0.25, {"model": "small"})]


@pytest.mark.parametrize(
    ("failure", "outcome", "code"),
    [
        (Overloaded("full"), "refused", "server_is_overloaded"),
        (GenerationFailed("broken"), "failed", "generation_failed"),
    ],
)
async def test_what_is_not_answered_has_its_outcome_and_code(
    failure: Exception, outcome: str, code: str, client: httpx.AsyncClient, backend: FakeBackend, told: Told
) -> None:
    backend.failure = failure
    await client.post(URL, json=BODIES[URL])
    ((_, labels),) = told.values[REQUESTS]
    assert labels == {"model": "small", "dialect": "block-entropy", "outcome": outcome, "code": code}
    assert not told.values["easel_request_queue_seconds"]


@pytest.mark.parametrize("code", ["no_pose_detector", "model_loading"])
async def test_where_poses_cannot_be_found_there_is_no_model_yet(
    code: str, client: httpx.AsyncClient, backend: FakeBackend, told: Told
) -> None:
    """As the alert EaselFindsNoPoses has it."""
    backend.pose_failure = ModelUnavailable("none", code=code)
    url = "/v1/images/edits"
    body = {"prompt": "otter", "user": "cn", "image": data_url(photo())}
    assert (await client.post(url, json=body)).status_code == 503
    ((_, labels),) = told.values[REQUESTS]
    assert labels == {"model": "none", "dialect": "block-entropy", "outcome": "refused", "code": code}


async def test_nothing_that_a_caller_wrote_is_a_label(client: httpx.AsyncClient, told: Told) -> None:
    body = {"prompt": CANARIES["prompt"], "model": CANARIES["field"]}
    headers = {"authorization": f"Bearer {CANARIES['key']}", "x-request-id": CANARIES["header"]}
    assert (await client.post(URL, json=body, headers=headers)).status_code == 404
    ((_, labels),) = told.values[REQUESTS]
    assert (labels["model"], labels["code"]) == ("none", "model_not_found")
    assert not leaks(str(dict(told.values)))


async def test_other_routes_and_pings_are_not_counted(client: httpx.AsyncClient, told: Told) -> None:
    await client.get("/healthz")
    await client.get("/v1/models")
    await client.head(URL)
    assert not told.values


def test_a_request_of_which_nothing_is_known_is_counted(told: Told, backend: FakeBackend) -> None:
    backend.request_ended(RequestRecord(request_id="r", route="/images/{name}", outcome="cancelled"))
    ((_, labels),) = told.values[REQUESTS]
    assert labels == {"model": "none", "dialect": "links", "outcome": "cancelled", "code": "none"}
