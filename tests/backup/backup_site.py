"""A source that changes, and its backups, by a clock moved by hand."""

import tempfile
from pathlib import Path

from backup_trees import picture

from hand_clock import HandClock
from pytest_drdrill.backup import (
    DifferentialBackupStrategy,
    FullBackupStrategy,
    IncrementalBackupStrategy,
    RetentionPolicy,
)
from pytest_drdrill.backup.verify import verify

DAY = 86_400
KINDS = {
    "full": FullBackupStrategy,
    "incremental": IncrementalBackupStrategy,
    "differential": DifferentialBackupStrategy,
}


class Site:
    """A source that changes, and backups of it by a clock moved by hand."""

    def __init__(self, root):
        self.source, self.vault = root / "site", root / "site-vault"
        self.source.mkdir()
        (self.source / "first.txt").write_text("there from the start")
        self.clock = HandClock()
        self.told = []
        self.states = {}
        self.by_kind = {
            name: kind(clock=self.clock, on_event=lambda *event: self.told.append(event))
            for name, kind in KINDS.items()
        }
        self.full = self.by_kind["full"]

    def back_up(self, kind="full", *, change=True):
        if change:
            name = f"{len(self.states):04}.txt"
            (self.source / name).write_text(f"new in {name}")
        job = self.by_kind[kind].create_backup(self.source, self.vault)
        self.states[job.id] = picture(self.source)
        return job

    def days(self, count, kind="full"):
        """A backup a day; the clock stands at the last of them."""
        jobs = []
        for number in range(count):
            self.clock.advance(DAY if number else 0)
            jobs.append(self.back_up(kind))
        return jobs

    def prune(self, *, dry_run=False, **rules):
        return self.full.prune_backups(self.vault, RetentionPolicy(**rules), dry_run=dry_run)

    def listed(self):
        return [job.id for job in self.full.list_backups(self.vault)]

    def check(self):
        """Every listed backup is whole, and restores what it was taken of."""
        for job in self.full.list_backups(self.vault):
            verify(job)  # not verify_backup(), which retention would notice
            with tempfile.TemporaryDirectory() as folder:
                self.full.restore_backup(job, Path(folder) / "restored")
                assert picture(Path(folder) / "restored") == self.states[job.id]
