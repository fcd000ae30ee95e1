"""What the configuration takes and refuses, and how it says so."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from config import schema
from config.schema import (
    Acceleration,
    ApiKey,
    Batching,
    ImageStoreConfig,
    IngressConfig,
    IngressSettings,
    Limits,
    ModelConfig,
    ModelRoute,
    ModelSettings,
    PoseEstimatorConfig,
    Preset,
    Strict,
    Weights,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = COMMIT + "89abcdef0123456789abcdef"
MODELS = [model for _, model in inspect.getmembers(schema, inspect.isclass) if issubclass(model, BaseModel)]
OURS = [model for model in MODELS if model.__module__.startswith(schema.__name__)]


def presets(**changed: Any) -> dict[str, Any]:
    words = ["smooth", "standard", "hd", "low", "medium", "high"]
    return {word: {"steps": 8, "guidance_scale": 5.0} for word in words} | changed


def routes(*models: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"application": "sdxl", "family": "sdxl"} | model for model in models]


def mistake(model: type[BaseModel], values: Any) -> tuple[str, str]:
    """The key path and the message of the one mistake in `values`."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(values)
    (error,) = refused.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


@pytest.mark.parametrize("model", OURS)
def test_every_model_is_frozen_and_takes_no_unknown_key(model: type[BaseModel]) -> None:
    assert issubclass(model, Strict)
    assert model.model_config["frozen"] is True
    assert model.model_config["extra"] == "forbid"


def test_a_setting_cannot_be_changed_in_place() -> None:
    limits = Limits()
    with pytest.raises(ValidationError, match="frozen"):
        limits.max_side = 1  # type: ignore[misc]


def test_an_unknown_key_is_told_with_its_path_and_likely_spelling() -> None:
    path, message = mistake(ModelSettings, {"presets": presets(hd={"steps": 8, "guidance_scal": 5})})
    assert path == "presets.hd"
    assert "unknown key 'guidance_scal'; did you mean 'guidance_scale'?" in message


def test_an_unknown_key_like_no_other_is_told_with_the_known_ones() -> None:
    path, message = mistake(Batching, {"colour": "red"})
    assert path == ""
    assert "unknown key 'colour'; known: max_rows, max_running, max_queued" in message


def test_a_key_that_is_no_text_is_unknown_too() -> None:
    assert "unknown key '8'" in mistake(Batching, {8: 8})[1]


@pytest.mark.parametrize(
    "values",
    [
        {"source": "owner/name", "revision": COMMIT},
        {"source": "owner/name", "revision": COMMIT, "variant": "fp16"},
        {"source": "./models/sdxl"},
        {"source": "~/sdxl"},
        {"source": "/models"},
        {"source": "../sdxl"},
        {"source": "small:sdxl"},
        {"source": "models/of/mine"},
    ],
)
def test_weights_that_are_taken(values: dict[str, str]) -> None:
    assert Weights.model_validate(values).model_dump(exclude_none=True) == values


def test_a_hub_repository_must_be_pinned() -> None:
    assert "must be pinned to a 40-digit commit" in mistake(Weights, {"source": "owner/name"})[1]


@pytest.mark.parametrize("revision", ["main", COMMIT[:-1], COMMIT + "0", COMMIT.upper(), COMMIT + "\n", ""])
def test_a_revision_is_a_whole_commit(revision: str) -> None:
    assert mistake(Weights, {"source": "owner/name", "revision": revision})[0] == "revision"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "Paint"}, {"name": "paint"}),
        ({"name": "paint"}, {"name": "other", "aliases": ["PAINT"]}),
        ({"name": "paint", "aliases": ["brush"]}, {"name": "other", "aliases": ["Brush"]}),
        ({"name": "paint", "aliases": ["Paint"]}, {"name": "other"}),
    ],
)
def test_names_and_aliases_are_unique_without_case(first: dict[str, Any], second: dict[str, Any]) -> None:
    _, message = mistake(IngressSettings, {"models": routes(first, second), "default_model": first["name"]})
    assert "names two models" in message


def test_the_default_model_must_be_known() -> None:
    _, message = mistake(IngressSettings, {"models": routes({"name": "paint"}), "default_model": "pain"})
    assert "default_model: 'pain'" in message


@pytest.mark.parametrize("default", ["paint", "PAINT", "brush", "Brush"])
def test_the_default_model_is_a_name_or_alias_without_case(default: str) -> None:
    models = routes({"name": "Paint", "aliases": ["brush"]})
    assert IngressSettings.model_validate({"models": models, "default_model": default}).default_model == default


def keys(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"models": routes({"name": "paint"}), "default_model": "paint", "keys": [*keys]}


def test_there_is_no_key_by_default_and_nobody_is_trusted() -> None:
    assert IngressSettings.model_validate(keys()).keys == ()
    (key,) = IngressSettings.model_validate(keys({"name": "a", "sha256": SHA256})).keys
    assert (key.weight, key.may_prioritize) == (1.0, False)
    assert (key.models, key.max_concurrent, key.gpu_seconds_per_hour) == (None, None, None)


