"""Any order of changes, backups, prunings, crashes and damage.

Each backup that is there restores exactly, or says why not.
"""
# ruff: noqa: PTH102 - names are bytes here, which pathlib does not take

import contextlib
import fcntl
import io
import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_trees import picture
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from machine_damage import MANIFEST, METADATA, TAR, DamagedBackups
from machine_prune import Died, PrunedBackups, met
from machine_source import ChangingSource, attributes, peculiar

from hand_clock import HandClock
from pytest_drdrill.backup import (
    BackupDamaged,
    BackupType,
    DifferentialBackupStrategy,
    FullBackupStrategy,
    IncrementalBackupStrategy,
    capture,
    contents,
    status,
)

# How long it runs: so many examples, each of so many steps.
EXAMPLES, STEPS = 75, 32

LONG_NS = 10**18  # some decades

STRATEGIES = {
    BackupType.FULL: FullBackupStrategy,
    BackupType.INCREMENTAL: IncrementalBackupStrategy,
    BackupType.DIFFERENTIAL: DifferentialBackupStrategy,
}
# The calls at which a run can die. All but the ends of open files, which are written when it ends.
CALLS = [
    (io, "open"),
    (fcntl, "flock"),
    *(
        (os, name)
        for name in ("open", "stat", "lstat", "fstat", "scandir", "listdir", "readv", "readlink")
    ),
    *((os, name) for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")),
]

MEETS = {
    *("exact restores", "exact restores beside damage", "refused restores"),
    *("backups, full", "backups, incremental", "backups, differential", "backups of nothing new"),
    *("died before it was published", "died after it was published", "outlived its death"),
    *("left something behind", "entries held elsewhere", "damaged bases"),
    *("intact ones named", "dependents named"),
    *("prunings", "pruned", "kept for others", "kept for what is unknown", "outlived a pruning"),
    *("pruned in part", "removed in part", "sparse files restored"),
}


@contextlib.contextmanager
def dying(calls, *, since=None):
    """After so many calls of the system, every further one fails: nothing can be cleared up.

    Calls count from the beginning, or once there was one of a certain function.
    """
    left = calls
    is_counting = since is None

    def fatal(function):
        def call(*args, **options):
            nonlocal left, is_counting
            if not left:
                raise Died
            left -= is_counting
            is_counting = is_counting or function is since
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, fatal(getattr(module, name)))
        yield


@dataclass
class Recorded:
    """A backup as it has to be: the tree at its recovery point, and its manifest."""

    job: Any
    state: tuple
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


def state_of(root):
    """All that a restore must give back."""
    return picture(root), peculiar(root)


def refusal(act, *arguments):
    """What it found damaged, or None."""
    try:
        act(*arguments)
    except BackupDamaged as error:
        return error


class BackupMachine(ChangingSource, DamagedBackups, PrunedBackups):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="drdrill-machine-"))
        self.root = os.fsencode(self.folder / "source")
        os.mkdir(self.root)
        self.vault = self.folder / "vault"
        self.clock = HandClock()
        self.full = FullBackupStrategy(clock=self.clock)
        self.recorded = {}  # by id
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
        """However an example went, its backups can be built on and pruned, and damage is seen."""
        self.repair()
        self.back_up(BackupType.INCREMENTAL, paranoid=False, settled=False)
        self.change_contents(self.last_seed)
        self.back_up(BackupType.INCREMENTAL, paranoid=False, settled=True)
        self.damage(self.last_seed, TAR)
        self.repair()
        self.lose(self.last_seed, is_cut=True)
        self.back_up(BackupType.DIFFERENTIAL, paranoid=False, settled=False)
        self.prune_that_dies(self.last_seed, is_late=True)
        self.repair()
        self.damage(self.last_seed, METADATA)
        self.prune(self.last_seed + 1)
        self.repair()
        self.back_up(BackupType.INCREMENTAL, paranoid=False, settled=True)

    def dying(self, calls, *, is_late):
        return dying(calls, since=os.unlink if is_late else None)

    # Backups.

    @rule(
        kind=st.sampled_from(BackupType),
        paranoid=st.booleans(),
        calls=st.integers(0, 150) | st.integers(1, 9),
        is_late=st.booleans(),
    )
    def backup_that_dies(self, kind, paranoid, calls, is_late):
        state, stamps = state_of(self.root), self.stamps()
        before = self.listed()
        job = None
        strategy = STRATEGIES[kind](clock=self.clock)
        # Late: once it was published.
        with contextlib.suppress(Died), dying(calls, since=os.rename if is_late else None):
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
        state, stamps = state_of(self.root), self.stamps()
        before = self.listed()
        strategy = STRATEGIES[kind](clock=self.clock)
        with pytest.MonkeyPatch.context() as patch:
            # As if nothing had changed shortly before, or everything.
            patch.setattr(status, "_COARSE_NS", 0 if settled else LONG_NS)
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
            assert state_of(target) == record.state
            shutil.rmtree(target)
            met["sparse files restored"] += "sparse" in str(record.state[1])
            met["attributes restored"] += "user.a" in str(record.state[1])
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


@pytest.fixture
def meets(tmp_path):
    """What has to be met; attributes only where the file system has them."""
    with contextlib.suppress(OSError):
        os.setxattr(tmp_path, "user.a", b"")
    return MEETS | ({"attributes restored"} if attributes(tmp_path) else set())


def test_any_order_of_changes_backups_prunings_crashes_and_damage(monkeypatch, meets):
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
    assert set(+met) == meets
