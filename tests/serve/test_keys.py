"""Keys on the way that a client's request goes: through Serve's proxy to an ingress that has some configured."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from openai import AuthenticationError, OpenAI, PermissionDeniedError, RateLimitError
from PIL import Image
from ray import serve

from serve_app.app import build

if TYPE_CHECKING:
    from tests.conftest import LiveService

LOCAL = Path(__file__).resolve().parents[2] / "config" / "local.yaml"
MODEL = "be-stable-diffusion-xl-base-1.0"
KEY, TRUSTED_KEY, LIMITED_KEY, SCOPED_KEY = (f"key-of-{name}" for name in ("otter", "badger", "vole", "stoat"))
SECONDS = 60  # for what takes one or two: only a failure takes longer


def entry(key: str, **limits: Any) -> dict[str, Any]:
    return {"name": key.removeprefix("key-of-"), "sha256": hashlib.sha256(key.encode()).hexdigest(), **limits}


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a key that has limits and one that is for another model."""
    path = tmp_path_factory.mktemp("secret") / "keys.yaml"
    limited = entry(LIMITED_KEY, max_concurrent=1, gpu_seconds_per_hour=3600)
    path.write_text(yaml.safe_dump([limited, entry(SCOPED_KEY, models=["be-flux-1-schnell"])]))
    return path


@pytest.fixture(scope="module")
def guarded(service: LiveService, tmp_path_factory: pytest.TempPathFactory, keys_file: Path) -> Iterator[str]:
    """A second ingress to the same models, with two keys, a file of others, and private pictures; its base URL."""
    application = next(one for one in yaml.safe_load(LOCAL.read_text())["applications"] if one["name"] == "ingress")
    settings = application["deployments"][0]["user_config"] | {
        "keys": [entry(KEY), entry(TRUSTED_KEY, may_prioritize=True)],
        "keys_file": str(keys_file),
        "private_pictures": True,
    }
    ingress = build({"images": {"url": str(tmp_path_factory.mktemp("guarded"))}})
    deployment = ingress._bound_deployment.options(user_config=settings, ray_actor_options={"num_cpus": 0.1})
    arguments = deployment.init_args
    handle = serve.run(deployment.bind(*arguments), name="guarded", route_prefix="/guarded")
    yield f"{service.url}/guarded/v1"
    handle.shutdown()
    serve.delete("guarded")


def client_of(base_url: str, key: str) -> OpenAI:
    return OpenAI(base_url=base_url, api_key=key, max_retries=0)


def paint(base_url: str, key: str, **headers: str) -> tuple[int, int]:
    """One picture by OpenAI's own client; its size."""
    with client_of(base_url, key) as client:
        answer = client.images.generate(
            model=MODEL,
            prompt="a red circle",
            size="64x64",  # type: ignore[arg-type] # any size, not OpenAI's only
            response_format="b64_json",
            extra_headers=headers,
        )
    assert answer.data
    assert answer.data[0].b64_json
    return Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).size


def test_only_known_keys_get_pictures(guarded: str) -> None:
    with pytest.raises(AuthenticationError) as refused:
        paint(guarded, "key-of-nobody")
    assert refused.value.code == "invalid_api_key"
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer")
    assert paint(guarded, KEY) == (64, 64)


def test_only_trusted_keys_get_a_high_priority(guarded: str) -> None:
    with pytest.raises(PermissionDeniedError) as refused:
        paint(guarded, KEY, **{"Easel-Priority": "high"})
    assert refused.value.code == "priority_not_allowed"
    assert paint(guarded, TRUSTED_KEY, **{"Easel-Priority": "high"}) == (64, 64)
    assert paint(guarded, KEY, **{"Easel-Priority": "low"}) == (64, 64)


