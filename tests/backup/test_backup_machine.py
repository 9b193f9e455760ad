"""Any order of changes, backups, crashes and damage: a backup restores exactly, or says why not."""
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH112, PTH114, PTH115, PTH118, PTH123, PTH211 - names are bytes here, which pathlib does not take

import contextlib
import fcntl
import io
import json
import logging
import os
import random
import shutil
import stat
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_trees import picture
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from hand_clock import HandClock
from pytest_drdrill.backup import (
    BackupDamaged,
    BackupType,
    DifferentialBackupStrategy,
    FullBackupStrategy,
    IncrementalBackupStrategy,
    capture,
    contents,
)

# How long it runs: so many examples, each of so many steps.
EXAMPLES, STEPS = 105, 22

LONG_NS = 10**18  # some decades

# Some sort before "/", some after it, next to a folder "a" with entries of its own.
NAMES = [b"a", b"a-b", b"a.b", b"a b", b"a\n", b"a0", b"b", b"\xff\xfe", "ü".encode(), b".x"]
# Files of one size each; sizes around a block of a tar; above that of a block that is read.
CONTENTS = [b"", b"x", b"one", b"two", b"3" * 511, b"4" * 512, b"5" * 513, b"6" * 3000, b"7" * 5000]
TARGETS = [b"a", b"a/b", b"../no such place", b".", b"/", b"\xff\n", b"l/" * 70]
FILE_MODES = [0o644, 0o600, 0o755, 0o666, 0o4711, 0o2644]
FOLDER_MODES = [0o755, 0o700, 0o1777, 0o2750]
MOMENTS = [0, -1_500_000_001, 1_600_000_000_123_456_789, 10**18]
STRATEGIES = {
    BackupType.FULL: FullBackupStrategy,
    BackupType.INCREMENTAL: IncrementalBackupStrategy,
    BackupType.DIFFERENTIAL: DifferentialBackupStrategy,
}
TAR, MANIFEST, METADATA = "data.tar", "manifest.jsonl", "metadata.json"
# The calls at which a run can die. All but the ends of open files, which are written when it ends.
CALLS = [
    (io, "open"),
    (fcntl, "flock"),
    *((os, name) for name in ("open", "stat", "lstat", "fstat", "scandir", "readv", "readlink")),
    *((os, name) for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")),
]

# What is drawn is never bounded by what is on the disk, whose inodes and times differ from run to
# run: a seed says which of several things is taken.
seeds = st.integers(0, 2**64)

met = Counter()  # what happened, over all examples
MEETS = {
    *("exact restores", "exact restores beside damage", "refused restores"),
    *("backups, full", "backups, incremental", "backups, differential", "backups of nothing new"),
    *("died before it was published", "died after it was published", "outlived its death"),
    *("left something behind", "entries held elsewhere", "damaged bases"),
    *("intact ones named", "dependents named"),
}


class Died(BaseException):
    """The process is gone."""


@contextlib.contextmanager
def dying(calls, *, is_late):
    """After so many calls of the system, every further one fails: nothing can be cleared up.

    Late: after so many calls once something was renamed, which is what publishes a backup.
    """
    left = calls
    is_counting = not is_late

    def fatal(function):
        def call(*args, **options):
            nonlocal left, is_counting
            if not left:
                raise Died
            left -= is_counting
            is_counting = is_counting or function is rename
            return function(*args, **options)

        return call

    rename = os.rename
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, fatal(getattr(module, name)))
        yield


@dataclass
class Recorded:
    """A backup as it has to be: the tree at its recovery point, and its manifest."""

    job: Any
    picture: dict
    stamps: dict
    entries: list

    @property
    def owner(self):
        return self.job.manifest_id or self.job.id

    @property
    def held(self):
        return {entry["path"]: (entry["backup"], entry["offset"]) for entry in self.entries}

    @property
    def needed(self):
        """The backups whose bytes it needs, as a quick verification sees it."""
        return {entry["backup"] for entry in self.entries if entry["type"] == "file"} | {self.owner}


def some(chance, paths):
    """One of several paths, or none where there is none."""
    return chance.sample(paths, min(1, len(paths)))


def refusal(act, *arguments):
    """What it found damaged, or None."""
    try:
        act(*arguments)
    except BackupDamaged as error:
        return error


