"""JSON as clients send it, within bounds that no honest body comes near."""

from __future__ import annotations

import json
from typing import Any

# In one text. Python's objects take up to 25 times the memory of their text, and a second of the event loop for what a
# body may hold of them; pictures are long texts, and few values.
MAX_VALUES = 20_000
MAX_DIGITS = 1000  # the time to read a number grows with their square, and early releases of Python know no limit


def parse_json(text: str) -> Any:
    """Raises ValueError, a JSONDecodeError where the text is not JSON, and no other error."""
    # Every value comes after one of these. Not exact, since texts hold them too, but it needs no parser.
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise ValueError("too many values")
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("too long a number")
    return int(digits)
