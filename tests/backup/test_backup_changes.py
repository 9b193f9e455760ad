"""A source that moves while it is read, or can't be read. The files are real; only the moment at
which they change is chosen."""

import errno
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from backup_trees import fail_reading, picture

from pytest_drdrill.backup import (
    BackupError,
    BackupStatus,
    FullBackupStrategy,
    create,
    pack,
)
from pytest_drdrill.backup.source import Source

LARGE = 3 << 20


@pytest.fixture
def when(monkeypatch):
    """Do something each time just after a method of the source was called for a path."""

    def arrange(method, path, change, times=99):
        real = getattr(Source, method)
        left = [times]

        def hooked(self, name, *args, **options):
            result = real(self, name, *args, **options)
            if name == path and left[0]:
                left[0] -= 1
                change()
            return result

        monkeypatch.setattr(Source, method, hooked)

    return arrange


def check_round_trip(full, small, vault, tmp_path):
    """What comes back is what there is now, and nothing was odd about it."""
    job = full.create_backup(small, vault)
    assert job.warnings == []
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("grow", [True, False])
def test_a_file_that_changes_once_is_read_again(full, small, vault, tmp_path, when, size, grow):
    (small / "log").write_bytes(b"x" * size)

    def change():
        with (small / "log").open("r+b") as file:
            file.truncate(size * 2 if grow else size // 2)

    when("read", "log", change, times=1)
    check_round_trip(full, small, vault, tmp_path)


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_file_read_again_costs_its_neighbour_nothing(full, small, vault, tmp_path, when, size):
    (small / "l").write_bytes(b"y" * LARGE)  # whole blocks: where it ends, the next one begins
    (small / "log").write_bytes(b"x" * size)
    when("read", "log", lambda: (small / "log").write_bytes(b"z" * size), times=1)
    check_round_trip(full, small, vault, tmp_path)


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("step", [100, -1, -3])
def test_a_file_that_keeps_changing_is_reported(full, small, vault, tmp_path, when, size, step):
    (small / "log").write_bytes(b"x" * size)

    def change():
        with (small / "log").open("r+b") as file:
            file.truncate(max(0, file.seek(0, os.SEEK_END) + step))

    when("read", "log", change)
    job = full.create_backup(small, vault)
    (warning,) = job.warnings
    assert warning.startswith("'log' changed while it was read, 3 times")
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    assert (tmp_path / "restored" / "a.txt").read_text() == "alpha"
    assert (tmp_path / "restored" / "z.txt").read_text() == "zeta"
    assert full.list_backups(vault) == [job]


def test_a_rewrite_of_equal_size_is_seen(full, small, vault, tmp_path, when):
    # A time long ago, so that the rewrite's own differs whatever the clock's resolution.
    os.utime(small / "a.txt", ns=(0, 0))
    when("read", "a.txt", lambda: (small / "a.txt").write_text("ALPHA"), times=1)
    job = full.create_backup(small, vault)
    assert job.warnings == []
    full.restore_backup(job, tmp_path / "restored")
    assert (tmp_path / "restored" / "a.txt").read_text() == "ALPHA"


def test_a_file_that_vanishes_is_a_warning(full, small, vault, tmp_path, when):
    when("listing", ".", (small / "a.txt").unlink)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'a.txt' vanished or changed its type while it was read"]
    full.restore_backup(job, tmp_path / "restored")
    assert not (tmp_path / "restored" / "a.txt").exists()
    assert (tmp_path / "restored" / "z.txt").exists()


def test_a_folder_that_vanishes_is_a_warning(full, small, vault, when):
    def vanish():
        (small / "sub" / "b.txt").unlink()
        (small / "sub").rmdir()

    when("listing", ".", vanish)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'sub' vanished or changed its type while it was read"]


@pytest.mark.parametrize(("seen", "holds"), [("lstat", False), ("xattrs", True)])
def test_a_folder_that_vanishes_after_it_was_looked_at(
    full, small, vault, tmp_path, when, seen, holds
):
    def vanish():
        (small / "sub" / "b.txt").unlink()
        (small / "sub").rmdir()

    when(seen, "sub", vanish)
    job = full.create_backup(small, vault)
    assert len(job.warnings) == 1
    full.restore_backup(job, tmp_path / "restored")
    assert (tmp_path / "restored" / "sub").exists() == holds
    assert not holds or list((tmp_path / "restored" / "sub").iterdir()) == []


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_file_that_vanishes_in_mid_read(full, small, vault, tmp_path, monkeypatch, size):
    # As a network file system reports it: a stale handle, when part of the file is in the tar.
    (small / "log").write_bytes(b"x" * size)
    fail_reading(monkeypatch, "log", errno.ESTALE, after=0 if size == 10 else 1)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'log' vanished or changed its type while it was read"]
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    assert sorted(path.name for path in (tmp_path / "restored").iterdir()) == [
        "a.txt",
        "sub",
        "z.txt",
    ]


def test_an_error_of_the_disk_names_the_file(full, small, vault, monkeypatch):
    def broken(fd, buffers):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "readv", broken)
    with pytest.raises(BackupError, match=r"can't read '.*/small/a\.txt': Input/output error"):
        full.create_backup(small, vault)