def test_a_key_with_a_quota_gets_no_more_than_it_may_have(guarded: str) -> None:
    for _ in range(3):  # one after another, each as soon as the one before is answered
        assert paint(guarded, LIMITED_KEY) == (64, 64)
    with client_of(guarded, LIMITED_KEY) as client, pytest.raises(RateLimitError) as refused:
        client.images.generate(model=MODEL, prompt="two red circles", size="256x256", extra_body={"num_images": 2})
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "rate_limit_error"
    assert "max_concurrent" in refused.value.message
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert paint(guarded, LIMITED_KEY) == (64, 64)


def test_a_picture_in_the_making_counts_until_its_client_has_gone(guarded: str) -> None:
    """As long as a stream is read; whoever leaves it gives its place back."""
    body = {"prompt": "a red circle", "size": "512x512", "num_steps": 100, "stream": True}  # many seconds
    headers = {"authorization": f"Bearer {LIMITED_KEY}"}
    with httpx.stream("POST", f"{guarded}/images/generations", json=body, headers=headers, timeout=SECONDS) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()  # kept: with it the connection would be closed
        next(lines)
        with pytest.raises(RateLimitError):
            paint(guarded, LIMITED_KEY)
    ends = time.monotonic() + SECONDS
    while True:
        try:
            assert paint(guarded, LIMITED_KEY) == (64, 64)
            return
        except RateLimitError:
            assert time.monotonic() < ends
            time.sleep(0.1)


def test_a_key_is_for_its_models_alone(guarded: str) -> None:
    with client_of(guarded, SCOPED_KEY) as client:
        assert [model.id for model in client.models.list()] == ["black-forest-labs/FLUX.1-schnell"]
        with pytest.raises(PermissionDeniedError) as refused:
            paint(guarded, SCOPED_KEY)
        assert refused.value.code == "model_not_allowed"
        with pytest.raises(PermissionDeniedError):
            client.models.retrieve(MODEL)
        picture = client.images.generate(model="be-flux-1-schnell", prompt="a red circle", size="64x64")  # type: ignore[call-overload]
        assert picture.data


def test_a_private_picture_is_its_owners_alone(guarded: str) -> None:
    with client_of(guarded, KEY) as client:
        answer = client.images.generate(model=MODEL, prompt="a red circle", size="256x256", response_format="url")
    assert answer.data
    url = answer.data[0].url
    assert url
    assert httpx.get(url, timeout=SECONDS).status_code == 401
    assert httpx.get(url, headers={"authorization": f"Bearer {TRUSTED_KEY}"}, timeout=SECONDS).status_code == 403
    own = httpx.get(url, headers={"authorization": f"Bearer {KEY}"}, timeout=SECONDS)
    assert (own.status_code, own.headers["content-type"]) == (200, "image/png")
    changed = url.replace("owner=otter", "owner=badger")
    assert changed != url
    assert httpx.get(changed, headers={"authorization": f"Bearer {TRUSTED_KEY}"}, timeout=SECONDS).status_code == 403


def put(keys_file: Path, content: str) -> None:
    """In its place, in one step."""
    beside = keys_file.with_suffix(".new")
    beside.write_text(content)
    os.replace(beside, keys_file)


def wait_until_known(guarded: str, key: str) -> None:
    ends = time.monotonic() + SECONDS
    headers = {"authorization": f"Bearer {key}"}
    while httpx.get(f"{guarded}/models", headers=headers, timeout=SECONDS).status_code == 401:
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_a_changed_file_of_keys_applies_without_a_restart(guarded: str, keys_file: Path) -> None:
    new_key, before = "key-of-shrew", keys_file.read_text()
    with pytest.raises(AuthenticationError):
        paint(guarded, new_key)
    put(keys_file, yaml.safe_dump([entry(new_key)]))
    try:
        wait_until_known(guarded, new_key)
        assert paint(guarded, new_key) == (64, 64)
        with pytest.raises(AuthenticationError):
            paint(guarded, LIMITED_KEY)
    finally:
        put(keys_file, before)
        wait_until_known(guarded, LIMITED_KEY)
    with pytest.raises(AuthenticationError):
        paint(guarded, new_key)
    assert paint(guarded, KEY) == (64, 64)
