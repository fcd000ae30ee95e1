"""The shipped Serve config files, and what is said of wrong ones."""

from __future__ import annotations

import contextlib
import copy
import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig

from config.files import Autoscaling, Logging, ServeFile, read_serve_file
from config.mistakes import ConfigError
from deployments.autoscaling import backlog_policy

FOLDER = Path(__file__).parents[3] / "config"
SHIPPED = [FOLDER / "local.yaml", FOLDER / "serve.yaml"]

# What means something in YAML.
SCRAMBLING = [
    *(
        b"&a ",
        b"*a ",
        b"<<: ",
        b"!!int ",
        b"!!float ",
        b"!!bool ",
        b"!!timestamp ",
        b"!!binary ",
        b"!!set ",
        b"!!omap ",
    ),
    *(
        b"!!python/name:os.system ",
        b"a: ",
        b"- ",
        b"? ",
        b": ",
        b"\n",
        b"\n  ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"'",
        b'"',
        b"|",
        b"%",
    ),
    *(b"0x", b"1_0", b".inf", b"1:60", b"2026-02-30", b"~", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf"),
]

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def content() -> dict[str, Any]:
    """The local file, cut down to the ingress and one model, whose parts a test may change one by one."""
    loaded: dict[str, Any] = yaml.safe_load(SHIPPED[0].read_bytes())
    applications = loaded["applications"] = copy.deepcopy(loaded["applications"][:2])
    settings = applications[0]["deployments"][0]["user_config"]
    settings["models"] = settings["models"][:1]
    del settings["pose"]
    return loaded


@pytest.fixture
def read(tmp_path: Path) -> Callable[[object], ServeFile]:
    """Reads what it is given, as a file: text and bytes as they are, all else as YAML."""

    def write_and_read(content: object) -> ServeFile:
        path = tmp_path / "config.yaml"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return read_serve_file(path)

    return write_and_read


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
class TestShippedFile:
    def test_passes_our_check(self, path: Path) -> None:
        file = read_serve_file(path)
        assert file.port == 8000
        assert file.uses_mediapipe == (path.name == "local.yaml")

    def test_logs_each_request_once_and_for_machines_in_production(self, path: Path) -> None:
        logging = LoggingConfig.model_validate(yaml.safe_load(path.read_bytes())["logging_config"])
        assert (logging.encoding, logging.log_level) == ("JSON" if path.name == "serve.yaml" else "TEXT", "INFO")
        assert not logging.enable_access_log

    def test_every_deployment_scales_by_numbers_that_ray_knows(self, path: Path) -> None:
        for application in yaml.safe_load(path.read_bytes())["applications"]:
            for deployment in application["deployments"]:
                assert deployment["num_replicas"] == "auto"
                checked = AutoscalingConfig.model_validate(deployment["autoscaling_config"])
                assert 1 <= checked.min_replicas < checked.max_replicas

    def test_models_scale_by_their_backlog(self, path: Path) -> None:
        models = [
            application
            for application in yaml.safe_load(path.read_bytes())["applications"]
            if application["import_path"] == "deployments.diffusion:build"
        ]
        for application in models:
            policy = application["deployments"][0]["autoscaling_config"]["policy"]
            assert pkgutil.resolve_name(policy["policy_function"]) is backlog_policy

    def test_routes_lead_to_applications_of_the_same_family(self, path: Path) -> None:
        content = yaml.safe_load(path.read_bytes())
        families = {
            application["name"]: application["args"]["family"]
            for application in content["applications"]
            if application["import_path"] == "deployments.diffusion:build"
        }
        (ingress,) = [application for application in content["applications"] if application["name"] == "ingress"]
        models = ingress["deployments"][0]["user_config"]["models"]
        assert {model["application"]: model["family"] for model in models} == families

    def test_only_the_ingress_is_reached_over_http(self, path: Path) -> None:
        applications = yaml.safe_load(path.read_bytes())["applications"]
        prefixes = {application["name"]: application["route_prefix"] for application in applications}
        assert prefixes.pop("ingress") == "/"
        assert set(prefixes.values()) == {None}


def test_the_keys_of_autoscaling_and_logging_are_those_that_ray_knows() -> None:
    assert Autoscaling.model_fields.keys() == AutoscalingConfig.model_fields.keys()
    assert Logging.model_fields.keys() == LoggingConfig.model_fields.keys()


def test_the_shipped_files_are_about_the_same_names() -> None:
    first, second = (yaml.safe_load(path.read_bytes())["applications"] for path in SHIPPED)
    assert [(each["name"], each["import_path"]) for each in first] == [
        (each["name"], each["import_path"]) for each in second
    ]
    local, production = (each[0]["deployments"][0]["user_config"] for each in (first, second))
    assert local["default_model"] == production["default_model"]
    for route, counterpart in zip(local["models"], production["models"], strict=True):
        assert (route["name"], route.get("aliases")) == (counterpart["name"], counterpart.get("aliases"))


def ingress(content: dict[str, Any]) -> Any:
    return content["applications"][0]["deployments"][0]


def model(content: dict[str, Any]) -> Any:
    return content["applications"][1]["deployments"][0]


def arguments(content: dict[str, Any]) -> Any:
    return content["applications"][1]["args"]


def policy(content: dict[str, Any]) -> Any:
    return model(content)["autoscaling_config"]["policy"]


INGRESS, MODEL = "applications[0].deployments[0]", "applications[1].deployments[0]"
ROUTE = f"{INGRESS}.user_config.models[0]"
POLICY = f"{MODEL}.autoscaling_config.policy"
MISTAKES: dict[str, tuple[Change, str]] = {
    "unknown builder": (
        lambda c: c["applications"][0].update(import_path="serve_app.app:biuld"),
        "applications[0].import_path: unknown builder 'serve_app.app:biuld'; did you mean 'serve_app.app:build'?",
    ),
    "route to nowhere": (
        lambda c: c["applications"][1].update(name="sdlx"),
        f"{ROUTE}.application: unknown application of a model 'sdxl'; did you mean 'sdlx'?",
    ),
    "route to another family": (
        lambda c: ingress(c)["user_config"]["models"][0].update(family="flux-schnell"),
        f"{ROUTE}.family: the application 'sdxl' runs 'sdxl'",
    ),
    "builder of a wrong type": (
        lambda c: c["applications"][0].update(import_path=["x"]),
        "applications[0].import_path: unknown builder '['x']'; known: ",
    ),
    "no builder": (
        lambda c: c["applications"][1].pop("import_path"),
        "applications[1].import_path: Field required",
    ),
    "application no mapping": (lambda c: c["applications"].append("sdxl"), "applications[2]: must be a mapping"),
    "application null": (lambda c: c["applications"].append(None), "applications[2]: must be a mapping"),
    "applications no list": (lambda c: c.update(applications={"sdxl": 1}), "applications: "),
    "applications missing": (lambda c: c.pop("applications"), "applications: "),
    "args a list": (lambda c: c["applications"][1].update(args=["x"]), "applications[1].args: must be a mapping"),
    "args null": (lambda c: c["applications"][1].update(args=None), "applications[1].args: must be a mapping"),
    "args missing": (lambda c: c["applications"][1].pop("args"), "applications[1].args: "),
    "args misspelt": (
        lambda c: arguments(c).update(devise="cpu"),
        "applications[1].args: unknown key 'devise'; did you mean 'device'?",
    ),
    "args of the ingress": (lambda c: c["applications"][0]["args"].update(images=3), "applications[0].args.images: "),
    "weights a text": (lambda c: arguments(c).update(weights="small:sdxl"), "applications[1].args.weights: must be"),
    "weights null": (lambda c: arguments(c).update(weights=None), "applications[1].args.weights: must be a mapping"),
    "source a number": (lambda c: arguments(c).update(weights={"source": 3}), "applications[1].args.weights.source: "),
    "vae a list": (lambda c: arguments(c).update(vae=[1]), "applications[1].args.vae: must be a mapping"),
    "not pinned": (lambda c: arguments(c).update(weights={"source": "a/b"}), "applications[1].args.weights: revision"),
    "warm-up size": (lambda c: arguments(c).update(warm_up_sizes=["9"]), "applications[1].args.warm_up_sizes[0]: "),
    "deployments no list": (lambda c: c["applications"][0].update(deployments={}), "applications[0].deployments: "),
    "deployments null": (lambda c: c["applications"][0].update(deployments=None), "applications[0].deployments: "),
    "deployments missing": (lambda c: c["applications"][1].pop("deployments"), "applications[1].deployments: "),
    "no deployment": (lambda c: c["applications"][1]["deployments"].clear(), "applications[1].deployments[0]: "),
    "two": (lambda c: c["applications"][1]["deployments"].append(model(c)), "applications[1].deployments: "),
    "deployment no mapping": (
        lambda c: c["applications"][1].update(deployments=["Diffusion"]),
        f"{MODEL}: must be a mapping",
    ),
    "deployment's name": (lambda c: model(c).update(name="Difusion"), f"{MODEL}.name: Input should be 'Diffusion'"),
    "user_config missing": (lambda c: model(c).pop("user_config"), f"{MODEL}.user_config: "),
    "user_config null": (lambda c: model(c).update(user_config=None), f"{MODEL}.user_config: must be a mapping"),
    "preset": (
        lambda c: model(c)["user_config"]["presets"]["hd"].update(steps=0),
        f"{MODEL}.user_config.presets.hd.steps: ",
    ),
    "autoscaling no mapping": (
        lambda c: model(c).update(autoscaling_config=2),
        f"{MODEL}.autoscaling_config: must be a mapping",
    ),
    "policy no mapping": (
        lambda c: model(c)["autoscaling_config"].update(policy=["x"]),
        f"{POLICY}: must be a mapping",
    ),
    "policy's key misspelt": (
        lambda c: policy(c).update(policy_functio="x"),
        f"{POLICY}: unknown key 'policy_functio'; did you mean 'policy_function'?",
    ),
    "policy unknown": (
        lambda c: policy(c).update(policy_function="deployments.autoscaling:backlog_polcy"),
        f"{POLICY}.policy_function: Input should be 'deployments.autoscaling:backlog_policy'",
    ),
    "policy with arguments": (
        lambda c: policy(c).update(policy_kwargs={"target_backlog_seconds": 9}),
        f"{POLICY}: unknown key 'policy_kwargs'; known: policy_function",
    ),
    "target in the wrong place": (
        lambda c: model(c)["autoscaling_config"].update(target_backlog_seconds=9),
        f"{MODEL}.autoscaling_config: unknown key 'target_backlog_seconds'; known: ",
    ),
    "autoscaling's key misspelt": (
        lambda c: ingress(c)["autoscaling_config"].update(max_replica=9),
        f"{INGRESS}.autoscaling_config: unknown key 'max_replica'; did you mean 'max_replicas'?",
    ),
    "target": (
        lambda c: model(c)["user_config"].update(target_backlog_seconds=0),
        f"{MODEL}.user_config.target_backlog_seconds: ",
    ),
    "limit": (
        lambda c: ingress(c)["user_config"]["models"][0]["limits"].update(max_side=0),
        f"{INGRESS}.user_config.models[0].limits.max_side: ",
    ),
    "default model": (
        lambda c: ingress(c)["user_config"].update(default_model="x"),
        f"{INGRESS}.user_config: default_model: 'x'",
    ),
    "http_options no mapping": (lambda c: c.update(http_options=8000), "http_options: must be a mapping"),
    "port": (lambda c: c["http_options"].update(port="http"), "http_options.port: "),
    "host": (lambda c: c["http_options"].update(host=127), "http_options.host: "),
    "logging": (
        lambda c: c["logging_config"].update(encodng="JSON"),
        "logging_config: unknown key 'encodng'; did you mean 'encoding'?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_key_path(
    name: str, content: dict[str, Any], read: Callable[[object], ServeFile]
) -> None:
    change, expected = MISTAKES[name]
    read(content)
    change(content)
    with pytest.raises(ConfigError) as refused:
        read(copy.deepcopy(content))  # without what YAML would write as an alias
    (line,) = str(refused.value).splitlines()
    assert line.startswith(expected)


def test_a_model_may_scale_by_requests_or_not_at_all(
    content: dict[str, Any], read: Callable[[object], ServeFile]
) -> None:
    model(content)["autoscaling_config"] = {"min_replicas": 1, "target_ongoing_requests": 8}
    read(content)
    del model(content)["autoscaling_config"]
    read(content)


def test_all_mistakes_are_told(content: dict[str, Any], read: Callable[[object], ServeFile]) -> None:
    for name in ("args misspelt", "preset", "limit", "http_options no mapping"):
        MISTAKES[name][0](content)
    with pytest.raises(ConfigError) as refused:
        read(content)
    assert sorted(line.partition(": ")[0] for line in str(refused.value).splitlines()) == [
        "applications[0].deployments[0].user_config.models[0].limits.max_side",
        "applications[1].args",
        "applications[1].deployments[0].user_config.presets.hd.steps",
        "http_options",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: b: c",
        "\t",
        "a: !!python/object:os.system {}",
        "day: 2026-02-30",
        "? [a]\n: b",
        "!!int",
        "!!bool a",
        "!!timestamp a",
        "[" * 10_000,
        b"\xff\xfe\xff",
        b"\0",
    ],
)
def test_what_is_not_yaml(text: str | bytes, read: Callable[[object], ServeFile]) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        read(text)


@pytest.mark.parametrize("text", ["", "# nothing", "- a", "words", "3"])
def test_what_is_no_mapping(text: str, read: Callable[[object], ServeFile]) -> None:
    with pytest.raises(ConfigError, match="the file: must be a mapping"):
        read(text)


def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_serve_file(tmp_path / "absent.yaml")
    with pytest.raises(IsADirectoryError):
        read_serve_file(tmp_path)


def test_host_and_port_are_those_of_serve_where_the_file_has_none(
    content: dict[str, Any], read: Callable[[object], ServeFile]
) -> None:
    del content["http_options"]
    file = read(content)
    assert (file.host, file.port) == ("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:81"),
        ("0.0.0.0", "http://localhost:81"),
        ("easel.test", "http://easel.test:81"),
    ],
)
def test_the_url_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert ServeFile(host=host, port=81, models=(), poses=(), needs_key=False).url == url


