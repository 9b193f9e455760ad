import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill.text import NAME_LIMIT, TEXT_LIMIT, storable


class Broken:
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("naïve ☂ 🔥", "naïve ☂ 🔥"),
        ("bad \udc80 name", "bad \\udc80 name"),
        (15, "15"),
        (None, "None"),
        (b"x", "b'x'"),
        (Broken(), "<Broken whose str() raised RuntimeError>"),
    ],
)
def test_what_is_stored(value, text):
    assert storable(value) == text


@given(st.text(st.characters()), st.integers(0, 20))
def test_any_text_reaches_a_utf8_file_at_a_bounded_length(text, limit):
    stored = storable(text, limit)
    assert json.loads(json.dumps(stored).encode()) == stored
    assert len(stored) <= 6 * limit + 50
    if len(text) <= limit and all(not 0xD800 <= ord(sign) < 0xE000 for sign in text):
        assert stored == text


def test_cut_text_says_how_much_is_missing():
    assert storable("x" * 1_000_000) == "x" * TEXT_LIMIT + "… (990,000 more characters)"
    assert storable("é" * 501, NAME_LIMIT) == "é" * 500 + "… (1 more characters)"
    assert storable("x" * NAME_LIMIT, NAME_LIMIT) == "x" * NAME_LIMIT
