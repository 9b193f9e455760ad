"""Sparse files and extended attributes: kept, small on the disk, and readable for tar."""

import errno
import json
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from backup_trees import flip, picture, rewrite_manifest
from hypothesis import given
from hypothesis import strategies as st

from needs import lacks
from pytest_drdrill.backup import (
    BackupDamaged,
    FullBackupStrategy,
    IncrementalBackupStrategy,
    capture,
    status,
)
from pytest_drdrill.backup.sparse import LIMIT, segments, sparse_map

MIB = 1 << 20
# owner rw, user 12345 r, group r, mask r, others none
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, rights, who)
    for tag, rights, who in [
        (0x01, 6, 2**32 - 1),
        (0x02, 4, 12345),
        (0x04, 4, 2**32 - 1),
        (0x10, 4, 2**32 - 1),
        (0x20, 0, 2**32 - 1),
    ]
)


def on_disk(path):
    return path.stat().st_blocks * 512


def write_sparse(path, size, *pieces):
    with path.open("wb") as file:
        for at, data in pieces:
            file.seek(at)
            file.write(data)
        file.truncate(size)
    if on_disk(path) >= size:
        lacks("a file system that keeps holes")


@pytest.fixture
def sparse(small):
    """Files with holes in the middle, at both ends, and nothing but a hole."""
    write_sparse(small / "middle", 9 * MIB, (0, b"begin" * 1000), (8 * MIB, b"x" * MIB))
    write_sparse(small / "ends", 9 * MIB + 7, (4 * MIB, b"data" * 5000))
    write_sparse(small / "hole", 5 * MIB + 1)
    return small


@pytest.fixture
def attributed(small):
    try:
        os.setxattr(small / "a.txt", "user.origin", b"\x00\xff\n=binary")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            lacks("a file system with extended attributes")
        raise
    os.setxattr(small / "a.txt", "user.empty", b"")
    os.setxattr(small / "sub", "user.of a folder", b"folder")
    os.setxattr(small, "user.root", b"root")
    return small


def attributes(root):
    return {
        path.relative_to(root): {name: os.getxattr(path, name) for name in os.listxattr(path)}
        for path in [root, *sorted(root.rglob("*"))]
    }


def entry_of(job, path):
    lines = map(json.loads, job.manifest_path.read_text("ascii").splitlines())
    return next(entry for entry in lines if entry["path"] == path)


def test_sparse_files_come_back_sparse(full, sparse, vault, tmp_path):
    job = full.create_backup(sparse, vault)
    assert job.size_bytes == 23 * MIB + 8 + len("alphabetazeta")
    assert job.stored_bytes < 2 * MIB
    assert full.verify_backup(job).size_bytes == job.size_bytes
    restored = tmp_path / "restored"
    full.restore_backup(job, restored)
    assert picture(restored) == picture(sparse)
    for name in ("middle", "ends", "hole"):
        assert on_disk(restored / name) <= on_disk(sparse / name)


def test_tar_gives_sparse_files_back(full, sparse, vault, tmp_path):
    job = full.create_backup(sparse, vault)
    for program in ("tar", "tarfile"):
        to = tmp_path / program
        to.mkdir()
        if program == "tar":
            subprocess.run(["tar", "xf", job.path / "data.tar", "-C", to], check=True)
        else:
            with tarfile.open(job.path / "data.tar") as tar:
                # Python 3.11 has filters from 3.11.4 on.
                trusting = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                tar.extractall(to, **trusting)
        for name in ("middle", "ends", "hole", "z.txt"):
            assert (to / name).read_bytes() == (sparse / name).read_bytes()
        assert on_disk(to / "hole") < MIB


def test_a_hole_in_the_middle_of_a_chain(sparse, vault, tmp_path):
    strategy = IncrementalBackupStrategy()
    strategy.create_backup(sparse, vault)
    assert strategy.create_backup(sparse, vault).stored_bytes == 0
    with (sparse / "hole").open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"filled")
    job = strategy.create_backup(sparse, vault)
    assert entry_of(job, "hole")["backup"] == job.id
    assert entry_of(job, "middle")["backup"] != job.id
    strategy.verify_backup(job)
    strategy.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(sparse)


def test_a_byte_of_a_sparse_file_flipped(full, sparse, vault, tmp_path):
    job = full.create_backup(sparse, vault)
    where = (job.path / "data.tar").read_bytes().index(b"datadata")
    flip(job.path / "data.tar", where + 100)
    with pytest.raises(BackupDamaged, match="'ends'"):
        full.verify_backup(job)
    with pytest.raises(BackupDamaged, match="'ends'"):
        full.restore_backup(job, tmp_path / "restored")