def with_poses(content: dict[str, Any]) -> dict[str, Any]:
    """The file with a model that follows poses, and what finds them."""
    changed: dict[str, Any] = copy.deepcopy(content)
    model = copy.deepcopy(changed["applications"][1])
    model["name"] = "guided"
    model["args"].update(family="sdxl-pose", controlnet={"source": "small:sdxl-pose"})
    pose = {
        "name": "bodies",
        "import_path": "deployments.pose_estimator:build",
        "args": {"detector": "mediapipe"},
        "deployments": [{"name": "PoseEstimator"}],
    }
    changed["applications"] += [model, pose]
    settings = ingress(changed)["user_config"]
    settings["models"].append({"name": "guided", "application": "guided", "family": "sdxl-pose"})
    settings["pose"] = {"model": "guided", "application": "bodies"}
    return changed


POSES = f"{INGRESS}.user_config.pose"
POSE_MISTAKES: dict[str, tuple[Change, str]] = {
    "route to nowhere": (
        lambda c: ingress(c)["user_config"]["pose"].update(application="pose"),
        f"{POSES}.application: unknown application that finds poses 'pose'; known: bodies",
    ),
    "route to a model": (
        lambda c: ingress(c)["user_config"]["pose"].update(application="sdxl"),
        f"{POSES}.application: unknown application that finds poses 'sdxl'; known: bodies",
    ),
    "no application": (
        lambda c: c["applications"].pop(),
        f"{POSES}.application: unknown application that finds poses 'bodies'; known: none",
    ),
    "model run by it": (
        lambda c: ingress(c)["user_config"]["models"][-1].update(application="bodies"),
        f"{INGRESS}.user_config.models[1].application: unknown application of a model 'bodies'; known: sdxl, guided",
    ),
    "detector": (lambda c: c["applications"][-1]["args"].update(detector="posenet"), "{pose}.args.detector: "),
    "weights": (lambda c: c["applications"][-1]["args"].update(detector="dwpose"), "{pose}.args: weights: "),
    "deployment's name": (
        lambda c: c["applications"][-1]["deployments"][0].update(name="Diffusion"),
        "{pose}.deployments[0].name: Input should be 'PoseEstimator'",
    ),
    "user_config": (
        lambda c: c["applications"][-1]["deployments"][0].update(user_config={"max_people": 1}),
        "{pose}.deployments[0].user_config: ",
    ),
}


