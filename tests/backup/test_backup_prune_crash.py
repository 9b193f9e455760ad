"""Pruning that fails, is killed, or loses power at any moment: every listed backup restores."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from backup_trees import picture
from test_backup_crash import run

from pytest_drdrill.backup import BackupRefused, FullBackupStrategy, RetentionPolicy
from pytest_drdrill.backup import prune as prune_module
from pytest_drdrill.backup import store as store_module
from pytest_drdrill.backup.store import Store
from pytest_drdrill.backup.verify import verify

# Two chains of which the older one goes as a whole, the newer one stays.
CHAIN = ["full", "incremental", "differential", "incremental", "full", "incremental"]
POLICY = {"keep_last": 1}
PRUNES = """
import shutil
from pytest_drdrill.backup import RetentionPolicy

def prepare(point):
    vault = base / f"vault-{point}"
    shutil.copytree(base / "site-vault", vault, copy_function=os.link)
    return vault, RetentionPolicy(keep_last=1)

sweep(full.prune_backups, prepare, 1)
"""


@pytest.fixture
def chain(site):
    """Six backups, and one more of no change, of which the first four may go."""
    jobs = [site.back_up(kind) for kind in CHAIN]
    return [*jobs, site.back_up("incremental", change=False)]


@pytest.mark.once
def test_killed_at_every_call_of_a_pruning(site, chain, tmp_path):
    points = run(PRUNES, tmp_path)
    assert points > 50  # the sweep saw the whole of it
    counts = []
    states = set()
    for point in range(points):
        site.vault = tmp_path / f"vault-{point}"
        counts.append(len(site.listed()))
        state = frozenset(path.relative_to(site.vault) for path in site.vault.rglob("*"))
        if state in states:
            continue  # it died before a call that only reads
        states.add(state)
        site.check()
        # The next pruning takes the lock, and does and clears away what is left.
        site.prune(**POLICY)
        assert site.listed() == [job.id for job in chain[:3:-1]]
        assert len([path for path in site.vault.iterdir() if path.is_dir()]) == 3, point
    assert len(states) > 15
    # One by one, from none to all of them.
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == {7, 6, 5, 4, 3}


class Disk:
    """What of a vault would survive a power cut: what was synced, in the worst order."""

    def __init__(self, vault, monkeypatch):
        self.vault = vault
        self.log = []
        unlink, rmdir, fsync = Path.unlink, Path.rmdir, os.fsync

        def note_unlink(path, **options):
            there = path.exists()
            unlink(path, **options)
            if there:
                self.log.append(("gone", path))

        def note_rmdir(path):
            rmdir(path)
            self.log.append(("gone", path))

        def note_fsync(fd):
            fsync(fd)
            self.log.append(("synced", Path(f"/proc/self/fd/{fd}").readlink()))

        monkeypatch.setattr(Path, "unlink", note_unlink)
        monkeypatch.setattr(Path, "rmdir", note_rmdir)
        monkeypatch.setattr(os, "fsync", note_fsync)

    def harmed(self, jobs, needs):
        """At which moments a backup might be listed that lacks something of its own or a base's.

        In the worst case each removal is on the disk at once, but that of metadata only when its
        folder was synced, or the one above after the folder had gone.
        """
        found = []
        for end in range(len(self.log) + 1):
            gone, lasting = set(), set()
            for what, path in self.log[:end]:
                if what == "gone":
                    gone.add(path)
                else:
                    lasting |= {each for each in gone if each.parent == path}
            for job in jobs:
                if {job.path, job.path / "metadata.json"} & lasting:
                    continue
                files = {
                    self.vault / holder / name
                    for holder in (job.id, *needs[job.id])
                    for name in ("data.tar", "manifest.jsonl")
                }
                if files & gone:
                    found.append((end, job.id))
        return found


def cut(site, chain, monkeypatch):
    needs = {job.id: Store(site.vault).needed(job) for job in chain}
    with monkeypatch.context() as patch:
        disk = Disk(site.vault, patch)
        assert len(site.prune(**POLICY).pruned) == 4
    assert len(disk.log) > 15
    return disk.harmed(chain, needs)


def test_a_power_cut_brings_back_no_backup_without_its_base(site, chain, monkeypatch):
    assert cut(site, chain, monkeypatch) == []


def test_the_power_cut_would_see_a_missing_sync(site, chain, monkeypatch):
    monkeypatch.setattr(store_module, "sync_folder", lambda _: None)
    assert cut(site, chain, monkeypatch)


def test_all_is_on_the_disk_before_it_is_said_to_be_gone(site, chain, monkeypatch):
    disk = Disk(site.vault, monkeypatch)
    site.prune(**POLICY)
    assert disk.log[0] == ("synced", site.vault)
    assert disk.log[-1] == ("synced", site.vault)
    first = chain[3].path
    assert disk.log[1:6] == [
        ("gone", first / "metadata.json"),
        ("synced", first),
        ("gone", first / "manifest.jsonl"),
        ("gone", first / "data.tar"),
        ("gone", first),
    ]


@pytest.fixture
def broken(monkeypatch):
    """Have the n-th removal of a file or folder fail, and all that follow where it is to last."""

    def at(point, *, lasting=False):
        left = [point]

        def failing(real):
            def remove(path, **options):
                left[0] -= 1
                if left[0] == -1 or (lasting and left[0] < 0):
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
                return real(path, **options)

            return remove

        monkeypatch.setattr(Path, "unlink", failing(Path.unlink))
        monkeypatch.setattr(Path, "rmdir", failing(Path.rmdir))
        return left

    return at


@pytest.mark.parametrize("lasting", [False, True])
def test_a_removal_that_fails_at_any_point_harms_nothing(
    site, chain, broken, monkeypatch, tmp_path, lasting
):
    original = site.vault
    everything = {job.id for job in chain}
    failures = set()
    for point in range(1000):
        site.vault = tmp_path / f"vault-{point}"
        shutil.copytree(original, site.vault)
        site.told.clear()
        left = broken(point, lasting=lasting)
        result = site.prune(**POLICY)
        monkeypatch.undo()
        if left[0] >= 0:
            break
        # What is listed is what is said to be kept, and no other is said to be gone.
        assert list(result.kept) == site.listed()
        assert set(result.pruned) == everything - set(result.kept)
        assert all(result.kept.values())
        (*_, warning) = result.warnings
        assert "Input/output error" in warning
        assert site.told[-2] == ("pruning warned", warning)
        stored = {job.id: job.stored_bytes for job in chain}
        there = [name for name in result.pruned if (site.vault / name / "data.tar").exists()]
        freed = sum(stored[name] for name in result.pruned if name not in there)
        assert result.freed_bytes == freed
        failures.add((len(result.pruned), len(there)))
        site.check()
        # Once nothing fails any more, it is done in full.
        site.prune(**POLICY)
        assert site.listed() == [job.id for job in chain[:3:-1]]
        assert len([path for path in site.vault.iterdir() if path.is_dir()]) == 3
        shutil.rmtree(site.vault)
    assert point > 20  # it was tried at each of the removals
    assert len(failures) >= 5


def test_what_can_not_be_removed_keeps_its_base(site, chain, monkeypatch, caplog):
    unlink = Path.unlink

    def stuck(path, **options):
        if path == chain[3].path / "metadata.json":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", stuck)
    result = site.prune(**POLICY)
    assert result.warnings == (f"backup {chain[3].id} can't be removed: Operation not permitted",)
    assert caplog.messages == [*result.warnings]
    # Of the older ones it is built on two, and those alone stay with it.
    assert result.pruned == (chain[1].id,)
    assert result.kept[chain[3].id] == ("could not be removed",)
    assert result.kept[chain[2].id] == (f"needed by {chain[3].id}",)
    assert result.kept[chain[0].id] == (f"needed by {chain[3].id} and 1 more",)
    assert result.freed_bytes == chain[1].stored_bytes
    site.check()


def test_what_may_come_back_keeps_its_base(site, chain, monkeypatch):
    # Its metadata is gone, but that could not be brought to the disk.
    real = store_module.sync_folder

    def failing(path):
        if path == chain[3].path:
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(store_module, "sync_folder", failing)
    result = site.prune(**POLICY)
    text = f"backup {chain[3].id} is gone, but not all of its folder: Input/output error"
    assert result.warnings == (text,)
    assert result.pruned == (chain[3].id, chain[1].id)
    assert result.freed_bytes == chain[1].stored_bytes
    assert result.kept[chain[2].id] == (f"needed by {chain[3].id}",)
    assert result.kept[chain[0].id] == (f"needed by {chain[3].id} and 1 more",)
    assert (chain[3].path / "data.tar").exists()


def test_what_can_not_be_looked_at_is_not_taken_for_gone(tmp_path):
    (tmp_path / "file").touch()
    assert prune_module._is_gone(tmp_path / "no file")
    assert not prune_module._is_gone(tmp_path / "file")
    assert not prune_module._is_gone(tmp_path / "file" / "below")  # "Not a directory"


def test_a_foreign_file_keeps_its_folder_alone(site, chain):
    (chain[3].path / "mine.txt").write_text("mine")
    result = site.prune(**POLICY)
    assert [path.name for path in chain[3].path.iterdir()] == ["mine.txt"]
    assert "Directory not empty" in result.warnings[0]
    assert chain[3].id in result.pruned
    assert result.freed_bytes >= chain[3].stored_bytes
    site.check()


@pytest.mark.parametrize("call", [0, 1])
def test_a_vault_that_can_not_be_synced(site, chain, monkeypatch, call):
    real = prune_module.sync_folder
    calls = []

    def failing(path):
        calls.append(path)
        if len(calls) == call + 1:
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(prune_module, "sync_folder", failing)
    if call == 0:
        # What an earlier run removed might come back without its base.
        with pytest.raises(BackupRefused, match=r"can't write to .*: Input/output error"):
            site.prune(**POLICY)
        assert len(site.listed()) == 7
    else:
        result = site.prune(**POLICY)
        assert len(result.pruned) == 4
        assert "may not be on the disk yet: Input/output error" in result.warnings[0]


def test_who_may_not_write_prunes_nothing(open_folder, as_user):
    source, vault = open_folder / "source", open_folder / "vault"
    source.mkdir()
    full = FullBackupStrategy()
    jobs = [full.create_backup(source, vault) for _ in range(2)]
    (vault / ".lock").unlink()
    for path in (vault, *(job.path for job in jobs)):
        path.chmod(0o555)
    with as_user(), pytest.raises(BackupRefused, match=r"can't write to .*: Permission denied"):
        full.prune_backups(vault, RetentionPolicy(**POLICY))
    assert len(full.list_backups(vault)) == 2


def test_readers_see_whole_backups_meanwhile(site, chain, monkeypatch):
    unlink = Path.unlink
    seen = []

    def look(path, **options):
        unlink(path, **options)
        jobs = site.full.list_backups(site.vault)
        for job in jobs:
            verify(job)
        seen.append(len(jobs))

    monkeypatch.setattr(Path, "unlink", look)
    site.prune(**POLICY)
    assert set(seen) == {6, 5, 4, 3}
    assert picture(site.source) == site.states[chain[-1].id]
