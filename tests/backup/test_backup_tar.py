"""Headers packed by hand, read back by the standard library's own reader."""

import io
import os
import tarfile

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_drdrill.backup.entry import Entry
from pytest_drdrill.backup.tar import END, header, padding

PARTS = st.binary(min_size=1, max_size=140).map(
    lambda part: part.replace(b"/", b"_").replace(b"\0", b"_")
)
PATHS = (
    st.lists(PARTS, min_size=1, max_size=6)
    .map(b"/".join)
    .filter(lambda path: not {b".", b".."} & set(path.split(b"/")))
)


def member(entry):
    raw = header(entry)
    assert len(raw) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(raw + END), errors="surrogateescape") as tar:
        (found,) = tar.getmembers()
    return found


def entry_of(path, kind="file", **values):
    plain = {"size": 0, "mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 0}
    plain |= {"ctime_ns": 0, "ino": 1, "nlink": 1}
    return Entry(os.fsdecode(path), kind, **(plain | values))


@settings(max_examples=300, deadline=None)
@given(PATHS, st.sampled_from(["file", "folder"]))
@example(b"a" * 100, "file")
@example(b"a" * 100, "folder")
@example(b"a" * 101, "file")
@example(b"p" * 155 + b"/" + b"n" * 100, "file")
@example(b"p" * 156 + b"/" + b"n" * 99, "file")
@example(b"p" * 155 + b"/" + b"n" * 99, "folder")
@example(b"\xff" * 300, "file")
def test_any_name(path, kind):
    found = member(entry_of(path, kind))
    assert os.fsencode(found.name) == path
    assert found.isdir() == (kind == "folder")


@settings(deadline=None)
@given(PATHS, PATHS)
def test_any_link(path, target):
    symlink = member(entry_of(path, "symlink", target=os.fsdecode(target)))
    assert (os.fsencode(symlink.linkname), symlink.issym()) == (target, True)
    linked = member(entry_of(path, hardlink=os.fsdecode(target), size=7))
    assert (os.fsencode(linked.linkname), linked.islnk(), linked.size) == (target, True, 0)


@settings(deadline=None)
@given(
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**63), 2**63 - 1),
)
@example(0, 0o7777777, 0o10000000, 0o77777777777 * 10**9)
@example(0, 0, 0, 0o100000000000 * 10**9)
@example(0, 0, 0, -1)
def test_any_number(mode, uid, gid, mtime_ns):
    found = member(entry_of(b"f", "folder", mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns))
    assert (found.mode, found.uid, found.gid) == (mode, uid, gid)
    assert int(found.mtime) == mtime_ns // 10**9


def test_a_size_beyond_ustar():
    for size in (0o77777777777, 0o77777777777 + 1, 2**60):
        raw = header(entry_of(b"large", size=size))
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            assert tar.next().size == size
        assert len(raw) == (512 if size <= 0o77777777777 else 3 * 512)


def test_padding_fills_blocks():
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
