from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.report import words
from pytest_drdrill.report.safe import first_lines, padded, visible, width

ANY = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain… text ✓", "plain… text ✓"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202e\u2066", "\\u202e\\u2066"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("\ufffd 日本 👩\u200d🚒", "\ufffd 日本 👩\u200d🚒"),
        ("a" * 41, "a" * 39 + "…"),
        ("a" * 40, "a" * 40),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text, 40) == shown


@given(text=ANY, limit=st.integers(1, 50))
def test_visible_is_bounded_and_stays_what_it_is(text: str, limit: int) -> None:
    shown = visible(text, limit)
    assert len(shown) <= limit
    assert visible(shown, limit) == shown


def test_first_lines() -> None:
    assert first_lines("a\n\n  b\x1b\n", 3, 20) == ["a", "  b\\x1b"]
    assert first_lines("a\nb\nc\n", 2, 20) == ["a", "b", "…"]
    assert first_lines("", 2, 20) == []
    assert first_lines("\n" * 10_000 + "late", 2, 20) == ["late"]
    assert first_lines("x" * 100_000, 2, 20) == ["x" * 19 + "…", "…"]


def test_columns_are_counted_as_a_terminal_does() -> None:
    assert [width(text) for text in ("abc", "日本", "e\u0301")] == [3, 4, 1]
    assert padded("日本", 6) == "日本  "
    assert padded("1", 3, right=True) == "  1"


@given(
    actual=st.floats(0, 1e9).map(lambda seconds: round(seconds, 6)),
    target=st.one_of(st.floats(0, 1e9).map(lambda seconds: round(seconds, 6)), st.none()),
)
def test_a_rounded_time_stays_on_its_side_of_the_target(actual: float, target: float) -> None:
    shown = words.actual(actual, target)
    if target is not None:
        assert (parse_duration(shown).total_seconds() > target) == (actual > target)


@pytest.mark.parametrize(
    ("actual", "target", "shown"),
    [
        (4.313, 900.0, "4.31s / 15m"),
        (900.3, 900.0, "15m0.3s / 15m"),
        (59.96, 59.97, "59.96s / 59.97s"),
        (None, 900.0, "not measured / 15m"),
        (None, None, "-"),
        (4.313, None, "4.31s"),
        (1e20, 1e19, "1e+20s / 1e+19s"),
    ],
)
def test_times_beside_their_targets(actual: float, target: float, shown: str) -> None:
    assert words.beside(actual, target) == shown


@pytest.mark.parametrize(
    ("value", "beside", "shown"),
    [
        (99.99, None, "99.99%"),
        (99.86130374479889, 99.99, "99.86%"),
        (99.98999, 99.99, "99.98999%"),
        (95.45454545, 99.5, "95.45%"),
        (100.0, None, "100%"),
        (99.0, 98.0, "99%"),
    ],
)
def test_percentages_keep_their_side_too(value: float, beside: float, shown: str) -> None:
    assert words.percent(value, beside) == shown


def test_the_room_imports_little() -> None:
    code = """
import sys
before = set(sys.modules)
import pytest_drdrill.report.terminal, pytest_drdrill.report.markdown, pytest_drdrill.report.html
import pytest_drdrill.report.files, pytest_drdrill.report.junit
new = set(sys.modules) - before
heavy = {"pytest", "_pytest", "asyncio", "jinja2", "pytest_html", "ssl", "hypothesis", "tempfile"}
assert not new & heavy, new & heavy
own = {name for name in new if name.startswith("pytest_drdrill.")}
known = {"pytest_drdrill.report", "pytest_drdrill.durations", "pytest_drdrill.text",
         "pytest_drdrill.late", "pytest_drdrill.evidence"}
strange = {name for name in own if not name.startswith(tuple(known))}
assert not strange, strange
"""
    subprocess.run([sys.executable, "-c", code], check=True)
