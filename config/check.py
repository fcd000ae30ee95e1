"""Every mistake in a Serve config file that can be found before it is deployed.

Those are ours (config.files), those that Ray Serve would tell when it deploys, and those that it would never tell: it
overlooks unknown keys.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from ray import serve
from ray.serve._private.utils import validate_route_prefix
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from config.files import serve_file
from config.mistakes import ConfigError, key_path
from config.schema import unknown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Keys = tuple[int | str, ...]


def mistakes_in(content: Any, *, keys_are_here: bool = True) -> list[str]:
    """One line for each, with its key path; see config.files.serve_file. `content` is what stands in the file."""
    told: list[str] = []
    try:
        serve_file(content, keys_are_here=keys_are_here)
    except ConfigError as error:
        told += str(error).splitlines()
    known = {line.partition(";")[0] for line in told}
    told += [line for line in _unknown_keys(ServeDeploySchema, content) if line.partition(";")[0] not in known]
    places = {line.partition(": ")[0] for line in told}
    for keys, message in _refused_by_serve(content):
        place = key_path(keys) or "the file"
        if place not in places and (keys or not told):  # it may stumble over what is told
            told.append(f"{place}: {message}")
            places.add(place)
    return told


def _unknown_keys(model: type[BaseModel], values: Any, keys: Keys = ()) -> Iterator[str]:
    """Of `values` and of what is in it, as far as `model` says."""
    if not isinstance(values, Mapping):
        return
    known = model.model_fields
    for key, value in values.items():
        if key not in known:
            yield f"{key_path(keys) or 'the file'}: {unknown('key', key, known)}"
            continue
        for inner in _models_in(known[key].annotation):
            if isinstance(value, list):
                for index, part in enumerate(value):
                    yield from _unknown_keys(inner, part, (*keys, key, index))
            else:
                yield from _unknown_keys(inner, value, (*keys, key))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _refused_by_serve(content: Any) -> Iterator[tuple[Keys, str]]:
    try:
        file = ServeDeploySchema.model_validate(copy.deepcopy(content))  # it writes into what it is given
    except ValidationError as error:
        yield from _told(error, content)
    except Exception as error:  # a name cannot be imported, or it takes for a mapping what is none
        yield (), str(error)
    else:
        for number, application in enumerate(file.applications):
            for inner, message in _refused_when_built(application):
                yield ("applications", number, *inner), message


def _refused_when_built(application: ServeApplicationSchema) -> Iterator[tuple[Keys, str]]:
    """What Serve says of the application no earlier than when it makes its deployments."""
    try:
        validate_route_prefix(application.route_prefix)
    except ValueError as error:
        yield ("route_prefix",), str(error)
    for index, deployment in enumerate(application.deployments):
        for inner, message in _refused_options(deployment):
            yield ("deployments", index, *inner), message


def _refused_options(deployment: DeploymentSchema) -> Iterator[tuple[Keys, str]]:
    options = deployment.model_dump(exclude_unset=True, exclude={"rolling_update_percentage"})
    try:
        serve.deployment(_Anything).options(**options)
    except ValidationError as error:
        if error.title == "AutoscalingConfig":  # made by itself where it makes up for num_replicas
            numbers = _told(error, options["autoscaling_config"])
            yield from ((("autoscaling_config", *inner), message) for inner, message in numbers)
        else:
            yield from _told(error, options)
    except Exception as error:  # of any kind, as above
        yield (), str(error)


class _Anything:
    """In the place of what is deployed."""


def _told(error: ValidationError, content: Any) -> Iterator[tuple[Keys, str]]:
    for each in error.errors(include_input=False):
        if each["type"] != "extra_forbidden":  # an unknown key, and told as such
            yield _place(each, content), each["msg"].removeprefix("Value error, ")


def _place(error: ErrorDetails, content: Any) -> Keys:
    """Its location without what pydantic adds: of several types that a key may have, the name of the one it tried."""
    keys: Keys = ()
    for key in error["loc"]:
        if isinstance(content, Mapping) and (key in content or error["type"] == "missing"):
            content = content.get(key)
        elif isinstance(content, list) and isinstance(key, int):
            content = content[key]
        else:
            continue
        keys = (*keys, key)
    return keys
