"""A manifest's lines: those that need no parser of JSON are read as the parser would read them."""

import re
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill.backup import entry as entry_module
from pytest_drdrill.backup.entry import Entry, parse_line
from pytest_drdrill.backup.tar import _sum

ODD = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
PARTS = st.sampled_from(["a", "b.py", "x y", "~"]) | st.sampled_from([".", "..", '"', "\\"]) | ODD
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join) | st.just("plain/path")
NUMBERS = st.integers(0, 10**9) | st.integers(0, 2**64)
TIMES = st.integers(-(10**10), 10**19) | st.integers(-(10**20), 10**20)
DIGEST = "0123456789abcdef" * 4
KINDS = st.sampled_from(
    [
        {"type": "file", "sha256": DIGEST},
        {"type": "file", "sha256": DIGEST, "hardlink": "a"},
        {"type": "file", "sha256": DIGEST, "hardlink": "../a"},
        {"type": "file", "sha256": DIGEST[1:]},
        {"type": "folder", "size": 0},
        {"type": "folder"},
        {"type": "symlink", "size": 0, "target": "../../a"},
        {"type": "symlink", "size": 0, "target": "\u00e4"},
        {"type": "symlink", "size": 0},
    ]
)
ENTRIES = st.builds(
    lambda entry, kind: replace(entry, **kind),
    st.builds(
        Entry,
        path=PATHS,
        type=st.just("file"),
        size=NUMBERS,
        mode=st.integers(0, 0o7777),
        uid=NUMBERS,
        gid=NUMBERS,
        mtime_ns=TIMES,
        ctime_ns=TIMES,
        ino=NUMBERS,
        nlink=NUMBERS,
        backup=st.sampled_from(["000001-full-20260101T000000Z", "1-full"]),
        offset=NUMBERS,
    ),
    KINDS,
)


def outcome(line):
    try:
        return parse_line(line)
    except (TypeError, ValueError, KeyError) as error:
        return str(error)


def by_the_parser(line):
    with mock.patch.object(entry_module, "_plain", return_value=re.compile("(?!)")):
        return outcome(line)


@given(ENTRIES)
def test_each_line_is_read_as_the_parser_reads_it(entry):
    assert outcome(entry.line()) == by_the_parser(entry.line())


@given(ENTRIES, st.data())
def test_so_is_a_line_with_other_bytes_in_it(entry, data):
    line = bytearray(entry.line())
    at = data.draw(st.integers(0, len(line) - 2))
    line[at : at + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([b"0", b"-", b"1e5", b".5", b" ", b'"', b"\\", b"\x00", b"\n", b"{", b"a"])
    )
    assert outcome(bytes(line)) == by_the_parser(bytes(line))


PLAIN = Entry("a/b", "symlink", 0, 0o777, 0, 0, 10**18, 10**18, 7, 1, target="../c")
PLAIN.backup = "000001-full-20260101T000000Z"
NUMBER_FIELDS = ["size", "uid", "gid", "mtime_ns", "ctime_ns", "ino", "nlink", "offset"]


@pytest.mark.parametrize("field", NUMBER_FIELDS)
@pytest.mark.parametrize("begin", ["0", "-", "-0", "+", "1" * 30, "_"])
def test_so_is_a_line_with_another_way_to_write_a_number(field, begin):
    line = PLAIN.line().replace(f'"{field}":'.encode(), f'"{field}":{begin}'.encode())
    assert outcome(line) == by_the_parser(line)


def test_an_ordinary_line_needs_no_parser():
    with mock.patch.object(entry_module, "_decode", None):
        assert parse_line(PLAIN.line()) == PLAIN


@given(st.binary(min_size=512, max_size=512) | st.sampled_from([bytes(512), b"\xff" * 512]))
def test_the_sum_of_a_header_is_that_of_its_bytes(block):
    assert _sum(block) == sum(block)
