"""Small disks in memory that run out of something, and what is done on them until there is enough.

The sweeps return the errors of the attempts that had too little; what is asserted of every such
attempt, whatever the disk ran out of, is asserted here.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from contextlib import contextmanager

from backup_trees import picture

from needs import lacks
from pytest_drdrill.backup import BackupError, BackupRefused, BackupStatus


class TightDisk(ABC):
    """A small file system in memory, of which a filler takes all but so much.

    ``sentence`` is a pattern of what an act is refused with that finds too little left.
    """

    sentence: str

    def __init__(self, path, filler):
        self.path = path
        self.filler = path / filler

    @abstractmethod
    def leave(self, amount):
        """Take all but so much."""

    @abstractmethod
    def check_given_back(self, amount):
        """An act that was left so much, and refused, gave back what it had taken."""

    def names(self):
        """What lies on it but for the filler."""
        return sorted(set(os.listdir(self.path)) - {self.filler.name})  # noqa: PTH208


@contextmanager
def mounted(path, options):
    """A file system in memory, at a folder made for it; skips where there is no right to mount."""
    path.mkdir()
    command = shutil.which("mount")
    arguments = ["-t", "tmpfs", "-o", options, "tmpfs", path]
    if not command or subprocess.run([command, *arguments], check=False).returncode:
        lacks("the right to mount")
    yield path
    subprocess.run(["umount", path], check=True)


def refused(disk, act):
    """What an act on a disk with more and more left is refused with, until there is enough."""
    for amount in itertools.count():
        disk.leave(amount)
        error = result = None
        try:
            result = act()
        except BackupError as raised:
            error = raised
        yield error, result
        if error is None:
            return
        assert re.search(disk.sentence, str(error)), str(error)
        disk.check_given_back(amount)


def sweep_second_backup(strategy, disk, source, change, folder):
    """Backs up twice, after a change the second time, which is tried until there is enough left.

    Args:
        change: changes the source, which it is given.
        folder: for what is restored of both backups in the end.
    """
    vault = disk.path / "vault"
    before = picture(source)
    first = strategy.create_backup(source, vault)
    change(source)
    errors = []
    for error, job in refused(disk, lambda: strategy.create_backup(source, vault)):
        if job is None:
            errors.append(error)
            assert error.job.status is BackupStatus.FAILED
            assert error.job.error_message == str(error)
            assert strategy.list_backups(vault) == [first]
            assert sorted(path.name for path in vault.iterdir()) == sorted([".lock", first.id])
    assert strategy.list_backups(vault) == [job, first]
    strategy.restore_backup(first, folder / "first")
    assert picture(folder / "first") == before
    strategy.restore_backup(job, folder / "second")
    assert picture(folder / "second") == picture(source)
    return errors


def sweep_first_backup(strategy, disk, source):
    """Backs up into a vault that is not there yet, until there is enough left."""
    vault = disk.path / "vault"
    errors = []
    for error, job in refused(disk, lambda: strategy.create_backup(source, vault)):
        if job is None:
            errors.append(error)
            # Only the folder and its lock could not be made; else there was a job.
            assert (error.job is None) == isinstance(error, BackupRefused)
            shutil.rmtree(vault, ignore_errors=True)
    strategy.verify_backup(job)
    return errors


def sweep_restore(strategy, disk, source, vault, *, holds_tree, paths=None):
    """Backs up elsewhere, and restores onto the disk until there is enough left.

    Args:
        holds_tree: whether there is an older tree at the target.
        paths: what alone is restored, ``sub/b.txt`` among it; None for everything.
    """
    job = strategy.create_backup(source, vault)
    target = disk.path / "target"
    if holds_tree:
        (target / "sub").mkdir(parents=True)
        (target / "sub" / "b.txt").write_text("older")
    names = disk.names()
    before = picture(target) if target.exists() else None
    errors = []

    def act():
        return strategy.restore_backup(job, target, replace=True, paths=paths)

    for error, result in refused(disk, act):
        if result is None:
            errors.append(error)
            assert str(error).startswith(f"can't restore backup {job.id} to {target}: ")
            assert (picture(target) if target.exists() else None) == before
            assert disk.names() == names
            assert disk.filler.exists()
    assert result.warnings == []
    if paths is None:
        assert picture(target) == picture(source)
    else:
        assert (target / "sub" / "b.txt").read_text() == "beta"
    assert disk.names() == sorted({*names, "target"})
    assert disk.filler.exists()
    assert strategy.list_backups(vault) == [job]
    return errors
