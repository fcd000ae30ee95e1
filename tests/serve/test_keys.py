"""Keys on the way that a client's request goes: through Serve's proxy to an ingress that has some configured."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from openai import AuthenticationError, OpenAI, PermissionDeniedError
from PIL import Image
from ray import serve

from serve_app.app import build

if TYPE_CHECKING:
    from tests.conftest import LiveService

LOCAL = Path(__file__).resolve().parents[2] / "config" / "local.yaml"
KEY, TRUSTED_KEY = "key-of-otter", "key-of-badger"


@pytest.fixture(scope="module")
def guarded(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second ingress to the same models, with two keys; its base URL."""
    application = next(one for one in yaml.safe_load(LOCAL.read_text())["applications"] if one["name"] == "ingress")
    keys = [
        {"name": "otter", "sha256": hashlib.sha256(KEY.encode()).hexdigest()},
        {"name": "badger", "sha256": hashlib.sha256(TRUSTED_KEY.encode()).hexdigest(), "may_prioritize": True},
    ]
    ingress = build({"images": {"url": str(tmp_path_factory.mktemp("guarded"))}})
    deployment = ingress._bound_deployment.options(
        user_config=application["deployments"][0]["user_config"] | {"keys": keys}, ray_actor_options={"num_cpus": 0.1}
    )
    arguments = deployment.init_args
    serve.run(deployment.bind(*arguments), name="guarded", route_prefix="/guarded")
    yield f"{service.url}/guarded/v1"
    serve.delete("guarded")


def paint(base_url: str, key: str, **headers: str) -> tuple[int, int]:
    """One picture by OpenAI's own client; its size."""
    client = OpenAI(base_url=base_url, api_key=key, max_retries=0)
    answer = client.images.generate(
        model="be-stable-diffusion-xl-base-1.0",
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