def is_in(path, folder):
    return (path + b"/").startswith(folder + b"/")


def clear(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


class BackupMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="drdrill-machine-"))
        self.root = os.fsencode(self.folder / "source")
        os.mkdir(self.root)
        self.vault = self.folder / "vault"
        self.clock = HandClock()
        self.full = FullBackupStrategy(clock=self.clock)
        self.recorded = {}  # by id
        self.last_seed = 0
        self.whole = {}  # what damaged files were, by the backup's id and their name
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(capture, "LARGE", 2048)
        self.patch.setattr(contents, "LARGE", 2048)
        self.patch.setattr(contents, "_BLOCK", 4096)  # room for a header
        self.patch.setattr(os, "fsync", lambda fd: None)  # nobody pulls the plug here

    def teardown(self):
        try:
            self.check_all()
            self.end()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    def end(self):
        """However an example went, its backups can be built on, and damage is seen."""
        self.repair()
        self.back_up(BackupType.INCREMENTAL, paranoid=False, settled=False)
        self.change_contents(self.last_seed)
        self.back_up(BackupType.INCREMENTAL, paranoid=False, settled=True)
        self.damage(self.last_seed, TAR)
        self.repair()
        self.lose(self.last_seed, is_cut=True)
        self.back_up(BackupType.DIFFERENTIAL, paranoid=False, settled=False)

    # The source, and what can happen to it.

    @initialize(seed=seeds)
    def begin_with_some(self, seed):
        """Names on both sides of "/", folders within folders, files of several names."""
        self.last_seed = seed
        for name in (b"a", b"a/a", b"b"):
            os.mkdir(self.path(name))
        for count, name in enumerate((b"a-b", b"a.b", b"a/b", b"a/a/x", b"b/a")):
            Path(os.fsdecode(self.path(name))).write_bytes(CONTENTS[count + 2])
        os.link(self.path(b"a-b"), self.path(b"b/b"))
        os.link(self.path(b"a.b"), self.path(b"a/a-b"))
        os.link(self.path(b"a.b"), self.path(b"a/a/a"))
        os.symlink("a/b", self.path(b"a0"))

    @rule(seed=seeds, count=st.integers(1, 5))
    def change(self, seed, count):
        chance = random.Random(seed)
        for act in chance.choices(self.ACTS, k=count):
            act(self, chance)

    @rule(seed=seeds)
    def change_contents(self, seed):
        chance = random.Random(seed)
        for act in chance.choices(self.INNER_ACTS, k=3):
            act(self, chance)

    def path(self, name):
        return os.path.join(self.root, name)

    def walk(self, *kinds):
        """The paths in the source that are of these kinds, in order."""
        found = []
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            paths = sorted(os.path.join(folder, name) for name in folders + files)
            found += (path for path in paths if stat.S_IFMT(os.lstat(path).st_mode) in kinds)
        return found

    def files(self):
        return self.walk(stat.S_IFREG)

    def folders(self):
        return [self.root, *self.walk(stat.S_IFDIR)]

    def all_paths(self):
        return self.walk(stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)

    def place(self, chance, source=None):
        """A free path to put something at, not too deep, neither in the source nor above it."""
        folders = [path for path in self.folders() if path[len(self.root) :].count(b"/") < 3]
        if source is not None:
            folders = [path for path in folders if not is_in(path, source)]
        place = os.path.join(chance.choice(folders), chance.choice(NAMES))
        if source is not None and is_in(source, place):
            return None
        clear(place)
        note(f"{place!r} from {source!r}")
        return place

    def write(self, chance):
        Path(os.fsdecode(self.place(chance))).write_bytes(chance.choice(CONTENTS))

    def rewrite(self, chance):
        for path in some(chance, self.files()):
            with open(path, "wb") as file:  # the inode stays
                file.write(chance.choice(CONTENTS))

    def rewrite_at_the_same_size(self, chance):
        for path in some(chance, self.files()):
            before = os.lstat(path)
            with open(path, "r+b") as file:
                file.write(chance.randbytes(min(before.st_size, 10)))
            if chance.random() < 0.5:
                os.utime(path, ns=(0, before.st_mtime_ns))

    def truncate(self, chance):
        for path in some(chance, self.files()):
            os.truncate(path, chance.randrange(1200))

    def punch(self, chance):
        """A file that is sparse, where the file system knows such."""
        for path in some(chance, self.files()):
            os.truncate(path, 3 << 14)
            with open(path, "r+b") as file:
                file.seek(chance.randrange(5) << 13)
                file.write(b"data")

    def delete(self, chance):
        for path in some(chance, self.all_paths()):
            clear(path)

    def rename(self, chance):
        for old in some(chance, self.all_paths()):
            if new := self.place(chance, old):
                os.rename(old, new)

    def symlink(self, chance):
        os.symlink(chance.choice(TARGETS), self.place(chance))

    def make_folder(self, chance):
        os.mkdir(self.place(chance))

    def link(self, chance):
        for old in some(chance, self.files()):
            if new := self.place(chance, old):
                os.link(old, new)

    def move_a_link(self, chance):
        """A file gets as many names as before, and other ones; the old one may be a new file's."""
        for old in some(chance, self.linked()):
            if new := self.place(chance, old):
                os.rename(old, new)
                if chance.random() < 0.5:
                    Path(os.fsdecode(old)).write_bytes(chance.choice(CONTENTS))
                    if chance.random() < 0.5 and (further := self.place(chance, old)):
                        os.link(old, further)

    def unlink_from_the_others(self, chance):
        for path in some(chance, self.linked()):
            shutil.copy2(path, self.path(b"copy"))
            os.rename(self.path(b"copy"), path)

    def linked(self):
        return [path for path in self.files() if os.lstat(path).st_nlink > 1]

    def change_mode(self, chance):
        for path in some(chance, self.walk(stat.S_IFREG, stat.S_IFDIR)):
            os.chmod(path, chance.choice(FOLDER_MODES if os.path.isdir(path) else FILE_MODES))
        os.chmod(self.root, chance.choice(FOLDER_MODES))

    def change_time(self, chance):
        for path in some(chance, self.all_paths()):
            os.utime(path, ns=(0, chance.choice(MOMENTS)), follow_symlinks=False)

    INNER_ACTS = (rewrite, rewrite_at_the_same_size, rewrite_at_the_same_size, truncate, punch)
    ACTS = (
        *INNER_ACTS,
        *(write, delete, rename, symlink, make_folder, link, link, move_a_link, move_a_link),
        *(unlink_from_the_others, change_mode, change_time),
    )

    # Backups.

    @rule(
        kind=st.sampled_from(BackupType),
        paranoid=st.booleans(),
        calls=st.integers(0, 150) | st.integers(1, 9),
        is_late=st.booleans(),
    )
    def backup_that_dies(self, kind, paranoid, calls, is_late):
        state, stamps = picture(self.root), self.stamps()
        before = self.listed()
        job = None
        strategy = STRATEGIES[kind](clock=self.clock)
        with contextlib.suppress(Died), dying(calls, is_late=is_late):
            job = strategy.create_backup(os.fsdecode(self.root), self.vault, paranoid=paranoid)
        new = [found for found in self.all_listed() if found.id not in self.recorded]
        if job is not None:
            assert new == [job]
            met["outlived its death"] += 1
        elif new:
            met["died after it was published"] += 1
        else:
            met["died before it was published"] += 1
            met["left something behind"] += len(self.vault_folders()) > len(self.recorded)
        if new:
            self.record(*new, state, stamps, before)
        else:
            self.listed()

    @rule(kind=st.sampled_from(BackupType), paranoid=st.booleans(), settled=st.booleans())
    def back_up(self, kind, paranoid, settled):
        state, stamps = picture(self.root), self.stamps()
        before = self.listed()
        strategy = STRATEGIES[kind](clock=self.clock)
        with pytest.MonkeyPatch.context() as patch:
            # As if nothing had changed shortly before, or everything.
            patch.setattr(capture, "_COARSE_NS", 0 if settled else LONG_NS)
            job = strategy.create_backup(os.fsdecode(self.root), self.vault, paranoid=paranoid)
        if settled:
            self.tick()
        self.record(job, state, stamps, before, kind)
        # Nothing is left of runs that died, unless damage hides what is needed.
        if not any((self.recorded[job.id].owner, METADATA) in self.whole for job in self.listed()):
            assert self.vault_folders() == sorted(self.recorded)

    def tick(self):
        """Let the file system's clock go on: what changes from now on bears a later time."""
        probe = self.folder / "probe"
        probe.touch()
        began = probe.stat().st_ctime_ns
        while probe.stat().st_ctime_ns == began:
            probe.touch()

    def record(self, job, state, stamps, before, kind=None):
        lines = job.manifest_path.read_bytes()
        owner = self.whole.get((job.manifest_id, MANIFEST))
        assert owner is None, "it shares a manifest that is damaged"
        entries = [json.loads(line) for line in lines.splitlines()]
        new = self.recorded[job.id] = Recorded(job, state, stamps, entries)
        assert {os.fsencode(entry["path"]) for entry in entries} == set(stamps)
        assert job.warnings == [] or job.backup_type is BackupType.FULL
        self.check_base(new, before, kind)
        self.check_holders(new)
        self.check(new)
        met[f"backups, {job.backup_type}"] += 1
        met["backups of nothing new"] += job.manifest_id is not None

    def check_base(self, new, before, kind):
        """What it builds on is the newest backup that it could, unless damage is in the way."""
        job = new.job
        kind = job.backup_type if kind is None else kind
        if kind is not BackupType.INCREMENTAL:
            before = [known for known in before if known.backup_type is BackupType.FULL]
        if kind is BackupType.FULL or not before:
            chosen = None
        elif self.is_visibly_damaged(self.recorded[before[0].id]):
            chosen = None
            met["damaged bases"] += 1
        else:
            chosen = before[0].id
        assert job.parent_id == chosen
        assert job.backup_type is (BackupType.FULL if chosen is None else kind)

    def check_holders(self, new):
        """Its own tar holds what changed since its base, and nothing else."""
        job = new.job
        if job.parent_id is None:
            assert {entry["backup"] for entry in new.entries} == {job.id}
            return
        base = self.recorded[job.parent_id]
        changed = {path for path in new.stamps if new.stamps[path] != base.stamps.get(path)}
        # The names of a file change together, and within a tick their times do not tell.
        inodes = {new.stamps[path][0] for path in changed}
        for entry in new.entries:
            path = os.fsencode(entry["path"])
            holder = entry["backup"], entry["offset"]
            if path not in changed and new.stamps[path][0] not in inodes:
                assert holder == base.held[entry["path"]], path
                met["entries held elsewhere"] += 1
            else:
                assert (
                    holder[0] == job.id
                    or holder == base.held.get(entry["path"])
                    or (entry["nlink"] > 1 and holder in base.held.values())
                ), path

    def stamps(self):
        """All by which a change can be told: the inode of each path, all else, the content."""
        found = {}
        for path in [self.root, *self.all_paths()]:
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = file.read()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            moments = status.st_mtime_ns, status.st_ctime_ns
            rest = status.st_mode, status.st_size, status.st_nlink, status.st_uid, status.st_gid
            name = os.path.relpath(path, self.root)
            found[name] = status.st_ino, moments, rest, content
        return found

    # Damage.

    @rule(seed=seeds, name=st.sampled_from([TAR, TAR, MANIFEST, METADATA]))
    def damage(self, seed, name):
        chance = random.Random(seed)
        for path in some(chance, self.parts(name)):
            data = bytearray(path.read_bytes())
            self.whole.setdefault((path.parent.name, name), bytes(data))
            # Most of a tar is zeros, which nobody reads but who verifies it.
            places = range(len(data))
            if chance.random() < 0.7:
                places = [place for place in places if data[place]] or places
            data[chance.choice(places)] ^= chance.randrange(1, 256)
            path.write_bytes(data)
            if data == self.whole[path.parent.name, name]:
                del self.whole[path.parent.name, name]
            note(f"{path} is damaged")
            self.check_some(chance)

    @rule(seed=seeds, is_cut=st.booleans())
    def lose(self, seed, is_cut):
        chance = random.Random(seed)
        for path in some(chance, self.parts(TAR)):
            self.whole.setdefault((path.parent.name, TAR), path.read_bytes())
            if is_cut:
                os.truncate(path, chance.randrange(path.stat().st_size))
            else:
                path.unlink()
            note(f"{path} is lost")
            self.check_some(chance)

    @rule()
    def repair(self):
        for (job_id, name), data in self.whole.items():
            (self.vault / job_id / name).write_bytes(data)
        self.whole.clear()

    def parts(self, name):
        """The files of that name that hold anything; none where enough are damaged."""
        if len(self.whole) > 1:
            return []
        paths = [self.vault / job_id / name for job_id in self.recorded]
        return [path for path in paths if path.is_file() and path.stat().st_size]

    def now(self, job_id, name):
        path = self.vault / job_id / name
        return path.read_bytes() if path.exists() else None

    def is_unrestorable(self, record):
        """Whether damage touched anything that a restore needs."""
        if (record.owner, MANIFEST) in self.whole:
            return True
        for entry in record.entries:
            key = entry["backup"], TAR
            if entry["type"] == "file" and key in self.whole:
                data = self.now(*key)
                pieces = entry.get("data", [[0, entry["size"]]])  # of a sparse file
                stored = sum(length for _, length in pieces)
                content = slice(entry["offset"], entry["offset"] + stored)
                if data is None or len(data) < content.stop:
                    return True
                if data[content] != self.whole[key][content]:
                    return True
        return False

    def is_visibly_damaged(self, record):
        """Whether a quick verification has to see damage."""
        if (record.owner, MANIFEST) in self.whole:
            return True
        for job_id in record.needed:
            if job_id != record.job.id and (job_id, METADATA) in self.whole:
                return True
            if (job_id, TAR) in self.whole:
                data = self.now(job_id, TAR)
                if data is None or len(data) != len(self.whole[job_id, TAR]):
                    return True
        return False

    # What has to hold.

    def check_all(self):
        for job in self.listed():
            self.check(self.recorded[job.id])

    def check_some(self, chance):
        jobs = self.listed()
        for job in chance.sample(jobs, min(3, len(jobs))):
            self.check(self.recorded[job.id])

    def vault_folders(self):
        if not self.vault.exists():
            return []
        return sorted(path.name for path in self.vault.iterdir() if path.is_dir())

    def all_listed(self):
        return self.full.list_backups(self.vault) if self.vault.exists() else []

    def listed(self):
        """The backups that are listed: those that were made, without those of damaged metadata."""
        jobs = self.all_listed()
        ids = {job_id for job_id in self.recorded if (job_id, METADATA) not in self.whole}
        assert [job.id for job in jobs] == sorted(ids, reverse=True)
        return jobs

    def check(self, record):
        if (record.job.id, METADATA) in self.whole:
            return
        target = self.folder / "restored"
        shutil.rmtree(target, ignore_errors=True)  # of a check that failed
        is_lost = self.is_unrestorable(record)
        error = refusal(self.full.restore_backup, record.job, target)
        assert (error is not None) == is_lost, error
        if error:
            assert error.damaged
            assert not target.exists()
            met["refused restores"] += 1
        else:
            assert picture(target) == record.picture
            shutil.rmtree(target)
            met["exact restores"] += 1
            met["exact restores beside damage"] += bool(self.whole)
        error = refusal(self.full.verify_backup, record.job)
        if error:
            assert {job_id for job_id, _ in self.whole} & (record.needed | {record.job.id}), error
            assert error.damaged
            self.check_concerned(error)
        else:
            assert not is_lost
            assert not self.is_visibly_damaged(record)
            assert (record.job.id, TAR) not in self.whole  # there, every byte counts
        assert [path.name for path in self.folder.iterdir() if ".re" in path.name] == []

    def check_concerned(self, error):
        if len(self.whole) == 1:  # with more of it, some may be another's
            for job_id in error.intact:
                assert not self.is_unrestorable(self.recorded[job_id])
                met["intact ones named"] += 1
            for job_id in error.dependents:
                assert self.is_unrestorable(self.recorded[job_id])
                met["dependents named"] += 1


def test_any_order_of_changes_backups_crashes_and_damage(monkeypatch):
    steps = Counter()
    counted = BackupMachine.check_invariants

    def count(self, *args, **options):
        steps["all"] += 1
        return counted(self, *args, **options)

    monkeypatch.setattr(BackupMachine, "check_invariants", count)
    monkeypatch.setattr(logging.getLogger("pytest_drdrill.backup"), "disabled", True)
    met.clear()
    run_state_machine_as_test(
        BackupMachine,
        settings=settings(
            settings.default,
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
        ),
    )
    print(steps, met)
    assert steps["all"] > 2000
    # It got everywhere.
    assert set(+met) == MEETS
