"""What is wrong with a file that an operator wrote, and where in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """What is wrong with a config file, a line for each mistake, each with its key path."""


class NotYaml(ConfigError):
    """The file cannot be read as YAML. Its text quotes the file."""


def read_yaml(path: Path) -> Any:
    """What stands in a file. Raises OSError and NotYaml."""
    text = path.read_bytes()
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML lets out what it stumbles over: `!!bool a` is a KeyError, a deep nesting …
        raise NotYaml(f"not YAML: {error}") from error


def key_path(keys: Iterable[int | str]) -> str:
    """As `applications[0].args.weights`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
