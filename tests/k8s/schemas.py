"""What is wrong with a manifest, as strictly as can be told without a cluster: an unknown field is a mistake.

A cluster prunes unknown fields of a RayService, and Serve overlooks those of its config file.
"""

from __future__ import annotations

import functools
import json
import pkgutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from pydantic import ValidationError
from ray.serve._private.build_app import build_app
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig, ServeDeploySchema
from referencing import Registry, Resource

from config.files import read_serve_file
from config.mistakes import ConfigError
from tests.k8s.built import Manifest
from tests.unknown_keys import unknown_keys

OLDEST, NEWEST = "1.30.0", kubernetes_validate.latest_version()  # of Kubernetes
CUSTOM = yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_bytes())
QUANTITY = r"^[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i|[mun])?$"  # in the schemas of Kubernetes any text is one


def mistakes_of(manifest: Manifest) -> Iterator[str]:
    """Those of the manifest itself; what it says to Serve is not looked into."""
    for version in (OLDEST, NEWEST):
        if manifest["kind"] in CUSTOM:
            for mistake in _validator(manifest["kind"], version).iter_errors(manifest):
                yield f"{version}: {mistake.json_path}: {mistake.message}"
            continue
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
def _validator(kind: str, version: str) -> jsonschema.Draft202012Validator:
    """Of a custom resource, in which Kubernetes' own types are those of `version`."""
    path = f"kubernetes-json-schema/v{version}-local-strict/_definitions.json"
    definitions = json.loads(files(kubernetes_validate).joinpath(path).read_bytes())
    definitions["$defs"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]["pattern"] = QUANTITY
    kubernetes = Resource.from_contents(definitions)
    registry = Registry().with_resources([("kubernetes", kubernetes), (kubernetes.id(), kubernetes)])
    return jsonschema.Draft202012Validator(_closed(CUSTOM[kind]), registry=registry)


def _closed(schema: Any) -> Any:
    """The schema without room for fields that it does not list, but where it says what else there may be."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **made} if made.get("type") == "object" else made
