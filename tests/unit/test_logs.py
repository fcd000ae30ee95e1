"""Where our records go, and what of an error is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from deployments import logs
from deployments.errors import GenerationFailed, Overloaded
from deployments.logs import OURS, SERVES, join_serves_log, nothing_but_own_errors, without_text

TEXT = "SECRET"  # in no line of the code that a traceback shows


def fails() -> None:
    raise ValueError(TEXT)


def chained(hidden: bool) -> Exception:
    """An error that came from one of the system; `hidden`: and does not say so."""
    try:
        try:
            raise OSError(28, TEXT, TEXT)
        except OSError as error:
            if hidden:
                raise RuntimeError(TEXT) from None
            raise RuntimeError(TEXT) from error
    except RuntimeError as error:
        return error


class TestWithoutText:
    def test_is_type_and_place(self) -> None:
        with pytest.raises(ValueError, match=TEXT) as raised:
            fails()
        told = without_text(raised.value)
        assert "in fails\n" in told
        assert told.endswith("ValueError")
        assert TEXT not in told

    def test_is_of_what_it_came_from_too_which_the_system_names(self) -> None:
        told = without_text(chained(hidden=False))
        first, second = told.split("\nled to\n")
        assert first.endswith("OSError (ENOSPC)")
        assert second.endswith("RuntimeError")
        assert TEXT not in told

    def test_is_not_of_what_is_hidden(self) -> None:
        assert "OSError\n" not in without_text(chained(hidden=True))
        assert "led to" not in without_text(chained(hidden=True))

    def test_ends_where_an_error_came_from_itself(self) -> None:
        error = ValueError(TEXT)
        error.__cause__ = error
        assert without_text(error) == "ValueError"

    @pytest.mark.parametrize("error", [OSError(TEXT), OSError(TEXT, TEXT), OSError(10**6, TEXT)])
    def test_is_the_type_alone_where_the_system_has_no_number(self, error: OSError) -> None:
        assert without_text(error) == "OSError"


class TestNothingButOwnErrors:
    def test_is_passed_on(self, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(GenerationFailed) as raised, nothing_but_own_errors():
            fails()
        assert raised.value.message == "The service failed on this request (ValueError)."
        assert raised.value.__suppress_context__
        (record,) = caplog.records
        assert record.getMessage().endswith("ValueError")
        assert "in fails\n" in record.getMessage()

    def test_keeps_those_of_the_tree_but_not_what_they_came_from(self, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(Overloaded, match="Full") as raised, nothing_but_own_errors():
            raise Overloaded("Full.", retry_after_seconds=7) from chained(hidden=False)
        assert raised.value.retry_after_seconds == 7
        assert raised.value.__cause__ is None
        assert caplog.records == []

    def test_lets_a_cancellation_pass(self) -> None:
        with pytest.raises(KeyboardInterrupt), nothing_but_own_errors():
            raise KeyboardInterrupt


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.name, record.getMessage()))


@pytest.fixture
def serves(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """What Serve's log has; afterwards our loggers are as they were."""
    kept, logger = Kept(), logging.getLogger(SERVES)
    monkeypatch.setattr(logger, "handlers", [kept])
    level = logger.level
    logger.setLevel(logging.INFO)
    yield kept
    logger.setLevel(level)
    for name in OURS:
        logging.getLogger(name).removeHandler(logs._TO_SERVE)
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_what_our_modules_say_is_in_serves_log_once(serves: Kept) -> None:
    join_serves_log()
    join_serves_log()
    for name in ("deployments.engine.engine", "serve_app.request_log"):
        logging.getLogger(name).info("said by %s", name)
        logging.getLogger(name).debug("below Serve's level")
    logging.getLogger("another").warning("of others")
    assert serves.said == [
        ("deployments.engine.engine", "said by deployments.engine.engine"),
        ("serve_app.request_log", "said by serve_app.request_log"),
    ]
