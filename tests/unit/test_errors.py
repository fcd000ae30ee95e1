"""The exception tree itself; what it means over HTTP is tested in serve_app/test_errors.py."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from deployments import errors
from deployments.errors import EaselError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, EaselError)]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_class_crosses_a_process_border_with_all_its_fields(kind: type[EaselError], protocol: int) -> None:
    error = kind("What happened.", code="own_code", param="size", retry_after_seconds=7.5)
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert vars(copy) == {
        "message": "What happened.",
        "code": "own_code",
        "param": "size",
        "retry_after_seconds": 7.5,
    }
    assert str(copy) == "What happened."


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_not_said_stays_unsaid(kind: type[EaselError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("What happened.")))
    assert (copy.code, copy.param, copy.retry_after_seconds) == (kind.default_code, None, None)


def test_every_class_has_a_code_of_its_own_that_a_program_can_use() -> None:
    codes = [kind.default_code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all("default_code" in vars(kind) for kind in CLASSES)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in codes)


def test_the_drawing_shows_the_tree() -> None:
    assert errors.__doc__
    above = ["Exception"]  # those whose branches are open
    drawn = {}
    for indent, name in re.findall(r"^([│├└─ ]*)([A-Z]\w+)(?:$|  )", errors.__doc__, re.M):
        del above[len(indent) // 4 + 1 :]
        drawn[name] = above[-1]
        above.append(name)
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in CLASSES if kind.__base__}
