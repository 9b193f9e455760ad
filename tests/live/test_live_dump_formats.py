"""What is no dump that can be restored is one clear sentence, before anything is started."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from pathlib import Path

import pytest
from dump_site import copied, postgres_of

from pytest_drdrill import (
    ComponentMissing,
    DumpRefused,
    PostgresBinaries,
    latest_backup,
    restore_dump,
)
from pytest_drdrill.live.dumps import binaries
from pytest_drdrill.live.dumps.binaries import binaries_for
from pytest_drdrill.live.dumps.formats import format_of, opened_plain

PLAIN = b"--\n-- PostgreSQL database dump\n--\n"


def packed(content):
    """By gzip, the same at whatever time: it names a test, which all workers must know."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it has zero bytes, so the dump itself went wrong"),
        (b"hello", "is no PostgreSQL dump: neither an archive of pg_dump, nor text"),
        (bytes(range(256)) * 300, "is no PostgreSQL dump"),
        (b"-- MySQL dump 10.13\n", "is a dump of MySQL, not a PostgreSQL dump"),
        (b"SQLite format 3\0", "is a database of SQLite, not"),
        (b"PK\x03\x04...", "is a zip archive: unpack it first"),
        (b"age-encryption.org/v1\n-> X25519", r"is encrypted \(age\); decrypt it, and give that"),
        (b"-----BEGIN PGP MESSAGE-----\n", r"is encrypted \(GnuPG\)"),
        (b"Salted__12345678", r"is encrypted \(openssl\)"),
        (packed(b"Salted__12345678"), r"is encrypted \(openssl\)"),
        (
            packed(packed(PLAIN)),
            "is compressed twice, by gzip over gzip; unpack",
        ),
        (packed(bz2.compress(PLAIN)), "is compressed twice, by gzip over bzip2"),
        (packed(b""), "holds nothing: unpacked by gzip, it has zero bytes"),
        (
            packed(b"PGDMP\x01\x0e"),
            "is a custom dump compressed by gzip; unpack it",
        ),
        (
            packed(PLAIN)[:12],
            "is cut or damaged right at its beginning: gzip",
        ),
        (
            b"PGDMP\x01\x0e\x00\x04\x08\x03",
            "is the table of contents of a dump in directory",
        ),
    ],
)
def test_a_file_that_is_no_dump_is_told_for_what_it_is(tmp_path, content, message):
    dump = tmp_path / "dump"
    dump.write_bytes(content)
    with pytest.raises(DumpRefused, match=message) as caught:
        restore_dump(dump)
    assert str(dump) in str(caught.value)
    assert list(tmp_path.iterdir()) == [dump]


def test_what_is_not_there_or_no_whole_folder_is_told(tmp_path):
    with pytest.raises(DumpRefused, match="none can't be read: No such file or directory"):
        restore_dump(tmp_path / "none")
    with pytest.raises(DumpRefused, match=r"is a folder without toc\.dat.*: it is empty"):
        restore_dump(tmp_path)
    (tmp_path / "3404.dat").touch()
    with pytest.raises(DumpRefused, match="pg_dump -Fd writes that file last"):
        restore_dump(tmp_path)
    with pytest.raises(TypeError, match="a dump is named by its path, not 5"):
        restore_dump(5)


def test_a_foreign_tar_is_none_of_ours(tmp_path):
    dump = tmp_path / "base.tar"
    (tmp_path / "PG_VERSION").write_text("15\n")
    with tarfile.open(dump, "w") as tar:
        tar.add(tmp_path / "PG_VERSION", "PG_VERSION")
    with pytest.raises(DumpRefused, match=r"is a tar file, but none of pg_dump, whose"):
        restore_dump(dump)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_plain_dump_is_read_through_its_compression(tmp_path, pack):
    dump = tmp_path / "dump"
    dump.write_bytes(pack(PLAIN))
    assert format_of(dump) == "plain"
    with opened_plain(dump) as file:
        assert file.read() == PLAIN


def test_a_program_that_would_unpack_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    dump = tmp_path / "dump.zst"
    dump.write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(ComponentMissing, match=r"lacks zstd, which unpacks .*; install it: apt"):
        restore_dump(dump)


def test_names_say_nothing(source, tmp_path):
    dump = copied(source.of_kind("custom"), tmp_path)
    hostile = dump.rename(tmp_path / "-rf; $(touch x) 'é\n.sql")
    assert format_of(hostile) == "custom"
    with restore_dump(hostile) as restored:
        assert restored.format == "custom"
    assert list(tmp_path.iterdir()) == [hostile]


@pytest.fixture
def three(monkeypatch, tmp_path):
    found = [PostgresBinaries(tmp_path, f"{major}.1", major) for major in (15, 18, 13)]
    monkeypatch.setattr(binaries, "installed", lambda: found)


@pytest.mark.parametrize(
    ("versions", "major"),
    [
        (("15.18 (Debian 15.18-0+deb12u1)", "15.18"), 15),
        (("9.6.24", "12.1"), 13),
        (("13.2", "15.4"), 15),  # pg_dump writes for its own major
        (("16.1", "16.1"), 18),
        (("17beta2", ""), 18),
        (("", ""), 18),
    ],
)
def test_the_nearest_major_that_can_take_a_dump_is_taken(three, versions, major):
    assert binaries_for(*versions).major == major


def test_a_dump_of_a_newer_major_says_which_one_it_takes(three):
    with pytest.raises(DumpRefused) as caught:
        binaries_for("19.2", "19.2")
    assert str(caught.value) == (
        "the dump is of PostgreSQL 19, and the newest one on this machine is 18.1: it takes a "
        "server of major 19 or newer to restore it"
    )


def test_a_dump_of_a_newer_major_is_refused_before_a_server_is_started(source, tmp_path):
    dump = copied(source.of_kind("plain"), tmp_path)
    text = dump.read_bytes().replace(b"Dumped from database version 1", b"Dumped from database v")
    dump.write_bytes(text.replace(b"Dumped from database v", b"Dumped from database version 9"))
    with pytest.raises(DumpRefused, match=r"it takes a server of major 9\d or newer"):
        restore_dump(dump)


def test_a_machine_without_postgresql_can_not_verify(source, tmp_path, monkeypatch):
    with pytest.raises(ComponentMissing, match=r"lacks postgres and initdb in .*; install it: "):
        restore_dump(source.of_kind("plain"), binaries=tmp_path)
    monkeypatch.setattr(binaries, "installed", list)
    with pytest.raises(ComponentMissing, match=r"lacks a PostgreSQL server; .*apt-get install"):
        restore_dump(source.of_kind("plain"))


def test_the_programs_that_are_named_are_used(source):
    folder = postgres_of("newest").folder
    with restore_dump(source.of_kind("custom"), binaries=folder) as restored:
        assert restored.server_version == postgres_of("newest").version
        assert restored.findings == ()


def test_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(DumpRefused, match=f"^{path} is neither a file nor a folder, and a"):
            restore_dump(path)


def test_what_no_path_can_be_is_one_sentence(tmp_path):
    with pytest.raises(DumpRefused, match=r"^/x\\x00y is no path of a file$"):
        restore_dump("/x\0y")


@pytest.mark.parametrize(
    "address",
    ["postgresql://app:s3cret@db/x", "host=db password=s3cret", "https://s3cret@backups/x.dump"],
)
def test_the_address_of_a_server_is_no_dump_and_is_not_shown(address):
    for take in (restore_dump, latest_backup):
        with pytest.raises(ValueError, match=r", not an address that may hold a .* \(not shown\)"):
            take(address)