def test_keys_are_told_apart() -> None:
    first, second = {"name": "a", "sha256": SHA256}, {"name": "b", "sha256": SHA256[::-1]}
    assert len(IngressSettings.model_validate(keys(first, second)).keys) == 2
    same_name = mistake(IngressSettings, keys(first, {**second, "name": "a"}))[1]
    same_key = mistake(IngressSettings, keys(first, {**first, "name": "b"}))[1]
    assert "keys[1].name: keys[0] has the same" in same_name
    assert "keys[1].sha256: keys[0] has the same" in same_key


@pytest.mark.parametrize("models", [["paint"], ["PAINT", "Brush"], [], None])
def test_a_key_may_be_for_some_models(models: list[str] | None) -> None:
    values = keys({"name": "a", "sha256": SHA256, "models": models})
    values["models"][0]["aliases"] = ["brush"]
    (key,) = IngressSettings.model_validate(values).keys
    assert key.models == (None if models is None else tuple(models))


def test_a_key_is_for_no_model_that_is_unknown() -> None:
    unknown = keys({"name": "a", "sha256": SHA256}, {"name": "b", "sha256": SHA256[::-1], "models": ["paint", "pain"]})
    assert "keys[1].models[1]: is none of the models' names" in mistake(IngressSettings, unknown)[1]


def test_a_service_with_keys_or_a_file_of_them_needs_one() -> None:
    assert not IngressSettings.model_validate(keys()).needs_key
    assert IngressSettings.model_validate(keys({"name": "a", "sha256": SHA256})).needs_key
    assert IngressSettings.model_validate({**keys(), "keys_file": "/secrets/keys.yaml"}).needs_key


def test_private_pictures_need_keys() -> None:
    assert not IngressSettings.model_validate(keys()).private_pictures
    assert "private_pictures: needs keys" in mistake(IngressSettings, {**keys(), "private_pictures": True})[1]
    for key in ({"keys": [{"name": "a", "sha256": SHA256}]}, {"keys_file": "/secrets/keys.yaml"}):
        assert IngressSettings.model_validate({**keys(), **key, "private_pictures": True}).private_pictures


@pytest.mark.parametrize("wrong", [{"sha256": "sk-secret"}, {"sha256": ["sk-secret"]}, {"key": "sk-secret"}])
def test_a_key_in_the_place_of_its_hash_is_not_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        IngressSettings.model_validate(keys({"name": "a", **wrong}))
    assert "keys.0" in str(refused.value)
    assert "secret" not in str(refused.value) + repr(refused.value)


def test_an_ingress_without_models_is_refused() -> None:
    with pytest.raises(ValidationError, match="models"):
        IngressSettings.model_validate({"models": [], "default_model": "paint"})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), "nan", "inf"])
@pytest.mark.parametrize(
    ("model", "key"),
    [
        (Preset, "guidance_scale"),
        (Limits, "max_aspect"),
        (ModelSettings, "watchdog_seconds"),
        (IngressSettings, "deadline_seconds"),
        (ImageStoreConfig, "sweep_seconds"),
        (ImageStoreConfig, "timeout_seconds"),
    ],
)
def test_what_is_no_finite_number_is_refused(model: type[BaseModel], key: str, number: float | str) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate({key: number})
    assert (key,) in [error["loc"] for error in refused.value.errors()]


