"""The keys that a lenient pydantic model, as all of Ray's, would overlook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel


def unknown_keys(model: type[BaseModel], values: Any, path: str = "") -> Iterator[str]:
    """The keys in `values` that `model`, which lets them pass, does not know; with those of the models inside it."""
    for key, value in values.items():
        names = {name for name, field in model.model_fields.items() for name in (name, field.alias)}
        if key not in names:
            yield f"{path}{key}"
            continue
        for inner in _models_in(model.model_fields[key].annotation):
            for index, part in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(part, Mapping):
                    yield from unknown_keys(inner, part, f"{path}{key}[{index}].")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