def test_the_map_of_a_sparse_file_is_verified(full, sparse, vault):
    job = full.create_backup(sparse, vault)
    chart = sparse_map(entry_of(job, "ends")["data"], 9 * MIB + 7)
    flip(job.path / "data.tar", (job.path / "data.tar").read_bytes().index(chart))
    with pytest.raises(BackupDamaged, match="'ends'"):
        full.verify_backup(job)


def test_a_sparse_file_that_shrinks_while_it_is_read(full, sparse, vault, tmp_path, monkeypatch):
    from pytest_drdrill.backup.source import Source

    real = Source.segments

    def shrink(self, path, fd, status):
        found = real(self, path, fd, status)
        if path == "middle":
            os.truncate(sparse / "middle", 4 * MIB)
            os.truncate(sparse / "middle", 9 * MIB)
        return found

    monkeypatch.setattr(Source, "segments", shrink)
    job = full.create_backup(sparse, vault)
    assert [text.partition(",")[0] for text in job.warnings] in (
        [],
        ["'middle' changed while it was read"],
    )
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    assert (tmp_path / "restored" / "middle").stat().st_size == 9 * MIB


@pytest.mark.parametrize(
    "data",
    [
        [[0, 10], [5, 10]],
        [[0, 0]],
        [[-1, 5]],
        [[0, 10**9]],
        [[0, 5, 5]],
        [[0, True]],
        [5],
        {"0": 5},
        "text",
        [[0, 1]] * (LIMIT + 1),
    ],
)
def test_forged_segments_are_refused(full, sparse, vault, tmp_path, data):
    job = full.create_backup(sparse, vault)

    def forge(entries):
        for entry in entries:
            if entry["path"] == "ends":
                entry["data"] = data
        return entries

    rewrite_manifest(job, forge)
    with pytest.raises(BackupDamaged, match="data of 'ends'"):
        full.restore_backup(job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6), st.integers(0, 9))
def test_segments_tell_where_the_data_is(tmp_path_factory, steps, tail):
    """Blocks of data at multiples of 64 KiB, which every file system keeps apart."""
    unit = 65536
    path = tmp_path_factory.mktemp("sparse") / "file"
    at, pieces = 0, []
    for gap, length in steps:
        at += gap * unit
        pieces.append([at, length * unit])
        at += length * unit
    size = at + tail * unit
    with path.open("wb") as file:
        for start, length in pieces:
            file.seek(start)
            file.write(b"x" * length)
        file.truncate(size)
    with path.open("rb") as file:
        found = segments(file.fileno(), size)
    assert found == (None if pieces == [[0, size]] or not size else pieces)
    shutil.rmtree(path.parent)


def test_attributes_come_back(full, attributed, vault, tmp_path):
    job = full.create_backup(attributed, vault)
    full.verify_backup(job)
    result = full.restore_backup(job, tmp_path / "restored")
    assert result.warnings == []
    assert attributes(tmp_path / "restored") == attributes(attributed)
    assert len(attributes(attributed)[(attributed / "a.txt").relative_to(attributed)]) == 2


def test_attributes_of_a_read_only_file(full, attributed, vault, open_folder, as_user):
    (attributed / "a.txt").chmod(0o444)
    job = full.create_backup(attributed, vault)
    for path in [vault, *vault.rglob("*"), *vault.parents]:
        path.chmod(path.stat().st_mode | 0o555)
    with as_user():
        full.restore_backup(job, open_folder / "restored")
    assert os.getxattr(open_folder / "restored" / "a.txt", "user.origin") == b"\x00\xff\n=binary"


def test_access_lists_come_back(full, small, vault, tmp_path):
    try:
        os.setxattr(small / "a.txt", "system.posix_acl_access", ACL)
    except OSError as error:
        lacks(f"access lists: {error.strerror}")
    job = full.create_backup(small, vault)
    full.restore_backup(job, tmp_path / "restored")
    there = tmp_path / "restored" / "a.txt"
    assert os.getxattr(there, "system.posix_acl_access") == ACL
    assert there.stat().st_mode == (small / "a.txt").stat().st_mode


def test_tar_gives_attributes_back(full, attributed, vault, tmp_path):
    job = full.create_backup(attributed, vault)
    (tmp_path / "to").mkdir()
    tar = ["tar", "--xattrs", "--xattrs-include=*", "-xf", job.path / "data.tar"]
    done = subprocess.run([*tar, "-C", tmp_path / "to"], capture_output=True, check=False)
    if b"xattrs" in done.stderr:
        lacks("a tar that knows extended attributes")
    assert os.getxattr(tmp_path / "to" / "a.txt", "user.origin") == b"\x00\xff\n=binary"


