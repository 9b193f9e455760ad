"""A canary's client of a folder: on real file systems that fill up, turn read-only, and vanish."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from needs import lacks, needs_root
from pytest_drdrill import Canary, Drill, FullBackupStrategy, NotRecovered, folder_canary
from pytest_drdrill.live.outcomes import MaybeWrittenError, NotReadError, NotWrittenError

KEY = "canary-20260101T000000000000-"
VALUE = "v" * 64


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def small_disk(tmp_path):
    needs_root()
    path = tmp_path / "disk"
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", path]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        lacks("the right to mount")
    yield path
    subprocess.run(["umount", path], check=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def keys(count):
    return [f"{KEY}{number}" for number in range(count)]


def test_a_file_a_write_whole_and_removed_in_the_end(folder):
    client = folder_canary(folder)
    (folder / "other").write_text("somebody else's")
    for key in keys(3):
        assert client.write(key, VALUE) is None
        assert (folder / key).read_text() == VALUE
    assert sorted(client.read_all()) == [(key, VALUE.encode()) for key in keys(3)]
    assert client.read(keys(1)[0]) == VALUE.encode()
    assert client.read(f"{KEY}9") is None
    client.close()
    client.close()
    assert names(folder) == ["other"]


def test_files_are_kept_where_that_is_asked_for(folder):
    client = folder_canary(str(folder), keep=True)
    client.write(*keys(1), VALUE)
    client.close()
    assert names(folder) == keys(1)


def test_nothing_is_read_before_something_was_written(folder):
    (folder / "other").write_text("x")
    assert folder_canary(folder).read_all() == []


def test_what_is_acknowledged_was_synced_renamed_and_its_folder_synced(folder, monkeypatch):
    done = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(handle):
        done.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real_sync(handle)

    def rename(path, to):
        done.append("rename")
        return real_rename(path, to)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    folder_canary(folder).write(*keys(1), VALUE)
    assert done == [f"{folder}/.{keys(1)[0]}.part", "rename", str(folder)]


# -- what refuses a write -------------------------------------------------------------------------


def test_a_full_disk_refuses_and_leaves_no_part(small_disk):
    client = folder_canary(small_disk)
    client.write(*keys(1), VALUE)
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(NotWrittenError, match=r"could not write .*\.part: No space left on device"):
        client.write(f"{KEY}1", VALUE)
    assert names(small_disk) == [*keys(1), "filler"]
    (small_disk / "filler").unlink()
    client.write(f"{KEY}2", VALUE)
    assert dict(client.read_all()).keys() == {f"{KEY}0", f"{KEY}2"}


def test_a_read_only_file_system_refuses_and_what_can_not_be_removed_is_told(small_disk):
    client = folder_canary(small_disk)
    client.write(*keys(1), VALUE)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(NotWrittenError, match="Read-only file system"):
        client.write(f"{KEY}1", VALUE)
    with pytest.raises(
        OSError, match=f"1 of its files stay in {small_disk}: Read-only file system"
    ):
        client.close()


def test_a_folder_that_is_gone_refuses_until_it_is_back(folder):
    client = folder_canary(folder)
    client.write(*keys(1), VALUE)
    shutil.rmtree(folder)
    with pytest.raises(NotWrittenError, match="No such file or directory"):
        client.write(f"{KEY}1", VALUE)
    assert client.read(*keys(1)) is None
    with pytest.raises(NotReadError, match=f"could not read {folder}: No such file or directory"):
        client.read_all()
    folder.write_text("now a file")
    with pytest.raises(NotWrittenError, match="Not a directory"):
        client.write(f"{KEY}2", VALUE)
    assert client.read(*keys(1)) is None
    client.close()
    folder.unlink()
    folder.mkdir()
    folder_canary(folder).write(f"{KEY}3", VALUE)


def test_a_folder_that_is_swapped_is_the_one_that_is_written_to(folder):
    client = folder_canary(folder)
    client.write(*keys(1), VALUE)
    folder.rename(f"{folder}.old")
    folder.mkdir()
    client.write(f"{KEY}1", VALUE)
    assert dict(client.read_all()).keys() == {f"{KEY}1"}


def test_a_file_that_is_in_the_way_is_not_written_over(folder):
    (folder / f".{KEY}0.part").write_text("of somebody else")
    with pytest.raises(NotWrittenError, match="File exists"):
        folder_canary(folder).write(*keys(1), VALUE)


@contextmanager
def failing(monkeypatch, owner, name, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        yield


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_rename_without_a_clear_answer_leaves_it_open(folder, monkeypatch, number):
    # Of file servers that time out; no file system here does.
    client = folder_canary(folder)
    with failing(monkeypatch, Path, "rename", number), pytest.raises(MaybeWrittenError):
        client.write(*keys(1), VALUE)
    client.close()
    assert names(folder) == []


def test_a_rename_whose_file_is_there_already_leaves_it_open(folder, monkeypatch):
    # A file server that is asked again has done it the first time.
    client = folder_canary(folder)
    (folder / keys(1)[0]).write_text(VALUE)
    with failing(monkeypatch, Path, "rename", errno.ENOENT), pytest.raises(MaybeWrittenError):
        client.write(*keys(1), VALUE)
    (folder / keys(1)[0]).unlink()
    (folder / f".{KEY}0.part").unlink()
    with failing(monkeypatch, Path, "rename", errno.ENOENT), pytest.raises(NotWrittenError):
        client.write(*keys(1), VALUE)
    assert names(folder) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_rename_that_was_refused_refuses_the_write(folder, monkeypatch, number):
    with failing(monkeypatch, Path, "rename", number), pytest.raises(NotWrittenError):
        folder_canary(folder).write(*keys(1), VALUE)
    assert names(folder) == []


def test_a_file_whose_sync_fails_is_refused_and_one_whose_folder_fails_is_open(folder, monkeypatch):
    client, real = folder_canary(folder), os.fsync
    with failing(monkeypatch, os, "fsync", errno.EIO), pytest.raises(NotWrittenError):
        client.write(*keys(1), VALUE)
    for number, error in ((errno.EIO, MaybeWrittenError), (errno.EINVAL, None)):
        with monkeypatch.context() as patch:

            def sync(handle, number=number):
                if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
                    raise OSError(number, os.strerror(number))
                real(handle)

            patch.setattr(os, "fsync", sync)
            if error is None:  # there are file systems that can't, and need not
                client.write(f"{KEY}{number}", VALUE)
            else:
                with pytest.raises(error, match=f"could not sync {folder}"):
                    client.write(f"{KEY}{number}", VALUE)


# -- what is read back ----------------------------------------------------------------------------


def test_damage_is_told_from_absence_and_never_hangs(folder):
    client = folder_canary(folder)
    for key in keys(6):
        client.write(key, VALUE)
    (folder / f"{KEY}1").unlink()
    (folder / f"{KEY}2").rename(folder / f"{KEY}2.locked")
    for number, make in ((3, os.mkfifo), (4, os.mkdir)):
        (folder / f"{KEY}{number}").unlink()
        make(folder / f"{KEY}{number}")
    (folder / f"{KEY}5").unlink()
    (folder / f"{KEY}5").symlink_to("/etc/passwd")
    found = dict(client.read_all())
    assert found == {
        f"{KEY}0": VALUE.encode(),
        f"{KEY}2.locked": VALUE.encode(),
        f"{KEY}3": None,
        f"{KEY}4": None,
        f"{KEY}5": None,
    }
    with pytest.raises(NotReadError, match="it is no file"):
        client.read(f"{KEY}3")


def test_a_write_that_was_given_up_and_ends_after_all_leaves_nothing(folder):
    client = folder_canary(folder)
    client.close()
    client.write(*keys(1), VALUE)
    assert names(folder) == []


# -- through a disaster ---------------------------------------------------------------------------


def test_what_was_written_after_the_backup_is_lost_by_its_restore(folder, tmp_path):
    async def main():
        drill = Drill()
        client = folder_canary(folder)
        (folder / "old").write_text("data")
        async with Canary(drill, client, interval="5ms", read=client.read) as canary:
            strategy = FullBackupStrategy()
            job = await asyncio.to_thread(strategy.create_backup, folder, tmp_path / "vault")
            while len(canary._stream.acknowledged) < 40:
                await canary._stream.next_end()
            with drill.rto.outage():
                folder.rename(tmp_path / "gone")
                await asyncio.to_thread(strategy.restore_backup, job, folder, replace=True)
        return await canary.verify()

    found = asyncio.run(main())
    assert len(found.lost) >= 5
    assert found.acknowledged > len(found.lost)
    assert found.corrupted == []
    assert names(folder) == ["old"]


def test_a_folder_that_never_comes_back_is_no_recovery(folder):
    async def main():
        drill = Drill()
        async with Canary(drill, folder_canary(folder), interval="5ms", patience="100ms") as c:
            with drill.rto.outage():
                folder.rename(folder.with_name("gone"))  # at one moment, beside who writes there
        with pytest.raises(NotRecovered, match="NotWrittenError: could not write"):
            await c.verify()

    asyncio.run(main())


# -- wrong uses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (7, TypeError, "takes the path of a folder, not 7"),
        (None, TypeError, "takes the path of a folder, not None"),
        ("", ValueError, r"folder_canary\(''\) names no folder"),
    ],
)
def test_arguments_are_checked(path, error, message):
    with pytest.raises(error, match=message):
        folder_canary(path)


def test_a_relative_path_stays_what_it_was(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    client = folder_canary("data")
    monkeypatch.chdir("/")
    client.write(*keys(1), VALUE)
    assert names(folder) == keys(1)
    assert repr(client) == f"folder_canary({str(folder)!r})"
