"""What all configuration has in common: frozen, and an unknown key is told with its likely spelling."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[str, Field(pattern="^[1-9][0-9]{0,6}x[1-9][0-9]{0,6}$")]  # WxH


def dimensions(size: Size) -> tuple[int, int]:
    """Width and height of a `Size`."""
    width, _, height = size.partition("x")
    return int(width), int(height)


def unknown(kind: str, name: object, known: Collection[str]) -> str:
    """What is said of a name that is none of the known ones: the likely spelling, or else what there is."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"
    return f"unknown {kind} '{name}'; {hint}"


class Strict(BaseModel):
    """Base of all configuration: frozen, and no key but the declared ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _suggest_spelling(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(unknown("key", key, cls.model_fields))
        return values
