from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from serve_app.dialects.json_text import MAX_DIGITS, MAX_VALUES, parse_json


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2, 2.5, None, True, "ü"]},
        [0] * MAX_VALUES,
        "x" * 10**7,
        {"a": ",[{" * 1000},
        10**MAX_DIGITS - 1,
    ],
)
def test_what_honest_clients_send_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("unit", ["{}", "[]", "1", '""', "[[]]", "[" * 500 + "]" * 500, '{"":' * 100 + "1" + "}" * 100])
def test_more_values_are_refused_before_any_is_made(unit: str) -> None:
    text = f"[{','.join([unit] * (10**6 // len(unit)))}]"
    tracemalloc.start()
    with pytest.raises(ValueError, match="too many values"):
        parse_json(text)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a":' * 10**6, "9" * (MAX_DIGITS + 1), "-" + "9" * 5000, "", "nul", "[1,]", "{'a':1}"]
)
def test_what_python_cannot_read_is_one_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)
