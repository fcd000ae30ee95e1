"""What is wrong with a manifest, as strictly as can be told without a cluster: an unknown field is a mistake.

A cluster prunes unknown fields of a RayService, and Serve overlooks those of its config file.
"""

from __future__ import annotations

import functools
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError
from ray.serve._private.build_app import build_app
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig, ServeDeploySchema

from config.files import read_serve_file
from config.mistakes import ConfigError
from tests.k8s.built import ROOT, Manifest
from tests.unknown_keys import unknown_keys

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version().rpartition(".")[0]  # of Kubernetes
KUBERAY = "shared/kuberay/ray.io_rayservices.yaml"  # of KubeRay 1.7, in a folder above the project's


def mistakes_of(manifest: Manifest) -> Iterator[str]:
    """Those of the manifest itself; what it says to Serve is not looked into.

    Skips the test where a RayService is to be checked and the schema of KubeRay is not there.
    """
    if manifest["kind"] == "RayService":
        for error in _rayservice().iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    for version in (OLDEST, NEWEST):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {error.json_path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{version}: {error.message}"


def mistakes_of_serve(config: Manifest, folder: Path) -> Iterator[str]:
    """Those of a Serve config file; it is written to `folder`, to be read as ours are."""
    path = folder / "serve.yaml"
    path.write_text(json.dumps(config))
    try:
        read_serve_file(path)
        ServeDeploySchema.model_validate(config)
        LoggingConfig.model_validate(config.get("logging_config", {}))
    except (ConfigError, ValidationError) as error:
        yield str(error)
        return
    yield from unknown_keys(ServeDeploySchema, config)
    for application in config["applications"]:
        there = deployments_of(application)
        for deployment in application["deployments"]:
            place = f"{application['name']}.{deployment['name']}"
            if deployment["name"] not in there:
                yield f"{place}: no such deployment; there are: {', '.join(there)}"
            numbers = deployment.get("autoscaling_config", {})
            yield from (f"{place}: {key}" for key in unknown_keys(AutoscalingConfig, numbers))
            try:
                AutoscalingConfig.model_validate(numbers)
            except ValidationError as error:
                yield f"{place}: {error}"


def deployments_of(application: Manifest) -> dict[str, Any]:
    """The deployments that the application's own builder makes, by name. No weights are loaded."""
    built = pkgutil.resolve_name(application["import_path"])(application["args"])
    return {each.name: each for each in build_app(built, name=application["name"]).deployments}


@functools.cache
def _rayservice() -> jsonschema.Draft202012Validator:
    found = [folder / KUBERAY for folder in ROOT.parents if (folder / KUBERAY).is_file()]
    if not found:
        pytest.skip(f"there is no ../{KUBERAY}, the definition of a RayService")
    versions = yaml.load(found[0].read_bytes(), yaml.CSafeLoader)["spec"]["versions"]
    (definition,) = [version for version in versions if version["name"] == "v1"]
    schema = _strict(definition["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return jsonschema.Draft202012Validator(schema)


def _strict(schema: Any) -> Any:
    """A structural schema of Kubernetes without room for unknown fields."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value if key in ("default", "enum", "required") else _strict(value) for key, value in schema.items()}
    properties = made.get("properties")
    if not isinstance(properties, dict) or made.get("type") != "object":
        return made
    made.setdefault("additionalProperties", made.get("x-kubernetes-preserve-unknown-fields", False))
    # Defaults are filled in before the rest is looked at.
    made["required"] = [name for name in made.get("required", []) if "default" not in properties[name]]
    return made
