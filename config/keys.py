"""The keys of a file beside the config file, as a mounted secret is.

Invariant: no error tells anything that stands in the file, since what is put in the place of a key's hash by mistake
may be the key: mistakes are told by their key path and by what is allowed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, TypeAdapter, ValidationError

from config.mistakes import ConfigError, NotYaml, key_path, read_yaml
from config.schema import ApiKey, IngressSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KEYS = TypeAdapter(tuple[ApiKey, ...], config=ConfigDict(hide_input_in_errors=True))


def with_keys_of_file(settings: IngressSettings) -> IngressSettings:
    """The settings with the keys of `keys_file` among their `keys`; as they are where they name no file.

    Blocks. Raises ConfigError, which names the file and the key path, where it cannot be read or a key in it is wrong.
    """
    if settings.keys_file is None:
        return settings
    path = Path(settings.keys_file).expanduser()
    keys = _read(path)
    places = {f"keys[{index}]": key for index, key in enumerate(settings.keys)}
    places |= {f"{path}: [{index}]": key for index, key in enumerate(keys)}
    if mistake := settings.mistake_of_keys(places):
        raise ConfigError(f"keys_file: {mistake}")
    return settings.model_copy(update={"keys": (*settings.keys, *keys)})


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        content = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"keys_file: {path}: {error.strerror}") from None
    except NotYaml:
        raise ConfigError(f"keys_file: {path}: not YAML") from None
    if not isinstance(content, list):
        raise ConfigError(f"keys_file: {path}: must be a list of keys, each with a name and a sha256; [] is none")
    try:
        return _KEYS.validate_python(content)
    except ValidationError as error:
        mistakes = [f"keys_file: {path}: {_mistake(each)}" for each in error.errors(include_input=False)]
        raise ConfigError("\n".join(mistakes)) from None


def _mistake(error: ErrorDetails) -> str:
    # The one message that quotes is ours: of a key that does not exist.
    known = f"has an unknown key; known: {', '.join(ApiKey.model_fields)}"
    return f"{key_path(error['loc'])}: {known if error['type'] == 'value_error' else error['msg']}"