@pytest.mark.parametrize("into", ["folder", "symlink", "fifo", "dangling"])
def test_a_file_that_turns_into_something_else(full, small, vault, tmp_path, when, into):
    def turn():
        path = small / "a.txt"
        path.unlink()
        if into == "folder":
            path.mkdir()
        elif into == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("z.txt" if into == "symlink" else "nowhere")

    when("listing", ".", turn)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'a.txt' vanished or changed its type while it was read"]
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")


def test_a_folder_that_turns_into_a_symlink_is_not_listed_through_it(
    full, small, vault, when, tmp_path
):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()

    def turn():
        (small / "sub").rename(tmp_path / "moved")
        (small / "sub").symlink_to(tmp_path / "outside")

    when("lstat", "sub", turn)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'sub' vanished or changed its type while it was read"]
    assert "secret" not in (job.path / "manifest.jsonl").read_text()


def test_a_further_name_with_other_content_is_read_itself(
    full, small, vault, tmp_path, monkeypatch
):
    # As when the number of a removed file is given to a new one.
    for name in ("b.txt", "c.txt"):
        (small / name).hardlink_to(small / "a.txt")
    real = Source.open

    def rewritten_first(self, path):
        if path == "b.txt":
            (small / path).write_text("quite another content")
        return real(self, path)

    monkeypatch.setattr(Source, "open", rewritten_first)
    job = full.create_backup(small, vault)
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    restored = tmp_path / "restored"
    assert (restored / "a.txt").read_text() == "alpha"
    assert (restored / "b.txt").read_text() == "quite another content"
    assert (restored / "c.txt").samefile(restored / "b.txt")


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_source_that_vanishes_fails_the_job(full, small, vault, tmp_path, when, how):
    def vanish():
        small.rename(tmp_path / "moved")
        if how != "moved":
            shutil.rmtree(tmp_path / "moved")
        if how == "replaced":
            small.mkdir()

    when("listing", ".", vanish)
    with pytest.raises(BackupError, match=r"can't read '.*/small': ") as caught:
        full.create_backup(small, vault)
    assert caught.value.job.status is BackupStatus.FAILED
    assert full.list_backups(vault) == []