@pytest.mark.parametrize(
    ("model", "key", "taken", "refused"),
    [
        (Preset, "steps", [1, 100], [0, 101, 1.5, None]),
        (Preset, "guidance_scale", [0, 30], [-0.1, 30.1]),
        (Preset, "scheduler", ["default", "dpm++"], ["dpm", ""]),
        (Limits, "min_side", [1], [0, -1]),
        (Limits, "max_side", [1], [0]),
        (Limits, "max_pixels", [1], [0]),
        (Limits, "max_aspect", [0.5], [0]),
        (Limits, "max_steps", [1, 100], [0, 101]),
        (
            Limits,
            "default_size",
            ["8x8", "1024x512"],
            ["1024", "0x8", "8x", "8x8x8", "08x8", "8 x 8", "٨x8", "8x8\n", "9" * 5000 + "x8"],
        ),
        (Batching, "max_rows", [1, None], [0]),
        (Batching, "max_running", [1], [0, None]),
        (Batching, "max_queued", [0], [-1]),
        (ModelConfig, "family", ["sdxl"], ["flux", None]),
        (ModelConfig, "dtype", ["float16"], ["half"]),
        (ModelConfig, "device", ["auto", "cpu", "cuda", "cuda:12", "mps"], ["gpu", "cuda:", "cuda:x", "cpu\n"]),
        (ModelConfig, "torch_threads", [1, None], [0]),
        (ModelConfig, "warm_up_sizes", [[], ["8x8", "16x8"]], [["8x8", "256"], ["8x8x8"], "8x8"]),
        (Acceleration, "quantization", ["int8_dynamic", None], ["int8", "fp4"]),
        (Acceleration, "text_encoder_quantization", ["int8_weight_only", None], ["int8_dynamic"]),
        (Acceleration, "attention", ["native", "_flash_3", None], ["sage", "flash3"]),
        (Acceleration, "compile_cache", ["x"], [""]),
        (Acceleration, "lossy_guidance_cutoff", [0.01, 0.99, None], [0, 1, -0.5]),
        (ModelRoute, "name", ["a"], [""]),
        (ModelRoute, "application", ["a"], [""]),
        (IngressSettings, "public_url", ["https://easel.test/base", None], ["easel.test", "ftp://easel.test"]),
        (IngressSettings, "deadline_seconds", [0.1], [0]),
        (ApiKey, "name", ["a", "a" * 64], ["", "a" * 65, None]),
        (
            ApiKey,
            "sha256",
            ["0" * 64, SHA256],
            [SHA256.upper(), SHA256[1:], f"{SHA256}0", f"{SHA256}\n", "sk-key", None],
        ),
        (ApiKey, "weight", [0.01, 100], [0, 0.009, 101, -1, float("nan"), None]),
        (ApiKey, "max_concurrent", [1, None], [0, -1, 1.5]),
        (ApiKey, "gpu_seconds_per_hour", [0.1, None], [0, -1, float("inf")]),
        (ApiKey, "models", [None, [], ["a"]], ["a", [1]]),
        (IngressSettings, "keys_file", ["/keys.yaml", "~/keys.yaml", None], ["keys.yaml", "./keys.yaml", ""]),
        (ModelSettings, "watchdog_seconds", [0.1], [0]),
        (ImageStoreConfig, "url", ["memory://x"], [""]),
        (ImageStoreConfig, "lifetime_seconds", [1], [0, 0.5]),
        (ImageStoreConfig, "sweep_seconds", [0.5], [0]),
        (ImageStoreConfig, "timeout_seconds", [0.5], [0]),
        (ImageStoreConfig, "least_free_bytes", [0], [-1, 0.5]),
        (IngressConfig, "max_body_bytes", [1], [0]),
        (IngressConfig, "body_timeout_seconds", [0.1], [0, -1, float("inf")]),
        (Weights, "source", ["x"], [""]),
    ],
)
def test_bounds(model: type[BaseModel], key: str, taken: list[Any], refused: list[Any]) -> None:
    def is_blamed(value: Any) -> bool:
        """Other keys may be missing; only this one is looked at."""
        try:
            model.model_validate({key: value})
        except ValidationError as error:
            return key in [found["loc"][0] for found in error.errors() if found["loc"]]
        return False

    assert [value for value in taken if is_blamed(value)] == []
    assert [value for value in refused if not is_blamed(value)] == []


def test_every_quality_needs_a_preset() -> None:
    without_hd = presets()
    del without_hd["hd"]
    assert mistake(ModelSettings, {"presets": without_hd})[0] == "presets.hd"


@pytest.mark.parametrize("detector", ["dwpose", "openpose"])
def test_a_detector_with_weights_of_its_own_needs_them(detector: str) -> None:
    weights = {"source": "some/where", "revision": COMMIT}
    assert PoseEstimatorConfig.model_validate({"detector": detector, "weights": weights}).weights
    assert "the detectors 'dwpose' and 'openpose' need some" in mistake(PoseEstimatorConfig, {"detector": detector})[1]


def test_mediapipe_takes_no_weights() -> None:
    assert PoseEstimatorConfig() == PoseEstimatorConfig(detector="mediapipe")
    assert "'mediapipe' takes none" in mistake(PoseEstimatorConfig, {"weights": {"source": "/models"}})[1]


def test_weights_of_a_detector_are_pinned() -> None:
    assert mistake(PoseEstimatorConfig, {"detector": "dwpose", "weights": {"source": "a/b"}})[0] == "weights"


@pytest.mark.parametrize(
    ("key", "value", "refused_by"),
    [
        ("channels_last", True, ["flux-schnell", "flux-fill"]),
        ("attention", "native", ["sdxl", "sdxl-pose"]),
        ("lossy_guidance_cutoff", 0.5, ["flux-schnell", "flux-fill"]),
        ("fuse_qkv", True, []),
        ("quantization", "int8_dynamic", []),
    ],
)
def test_an_option_that_a_family_cannot_honour_is_refused(key: str, value: object, refused_by: list[str]) -> None:
    for family in ("sdxl", "sdxl-pose", "flux-schnell", "flux-fill"):
        model = {"family": family, "weights": {"source": "/models"}, "acceleration": {key: value}}
        if family == "sdxl-pose":
            model["controlnet"] = {"source": "/models"}
        if family in refused_by:
            assert f"acceleration.{key}: not for the family '{family}'" in mistake(ModelConfig, model)[1]
        else:
            assert getattr(ModelConfig.model_validate(model).acceleration, key) == value


def test_no_option_is_on_unless_it_is_configured() -> None:
    options = Acceleration().model_dump(exclude={"compile_cache"})
    assert not any(options.values())


def test_options_that_do_not_go_together_are_refused() -> None:
    assert "does not go with group_offload" in mistake(Acceleration, {"compile": True, "group_offload": True})[1]