def test_an_application_that_finds_poses(content: dict[str, Any], read: Callable[[object], ServeFile]) -> None:
    changed = with_poses(content)
    read(changed)
    del changed["applications"][-1]["args"]  # they all have defaults
    read(changed)


@pytest.mark.parametrize("name", POSE_MISTAKES)
def test_a_mistake_about_poses_is_told_with_its_key_path(
    name: str, content: dict[str, Any], read: Callable[[object], ServeFile]
) -> None:
    change, expected = POSE_MISTAKES[name]
    changed = with_poses(content)
    place = f"applications[{len(changed['applications']) - 1}]"
    change(changed)
    with pytest.raises(ConfigError) as refused:
        read(changed)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(expected.format(pose=place))


plain = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4) | st.dates()
)
any_yaml = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3), max_leaves=8
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in `value`."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *[place for key, part in parts for place in places(part, (*path, key))]]


def replaced(value: Any, path: tuple[Any, ...], by: object) -> Any:
    if not path:
        return by
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], by)
    return changed


def assert_read_or_refused(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ConfigError):
            assert isinstance(read_serve_file(Path(file.name)), ServeFile)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_file_of_which_any_part_is_anything_is_read_or_refused(data: st.DataObject) -> None:
    whole = yaml.safe_load(data.draw(st.sampled_from(SHIPPED)).read_bytes())
    place = data.draw(st.sampled_from(places(whole)))
    assert_read_or_refused(yaml.safe_dump(replaced(whole, place, data.draw(any_yaml))).encode("utf-8", "surrogatepass"))