def test_a_source_whose_handle_is_stale_fails_the_job(full, small, vault, monkeypatch):
    # As a network file system does it whose export was taken away: nothing opens any more.
    real = os.open

    def stale(path, flags, *args, **options):
        if path == "z.txt":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(BackupError, match=f"z.txt': {os.strerror(errno.ESTALE)}"):
        full.create_backup(small, vault)
    monkeypatch.undo()
    assert full.list_backups(vault) == []


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_read_that_gives_less_than_asked_for_goes_on(
    full, small, vault, tmp_path, monkeypatch, size
):
    (small / "log").write_bytes(os.urandom(size))
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda fd, to: real(fd, [to[0][: len(to[0]) // 2 + 1]]))
    job = full.create_backup(small, vault)
    assert job.warnings == []
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


def test_the_recovery_point_is_before_anything_is_read(small, vault, monkeypatch):
    class Steps:
        moment = datetime(2030, 1, 1, tzinfo=UTC)

        def now(self):
            self.moment += timedelta(seconds=1)
            return self.moment

    clock = Steps()
    real = create.capture
    changed = []

    def change_first(*args, **options):
        (small / "a.txt").write_text("changed when capture had begun")
        changed.append(clock.now())
        real(*args, **options)

    monkeypatch.setattr(create, "capture", change_first)
    job = FullBackupStrategy(clock=clock).create_backup(small, vault)
    assert job.recovery_point < changed[0] < job.completed_at


@pytest.mark.parametrize("into", ["file", "symlink"])
def test_a_folder_that_turns_into_something_else(full, small, vault, when, tmp_path, into):
    def turn():
        (small / "sub").rename(tmp_path / "moved")
        if into == "file":
            (small / "sub").touch()
        else:
            (small / "sub").symlink_to(tmp_path / "moved")

    when("listing", ".", turn)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'sub' vanished or changed its type while it was read"]
    assert job.file_count == 2


def test_a_symlink_that_turns_into_a_file(full, small, vault, when):
    (small / "link").symlink_to("a.txt")

    def turn():
        (small / "link").unlink()
        (small / "link").touch()

    when("lstat", "link", turn)
    job = full.create_backup(small, vault)
    assert job.warnings == ["'link' vanished or changed its type while it was read"]


@pytest.mark.parametrize("name", ["secret.txt", "closed", "."])
def test_what_can_not_be_read_fails_the_job(full, open_folder, as_user, name):
    source, vault = open_folder / "source", open_folder / "vault"
    source.mkdir()
    vault.mkdir()
    vault.chmod(0o777)
    (source / "secret.txt").touch()
    (source / "closed").mkdir()
    (source / name).chmod(0)
    shown = str(source / name)
    with as_user(), pytest.raises(BackupError) as caught:
        full.create_backup(source, vault)
    assert str(caught.value) == f"can't read {shown!r}: Permission denied"
    job = caught.value.job
    assert job.status is BackupStatus.FAILED
    assert job.error_message == str(caught.value)
    assert [path.name for path in vault.iterdir()] == [".lock"]
    source.chmod(0o700)


@pytest.fixture
def shrinking(small, monkeypatch):
    """A file that becomes a short one while it is read, for which its header is too long.

    8 GiB are not read for a test.
    """
    (small / "log").write_bytes(b"x" * LARGE)
    real = pack.header
    monkeypatch.setattr(pack, "header", lambda e: real(e) + bytes(512 if e.size == LARGE else 0))
    read = Source.read

    def shrink(self, path, fd, buffer):
        count = read(self, path, fd, buffer)
        if path == "log" and os.fstat(fd).st_size == LARGE:
            (small / "log").write_bytes(b"y")
        return count

    monkeypatch.setattr(Source, "read", shrink)
    return small / "log"


def test_a_file_that_shrinks_across_the_limit_of_ustar_is_read_again(
    full, small, shrinking, vault, tmp_path, monkeypatch
):
    job = full.create_backup(small, vault)
    assert job.warnings == []
    monkeypatch.undo()
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


def test_one_that_keeps_doing_so_is_not_guessed_at(full, small, shrinking, vault, monkeypatch):
    real = Source.open

    def grow_before(self, path):
        if path == "log":
            shrinking.write_bytes(b"x" * LARGE)
        return real(self, path)

    monkeypatch.setattr(Source, "open", grow_before)
    with pytest.raises(BackupError, match="it shrinks while it is read"):
        full.create_backup(small, vault)
