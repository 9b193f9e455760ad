"""Secrets kept out of what pytest shows of a drill, and out of its evidence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from pytest_drdrill.redact import secrets_of, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

_SECRET_NAME = re.compile("password|passwd|secret|token|redis_?cli_?auth", re.IGNORECASE)
_OF_PYTEST = "_pytest._code"
_UNTOUCHED = ("nodeid", "repeat")
"""Keys of a record by which others know the drill."""
_Any = TypeVar("_Any")


def secrets_of_environment(variables: Mapping[str, str]) -> Iterator[str]:
    """What variables hold that are called a password or a token, and addresses in others."""
    for name, value in variables.items():
        is_path = value.startswith("/")  # of a file that has it
        if _SECRET_NAME.search(name) and not is_path:
            yield value
        elif "@" in value and "://" in value:
            yield from secrets_of(value)


def redact_report(report: pytest.TestReport) -> None:
    """Leave secrets out of a report: its traceback, with the values in it, and what was captured.

    A frame is shown with what its function was called with, and with ``--showlocals`` all that it
    knows: the connection string that a drill opened, and what a driver made of it.
    """
    found = report.longrepr
    if isinstance(found, str | tuple) or found is None:
        report.longrepr = redacted(found)
    elif without_secrets(text := str(found)) != text:
        _redact_parts(found, set())
    if hasattr(report, "wasxfail"):
        report.wasxfail = without_secrets(report.wasxfail)
    report.sections[:] = redacted(report.sections)


def redacted(value: _Any) -> _Any:
    """A text, or plain values of any depth, without secrets."""
    found: object = value
    if isinstance(value, str):
        found = without_secrets(value)
    elif isinstance(value, list):
        found = [redacted(each) for each in value]
    elif isinstance(value, tuple):
        found = tuple(redacted(each) for each in value)
    elif isinstance(value, dict):
        found = {
            name: each if name in _UNTOUCHED else redacted(each) for name, each in value.items()
        }
    return found  # type: ignore[return-value] # of the kind that it was


def _redact_parts(part: object, seen: set[int]) -> None:
    """Go through what pytest made of an error: its entries, their lines, arguments and values."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, list | tuple):
        for each in part:
            _redact_parts(each, seen)
    elif type(part).__module__.startswith(_OF_PYTEST):
        for name, value in vars(part).items():
            if _is_text(value):
                setattr(part, name, redacted(value))
            else:
                _redact_parts(value, seen)


def _is_text(value: object) -> bool:
    """Whether it is a text, or holds texts alone."""
    if isinstance(value, list | tuple):
        return all(_is_text(each) for each in value)
    return isinstance(value, str)