@given(st.data())
def test_a_file_that_was_scrambled_is_read_or_refused(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(SHIPPED)).read_bytes()
    place = data.draw(st.integers(0, len(whole)))
    written = data.draw(st.binary(max_size=3) | st.sampled_from(SCRAMBLING))
    assert_read_or_refused(whole[:place] + written + whole[place + data.draw(st.integers(0, 40)) :])


@given(st.binary() | st.text().map(str.encode) | st.lists(st.sampled_from(SCRAMBLING), max_size=8).map(b"".join))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert_read_or_refused(content)


@pytest.fixture
def keys_file(content: dict[str, Any], tmp_path: Path) -> Path:
    """Of the ingress; it is not there yet."""
    path = tmp_path / "keys.yaml"
    ingress(content)["user_config"]["keys_file"] = str(path)
    return path


def test_a_service_with_keys_or_a_file_of_them_needs_one(
    content: dict[str, Any], read: Callable[[object], ServeFile], tmp_path: Path
) -> None:
    assert not read(content).needs_key
    ingress(content)["user_config"]["keys"] = [{"name": "a", "sha256": "0" * 64}]
    assert read(content).needs_key
    ingress(content)["user_config"] |= {"keys": [], "keys_file": str(tmp_path / "empty.yaml")}
    (tmp_path / "empty.yaml").write_text("[]")
    assert read(content).needs_key


