"""Reads a Serve config file and checks the parts of it that are ours: the `args` and `user_config` of each application.

Ray checks the rest when it deploys. An error names the key path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from config.schema import IngressConfig, IngressSettings, ModelConfig, ModelSettings

# By import path of the builder: what its `args` are, its deployment's name, and what that one's `user_config` is.
BUILDERS: Mapping[str, tuple[type[BaseModel], str, type[BaseModel]]] = {
    "serve_app.app:build": (IngressConfig, "Ingress", IngressSettings),
    "deployments.diffusion:build": (ModelConfig, "Diffusion", ModelSettings),
}


class ConfigError(ValueError):
    """What is wrong with a config file, a line for each mistake, each with its key path."""


@dataclass(frozen=True, slots=True)
class ServeFile:
    """What is needed to know of a checked file before it runs."""

    host: str
    port: int
    small_models: tuple[str, ...]  # those it names as `small:<name>`

    @property
    def url(self) -> str:
        """Where a browser on this machine reaches it."""
        return f"http://{'localhost' if self.host in ('0.0.0.0', '127.0.0.1') else self.host}:{self.port}"  # noqa: S104


def read_serve_file(path: Path) -> ServeFile:
    """Raises OSError when the file cannot be read and ConfigError when something in it is wrong."""
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("applications"), list):
        raise ConfigError("applications: a list of applications is required")
    mistakes: list[str] = []
    sources: list[str] = []
    for index, application in enumerate(content["applications"]):
        mistakes += _check_application(application, f"applications[{index}]")
        arguments = application.get("args") or {}
        sources += [part["source"] for part in (arguments.get("weights"), arguments.get("vae")) if part]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    http_options = content.get("http_options") or {}
    return ServeFile(
        host=http_options.get("host", "127.0.0.1"),
        port=http_options.get("port", 8000),
        small_models=tuple(source.removeprefix("small:") for source in sources if source.startswith("small:")),
    )


def _check_application(application: Mapping[str, Any], path: str) -> list[str]:
    builder = BUILDERS.get(application.get("import_path", ""))
    if builder is None:
        return [f"{path}.import_path: '{application.get('import_path')}' is none of {', '.join(BUILDERS)}"]
    arguments, deployment_name, settings = builder
    mistakes = _check(arguments, application.get("args") or {}, f"{path}.args")
    for index, deployment in enumerate(application.get("deployments") or []):
        where = f"{path}.deployments[{index}]"
        if deployment.get("name") != deployment_name:
            mistakes.append(f"{where}.name: is '{deployment.get('name')}', must be '{deployment_name}'")
        mistakes += _check(settings, deployment.get("user_config") or {}, f"{where}.user_config")
    return mistakes


def _check(model: type[BaseModel], values: Any, path: str) -> list[str]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [f"{'.'.join([path, *map(str, mistake['loc'])])}: {mistake['msg']}" for mistake in error.errors()]
    return []
