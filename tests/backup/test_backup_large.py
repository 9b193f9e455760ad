"""Large files, and many: hashed, written and synced by threads while the next are read."""

import errno
import fcntl
import os
import random
import threading
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path

import pytest
from backup_trees import picture

from pytest_drdrill.backup import (
    BackupDamaged,
    BackupError,
    BackupStatus,
    IncrementalBackupStrategy,
    background,
    base,
    direct,
    pack,
    progress,
    verify,
    writer,
)
from pytest_drdrill.backup.manifest import read_manifest
from pytest_drdrill.backup.store import TAR

SIZE = (3 << 20) + 5
CHANCE = random.Random(3)


@pytest.fixture
def large(small):
    """Large files among small ones, one of them with two names."""
    chance = random.Random(1)
    for name in ("b1", "b2", "sub/b3", "y"):
        (small / name).write_bytes(chance.randbytes(SIZE))
    os.link(small / "b1", small / "b1-too")
    return small


def threads():
    return [each.name for each in threading.enumerate() if "drdrill" in each.name]


def held_by(fd):
    return Path(f"/proc/self/fd/{fd}").readlink()


def check_round_trip(full, source, vault, tmp_path):
    job = full.create_backup(source, vault)
    assert full.verify_backup(job).size_bytes == job.size_bytes
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(source)
    assert threads() == []
    return job


def test_they_come_back(full, large, vault, tmp_path):
    check_round_trip(full, large, vault, tmp_path)


@pytest.fixture
def cached(monkeypatch):
    """A file system whose page cache can't be gone past."""
    monkeypatch.setattr(direct, "_DIRECT", 0)


@pytest.fixture(params=["direct", "cached"])
def either_way(request, monkeypatch):
    """Past the page cache, where one can, and through it."""
    if request.param == "cached":
        monkeypatch.setattr(direct, "_DIRECT", 0)


def test_they_come_back_by_way_of_the_page_cache(full, large, vault, tmp_path, cached):
    check_round_trip(full, large, vault, tmp_path)


@pytest.fixture
def written(monkeypatch):
    """What is written where in a tar, and whether past the page cache."""
    real = os.pwrite
    found = []

    def note(fd, data, position):
        if held_by(fd).name == TAR:
            is_direct = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
            found.append((is_direct, position, len(data)))
        return real(fd, data, position)

    monkeypatch.setattr(os, "pwrite", note)
    return found