def test_a_file_of_keys_is_checked_where_it_is(
    content: dict[str, Any], read: Callable[[object], ServeFile], keys_file: Path
) -> None:
    assert read(content).needs_key  # it may be there on the cluster
    keys_file.write_text("- {name: a, sha256: sk-secret}")
    with pytest.raises(ConfigError) as refused:
        read(content)
    assert str(refused.value).startswith(f"{INGRESS}.user_config: keys_file: {keys_file}: [0].sha256: ")
    assert "sk-secret" not in str(refused.value)


def test_the_quotas_may_be_told_of_and_are_one(content: dict[str, Any], read: Callable[[object], ServeFile]) -> None:
    deployments = content["applications"][0]["deployments"]
    deployments.append({"name": "Quotas", "ray_actor_options": {"num_cpus": 0.5}})
    assert read(content).port == 8000
    deployments[1]["num_replicas"] = 1
    read(content)
    for change, place in (
        ({"num_replicas": 2}, "num_replicas"),
        ({"num_replicas": "auto"}, "num_replicas"),
        ({"autoscaling_config": {"max_replicas": 2}}, "autoscaling_config"),
        ({"name": "Quota"}, "name"),
        ({"user_config": {}}, "user_config"),
    ):
        deployments[1] = {"name": "Quotas", **change}
        with pytest.raises(ConfigError) as refused:
            read(content)
        assert str(refused.value).startswith(f"applications[0].deployments[1].{place}: ")
    deployments[1:] = [{"name": "Quotas"}, {"name": "Quotas"}]
    with pytest.raises(ConfigError, match=r"^applications\[0\].deployments: "):
        read(content)
