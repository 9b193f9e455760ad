"""A dump that was cut is never restored as if it were whole, wherever it was cut."""

from __future__ import annotations

import gzip

import pytest
from dump_site import copied

from pytest_drdrill import DumpRefused, RestoreUnsound
from pytest_drdrill.live.dumps.archive import CutError
from pytest_drdrill.live.dumps.whole import archive_of, check_whole

PLACES = 30


class StartedError(Exception):
    """A server was started."""


@pytest.fixture
def no_server(monkeypatch):
    """What is found out before a server is started costs nothing."""

    def started(*_):
        raise StartedError

    monkeypatch.setattr("pytest_drdrill.live.dumps.restore.ScratchPostgres", started)


def cuts(size):
    """Places all over a file, its beginning and its very end among them."""
    inner = [size * place // PLACES for place in range(1, PLACES)]
    return sorted({0, 1, 7, *inner, size - 3, size - 2, size - 1})


def is_caught(restore, dump):
    try:
        restore(dump)
    except RestoreUnsound as error:
        # Nothing of ours is told beside it.
        return error.__context__ is None and "truncated" in {each.name for each in error.findings}
    except DumpRefused:
        return True
    except StartedError:
        return False
    return False


@pytest.mark.parametrize("kind", ["custom", "piped", "tar"])
def test_an_archive_is_caught_at_every_place(source, restore, tmp_path, kind, no_server):
    dump = copied(source.of_kind(kind), tmp_path)
    whole = dump.read_bytes()
    layout = "tar" if kind == "tar" else "custom"
    check_whole(dump, layout, archive_of(dump, layout), pytest.fail)
    missed = []
    for size in cuts(len(whole)):
        dump.write_bytes(whole[:size])
        if not is_caught(restore, dump):
            missed.append(size)
    assert missed == []


@pytest.mark.parametrize("kind", ["plain", "inserts", "created", "windows"])
def test_a_plain_dump_is_caught_at_every_place(source, restore, tmp_path, kind, no_server):
    dump = copied(source.of_kind("plain" if kind == "windows" else kind), tmp_path)
    whole = dump.read_bytes().rstrip(b"\n")
    if kind == "windows":
        whole = whole.replace(b"\n", b"\r\n")
    dump.write_bytes(whole)
    with pytest.raises(StartedError):
        restore(dump)
    missed = []
    for size in cuts(len(whole)):
        dump.write_bytes(whole[:size])
        if not is_caught(restore, dump):
            missed.append(size)
    assert missed == []


@pytest.mark.parametrize("kind", ["directory", "bare_directory", "inserted_directory"])
def test_each_file_of_a_directory_is_caught_at_every_place(
    source, restore, tmp_path, kind, no_server
):
    options = ("-Fd", "-Z0", "--inserts")
    dump = source.dump(kind, *options) if "inserted" in kind else source.of_kind(kind)
    dump = copied(dump, tmp_path)
    check_whole(dump, "directory", archive_of(dump, "directory"), pytest.fail)
    missed = []
    for path in sorted(dump.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        assert is_caught(restore, dump)
        if path.name.startswith("blob_") and path.suffix == ".dat":
            path.write_bytes(whole)
            continue  # nothing tells how long a large object should be
        for size in {each for each in cuts(len(whole)) if 0 <= each < len(whole)}:
            path.write_bytes(whole[:size])
            if not is_caught(restore, dump):
                missed.append((path.name, size))
        path.write_bytes(whole)
    assert missed == []


def test_a_compressed_dump_is_caught_by_the_end_of_its_restore(source, restore, tmp_path):
    dump = copied(source.of_kind("gzip"), tmp_path)
    whole = dump.read_bytes()
    for size in (0, 1, 30, 40):
        dump.write_bytes(whole[:size])
        with pytest.raises(DumpRefused):
            restore(dump)
    dump.write_bytes(whole[: len(whole) * 4 // 5])
    with pytest.raises(RestoreUnsound, match=r"truncated: .* its compression breaks off"):
        restore(dump)
    # Compressed by one program from what another one had cut: each of them ended well.
    rows = gzip.decompress(whole)
    dump.write_bytes(gzip.compress(rows[: rows.index(b"\n200\t")]))
    with pytest.raises(RestoreUnsound, match="in the middle of the rows of a table"):
        restore(dump)


def test_what_psql_itself_restores_without_a_word_may_be_ignored_by_name(source, restore, tmp_path):
    dump = copied(source.of_kind("plain"), tmp_path)
    dump.write_bytes(dump.read_bytes().partition(b"\n200\t")[0] + b"\n")
    ignore = dict.fromkeys(("truncated", "view_unpopulated", "sequence_behind"), "a lesson")
    restored = restore(dump, ignore=ignore)
    assert {each.name for each in restored.findings if each.ignored} == set(ignore)
    assert restored.tables["orders"] == 199  # as many as there are


def test_garbage_in_an_archive_is_no_archive(source, tmp_path):
    dump = copied(source.of_kind("piped"), tmp_path)
    whole = dump.read_bytes()
    end = archive_of(dump, "custom").end
    for at, garbage in ((8, b"\xff"), (13, b"\xff" * 80), (end, b"\x09"), (end + 6, b"\xff" * 9)):
        dump.write_bytes(whole[:at] + garbage + whole[at + len(garbage) :])
        with pytest.raises(CutError):
            check_whole(dump, "custom", archive_of(dump, "custom"), pytest.fail)


def test_a_newer_layout_is_left_to_pg_restore(source, restore, tmp_path):
    dump = copied(source.of_kind("custom"), tmp_path)
    data = bytearray(dump.read_bytes())
    data[6] = 99
    dump.write_bytes(data)
    with pytest.raises(RestoreUnsound) as caught:
        restore(dump)
    named = {each.name: each.text for each in caught.value.findings}
    assert named["not_checked"].startswith("whether it is whole: its layout, 1.99, is newer than")
    assert "unsupported version (1.99)" in named["failed_statement"]
