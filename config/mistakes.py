"""What is wrong with a file that an operator wrote, and where in it."""

from __future__ import annotations

from collections.abc import Iterable


class ConfigError(ValueError):
    """What is wrong with a config file, a line for each mistake, each with its key path."""


def key_path(keys: Iterable[int | str]) -> str:
    """As `applications[0].args.weights`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