def test_an_attribute_alone_is_a_change(attributed, vault, tmp_path):
    strategy = IncrementalBackupStrategy()
    strategy.create_backup(attributed, vault)
    os.setxattr(attributed / "a.txt", "user.origin", b"another")
    job = strategy.create_backup(attributed, vault)
    assert entry_of(job, "a.txt")["backup"] == job.id
    strategy.restore_backup(job, tmp_path / "restored")
    assert attributes(tmp_path / "restored") == attributes(attributed)


def test_what_can_not_be_set_is_a_warning(full, attributed, vault, tmp_path, monkeypatch):
    job = full.create_backup(attributed, vault)

    def refuse(*args, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refuse)
    result = full.restore_backup(job, tmp_path / "restored")
    assert "'a.txt' lost the attribute 'user.origin', which can't be set here" in result.warnings
    assert len(result.warnings) == 4
    assert (tmp_path / "restored" / "a.txt").read_text() == "alpha"


@pytest.mark.parametrize("xattrs", [{}, {"user.a": 5}, {"user.a": "no base64!"}, [], "text"])
def test_forged_attributes_are_refused(full, small, vault, tmp_path, xattrs):
    job = full.create_backup(small, vault)

    def forge(entries):
        entries[1]["xattrs"] = xattrs
        return entries

    rewrite_manifest(job, forge)
    with pytest.raises(BackupDamaged, match=r"a\.txt|base64|padding"):
        full.restore_backup(job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_file_system_without_attributes(small, vault, tmp_path, monkeypatch):
    def none(*args, **options):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", none)
    strategy = FullBackupStrategy()
    strategy.restore_backup(strategy.create_backup(small, vault), tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


@pytest.mark.parametrize("paranoid", [True, False])
def test_a_folders_attribute_is_seen_where_times_tell_nothing(
    attributed, vault, tmp_path, monkeypatch, paranoid
):
    if paranoid:  # the file system's times are of no use
        monkeypatch.setattr(capture, "is_same", lambda entry, found: True)
    else:  # all of it had changed so shortly before that a later change may bear the same time
        monkeypatch.setattr(status, "_COARSE_NS", 10**18)
    strategy = IncrementalBackupStrategy()
    strategy.create_backup(attributed, vault)
    os.setxattr(attributed / "sub", "user.of a folder", b"another")
    job = strategy.create_backup(attributed, vault, paranoid=paranoid)
    strategy.restore_backup(job, tmp_path / "restored")
    assert attributes(tmp_path / "restored") == attributes(attributed)
    assert strategy.create_backup(attributed, vault, paranoid=paranoid).manifest_id == job.id


def test_an_attribute_that_vanishes_takes_no_other_with_it(
    full, attributed, vault, tmp_path, monkeypatch
):
    real = os.getxattr

    def get(of, name, **options):
        if name == "user.empty":
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return real(of, name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "getxattr", get)
        job = full.create_backup(attributed, vault)
    full.restore_backup(job, tmp_path / "restored")
    expected = attributes(attributed)
    del expected[Path("a.txt")]["user.empty"]
    assert attributes(tmp_path / "restored") == expected


def test_a_restored_tree_inherits_no_rights_from_where_it_is_put(full, small, vault, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    try:
        os.setxattr(shared, "system.posix_acl_default", ACL)
    except OSError:
        lacks("a file system with ACLs")
    job = full.create_backup(small, vault)
    full.restore_backup(job, shared / "restored")
    assert picture(shared / "restored") == picture(small)
    assert attributes(shared / "restored") == attributes(small)


def test_a_sparse_file_that_is_cut_off_while_its_holes_are_sought_is_read_again(
    full, small, vault, tmp_path, monkeypatch
):
    path = small / "holes"
    with path.open("wb") as file:
        for place in (0, 1 << 20, 2 << 20):
            file.seek(place)
            file.write(b"data")
    real = os.lseek
    left = [1]

    def seek(fd, at, how):
        if how == os.SEEK_HOLE and at and left[0]:
            left[0] -= 1
            os.truncate(path, 5)
        return real(fd, at, how)

    monkeypatch.setattr(os, "lseek", seek)
    job = full.create_backup(small, vault)
    assert not left[0]
    full.restore_backup(job, tmp_path / "restored")
    assert (tmp_path / "restored" / "holes").read_bytes() == b"data\0"