def takes_direct(folder):
    """Whether this file system has a way past the page cache."""
    try:
        os.close(os.open(folder / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def test_whole_pages_go_past_the_page_cache(full, large, vault, tmp_path, written):
    job = check_round_trip(full, large, vault, tmp_path)
    *pages, rest = written
    assert {is_direct for is_direct, _, _ in pages} == {takes_direct(tmp_path)}
    assert {number % 4096 for _, *place in pages for number in place} == {0}
    is_direct, position, size = rest
    assert not is_direct
    assert position + size == job.stored_bytes
    assert size < pack._ROOM


def test_a_disk_of_larger_blocks_gets_them_by_the_page_cache(
    full, large, vault, tmp_path, monkeypatch
):
    real = os.pwrite
    refused = []

    def refuse(fd, data, position):
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(position)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, data, position)

    monkeypatch.setattr(os, "pwrite", refuse)
    check_round_trip(full, large, vault, tmp_path)
    assert refused in ([0], [])  # and never again


def test_a_disk_that_takes_only_part_of_a_page_is_full(full, large, vault, monkeypatch):
    def fill_up(fd, data, position):
        if position % 4096:
            is_direct = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT
            number = errno.EINVAL if is_direct else errno.ENOSPC
            raise OSError(number, os.strerror(number))
        return real(fd, data[:1000] if position else data, position)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", fill_up)
    with pytest.raises(BackupError, match="No space left on device"):
        full.create_backup(large, vault)
    assert [path.name for path in vault.iterdir()] == [".lock"]


def test_copying_waits_for_hashes_that_lag_behind(full, large, vault, tmp_path, monkeypatch):
    monkeypatch.setattr(background, "_BEHIND", 1)
    check_round_trip(full, large, vault, tmp_path)


def test_more_of_them_than_may_wait(full, large, vault, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_MOST_WAITING", 1)
    monkeypatch.setattr(writer, "_MOST_OPEN", 1)
    monkeypatch.setattr(verify, "_MOST_OPEN", 1)
    check_round_trip(full, large, vault, tmp_path)


def test_a_tree_of_small_files_starts_no_thread(full, small, vault, tmp_path, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", None)
    check_round_trip(full, small, vault, tmp_path)


def test_they_go_to_the_disk_while_the_next_are_read(full, large, vault, either_way, monkeypatch):
    for name in ("_SYNC", "_FLUSH"):
        monkeypatch.setattr(direct, name, 1 << 20)
    real = os.fdatasync
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(held_by(fd)) or real(fd))
    job = full.create_backup(large, vault)
    assert set(synced) == {job.path / TAR}
    full.verify_backup(job)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_disk_that_fails_beside_the_reading_fails_the_job(
    full, large, vault, either_way, monkeypatch, call
):
    # The kernel tells it once: who asks later hears nothing.
    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(direct, "_SYNC", 12 << 20)
    monkeypatch.setattr(direct, "_FLUSH", 1 << 20)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(BackupError, match=r"can't write backup .*: Input/output error") as caught:
        full.create_backup(large, vault)
    assert caught.value.job.status is BackupStatus.FAILED
    assert [path.name for path in vault.iterdir()] == [".lock"]


@pytest.mark.parametrize("what", ["verify", "restore"])
def test_bytes_that_a_thread_cannot_read(full, large, vault, tmp_path, monkeypatch, what):
    job = full.create_backup(large, vault)
    real = os.preadv

    def fail(fd, buffers, offset):
        if threading.current_thread() is not threading.main_thread():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail)
    monkeypatch.setattr(background, "_BEHIND", 1)  # nobody waits for what is not read any more
    calls = {
        "verify": lambda: full.verify_backup(job),
        "restore": lambda: full.restore_backup(job, tmp_path / "restored"),
    }
    with pytest.raises(BackupError, match="Input/output error") as caught:
        calls[what]()
    assert isinstance(caught.value, BackupDamaged) is (what == "verify")
    assert threads() == []
    assert not (tmp_path / "restored").exists()


def test_a_disk_that_is_full_in_mid_restore(full, large, vault, tmp_path, monkeypatch):
    job = full.create_backup(large, vault)
    real = os.copy_file_range
    left = [5]

    def fill_up(*args, **options):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    write = os.write

    def write_nothing_more(fd, data):
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    (tmp_path / "restored").mkdir()
    monkeypatch.setattr(os, "copy_file_range", fill_up)
    monkeypatch.setattr(os, "write", write_nothing_more)
    with pytest.raises(BackupError, match="No space left on device"):
        full.restore_backup(job, tmp_path / "restored")
    assert threads() == []
    assert list((tmp_path / "restored").iterdir()) == []


def test_a_disk_that_fails_when_the_last_file_is_synced(full, small, vault, tmp_path, monkeypatch):
    (small / "b1").write_bytes(bytes(range(256)) * 8192)  # the only one: no other asks how it went
    job = full.create_backup(small, vault)

    def fail(fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(BackupError, match=r"can't restore backup .*: Input/output error"):
        full.restore_backup(job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_thread_that_fails_keeps_nobody_waiting(full, large, vault, tmp_path, monkeypatch):
    job = full.create_backup(large, vault)

    def fail(*args):
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError
        return sha256(*args)

    monkeypatch.setattr(pack, "sha256", fail)
    with pytest.raises(MemoryError):
        full.create_backup(large, vault)
    monkeypatch.setattr(background, "sha256", fail)
    monkeypatch.setattr(background, "_BEHIND", 1)
    with pytest.raises(MemoryError):
        full.verify_backup(job)
    assert threads() == []


def test_an_end_by_the_callback_leaves_nothing(full, large, vault, tmp_path, monkeypatch):
    def stop(told):
        if told.size_bytes > SIZE:
            raise EOFError

    def check(call, *args):
        before = set(Path("/proc/self/fd").iterdir())
        with pytest.raises(EOFError):
            call(*args, progress=stop)
        assert threads() == []
        assert set(Path("/proc/self/fd").iterdir()) == before

    monkeypatch.setattr(progress, "_INTERVAL_S", 0)
    check(full.create_backup, large, vault)
    assert [path.name for path in vault.iterdir()] == [".lock"]
    job = full.create_backup(large, vault)
    check(full.verify_backup, job)
    check(full.restore_backup, job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_damage_is_named_in_the_order_of_the_tree(full, large, vault, tmp_path):
    job = full.create_backup(large, vault)
    entries = {entry.path: entry for entry in read_manifest(job)}
    with (job.path / TAR).open("r+b") as tar:
        for path in ("y", "a.txt", "b2", "z.txt"):
            tar.seek(entries[path].offset + entries[path].size - 1)
            byte = tar.read(1)
            tar.seek(-1, os.SEEK_CUR)
            tar.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(job)
    assert caught.value.damaged == ("a.txt", "b2", "y", "z.txt")
    with pytest.raises(BackupDamaged) as caught:
        full.restore_backup(job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_an_incremental_takes_over_and_adds_them(full, large, vault, tmp_path):
    full.create_backup(large, vault)
    (large / "b2").write_bytes(random.Random(2).randbytes(SIZE))
    os.link(large / "y", large / "y-too")
    strategy = IncrementalBackupStrategy()
    job = strategy.create_backup(large, vault)
    strategy.verify_backup(job)
    strategy.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(large)


def at_once(self, function, *args):
    """A thread that is done before anybody looks."""
    done = Future()
    done.set_result(function(*args))
    return done


def at_the_end(self, function, *args):
    """A thread that is not done before somebody waits for it."""
    return Late(function, args)


class Late(Future):
    def __init__(self, function, args, after=None):
        super().__init__()
        self.call = function, args
        self.after = after

    def result(self):
        if not self.done():
            if self.after is not None:
                self.after.result()
            function, args = self.call
            self.set_result(function(*args))
        return super().result()


def in_order(self, function, *args):
    """A lane does nothing before somebody waits for it, and then all up to there."""
    self.last = Late(function, args, getattr(self, "last", None))
    return self.last


def any_time(self, function, *args):
    return CHANCE.choice((at_once, at_the_end))(self, function, *args)


@pytest.mark.parametrize("run", [at_once, in_order])
def test_a_disk_empties_its_cache_only_while_it_waits_for_more(
    full, large, vault, tmp_path, written, monkeypatch, run
):
    """Past the page cache; one that falls behind is not held up."""
    synced = []
    monkeypatch.setattr(background.Lane, "run", run)
    monkeypatch.setattr(background.Background, "sync", lambda _, fd: synced.append(fd))
    monkeypatch.setattr(direct, "_FLUSH", 1 << 20)
    full.create_backup(large, vault)
    if takes_direct(tmp_path):
        *pages, _ = written
        full_ones = [size for _, _, size in pages if size >= 1 << 20]
        assert len(synced) == (len(full_ones) if run is at_once else 1)
        assert len(full_ones) > pack._BUFFERS
    else:
        assert not synced


@pytest.mark.parametrize("run", [None, at_once, at_the_end, any_time])
def test_many_small_files(full, small, vault, tmp_path, monkeypatch, run, either_way):
    """More than all buffers and batches hold, whoever is the faster one."""
    chance = random.Random(2)
    for number in range(60):
        folder = small / f"many{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(chance.randbytes(chance.randrange(1 << 18)))
        (small / f"little{number}").write_bytes(chance.randbytes(100))
    monkeypatch.setattr(pack, "_ROOM", 1 << 20)
    monkeypatch.setattr(pack, "_BUFFERS", 3)
    monkeypatch.setattr(writer, "_FILES", 5)
    monkeypatch.setattr(writer, "_MOST_BATCHES", 2)
    if run is not None:
        monkeypatch.setattr(background.Background, "run", run)
        monkeypatch.setattr(background.Lane, "run", at_once if run is at_once else in_order)
    check_round_trip(full, small, vault, tmp_path)


def test_the_header_of_a_file_that_shrinks_is_the_later_one(full, small, vault, monkeypatch):
    """Whenever the thread comes to write what lies before it."""
    (small / "b0").write_bytes(bytes(SIZE))  # so that the next header goes to a thread
    (small / "b1").write_bytes(bytes(SIZE))
    real = os.readv

    def cut_it_first(of, buffers):
        if held_by(of) == small / "b1" and not os.lseek(of, 0, os.SEEK_CUR):
            os.truncate(small / "b1", os.fstat(of).st_size - 1000)
        return real(of, buffers)

    monkeypatch.setattr(background.Lane, "run", in_order)
    monkeypatch.setattr(os, "readv", cut_it_first)
    job = full.create_backup(small, vault)
    monkeypatch.undo()
    full.verify_backup(job)
    assert "changed while it was read" in job.warnings[0]


@pytest.mark.parametrize("what", ["threads", "descriptors"])
@pytest.mark.parametrize("call", ["create", "verify", "restore"])
def test_a_machine_that_has_no_more(full, large, vault, tmp_path, monkeypatch, call, what):
    job = full.create_backup(large, vault) if call != "create" else None

    def start(self):
        raise RuntimeError("can't start new thread")

    def dup(fd):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(direct, "_SYNC", 1 << 20)
    monkeypatch.setattr(direct, "_DIRECT", 0)  # or a backup takes no descriptor for its syncs
    if what == "threads":
        monkeypatch.setattr(threading.Thread, "start", start)
    else:
        monkeypatch.setattr(os, "dup", dup)
    calls = {
        "create": lambda: full.create_backup(large, vault),
        "verify": lambda: full.verify_backup(job),
        "restore": lambda: full.restore_backup(job, tmp_path / "restored"),
    }
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(BackupError, match=r"can.t start new thread|Too many open files") as caught:
        calls[call]()
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert not isinstance(caught.value, BackupDamaged)
    assert threads() == []
    assert not (tmp_path / "restored").exists()


def test_a_sync_that_is_not_waited_for_leaves_no_descriptor(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        before = set(Path("/proc/self/fd").iterdir())
        for _ in range(50):
            beside = background.Background()
            beside.sync(file.fileno())
            beside.end_sync()
            beside.sync(file.fileno())
            beside.close()
        assert set(Path("/proc/self/fd").iterdir()) == before
