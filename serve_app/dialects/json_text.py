"""JSON as clients send it, within bounds that no honest body comes near."""

from __future__ import annotations

import json
from typing import Any

# In one text. Python's objects take up to 25 times the memory of their text, and a second of the event loop for what a
# body may hold of them; pictures are long texts, and few values.
MAX_VALUES = 20_000


def parse_json(text: str) -> Any:
    """Raises ValueError, a JSONDecodeError where the text is not JSON, and no other error."""
    if text.count(",") > MAX_VALUES:  # not exact, since texts hold commas too, but it needs no parser
        raise ValueError("too many values")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
