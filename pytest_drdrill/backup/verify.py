"""Verification: what a backup needs is there, and every byte of it is what was written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_drdrill.backup.background import Background
from pytest_drdrill.backup.contents import Check, Contents
from pytest_drdrill.backup.errors import BackupDamaged, BackupError
from pytest_drdrill.backup.manifest import read_manifest
from pytest_drdrill.backup.parts import Damage, check_parts, find_damage
from pytest_drdrill.backup.progress import UNTOLD, Reporter
from pytest_drdrill.backup.store import TAR, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.backup.job import BackupJob

_MOST_OPEN = 200


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verification found intact.

    Attributes:
        job_id: the backup that was verified.
        file_count: files whose content was read, hard-linked ones once; 0 after a quick one.
        size_bytes: bytes of their content.
        quick: whether only presence, sizes and the chain were looked at.
    """

    job_id: str
    file_count: int
    size_bytes: int
    quick: bool = False


def verify(
    job: BackupJob,
    *,
    quick: bool = False,
    progress: Reporter = UNTOLD,
) -> VerifyResult:
    """Hold a backup against what was written.

    Quick: its manifest by its hash; the tars that hold its bytes by their presence and size; the
    chain by the hash of this manifest that each backup keeps which built on it. Full: every byte as
    well, those in earlier backups included.

    Raises:
        BackupDamaged: names all that is damaged, the backups that this concerns too, and those
            that it does not.
        BackupError: the machine has no more threads or open files for it.
    """
    store = Store(job.destination_path)
    damage = Damage()
    jobs = store.jobs()
    find_damage(store, job, damage, jobs)
    files = size = 0
    if not quick and not damage.manifest:
        try:
            files, size = _check_contents(job, damage, progress)
        except OSError as error:
            reason = error.strerror or error
            raise BackupError(f"can't verify backup {job.id}: {reason}", job=job) from error
        damage.cut.clear()  # what is missing of them is known now
    if damage:
        dependents, intact = _concerned(store, job, damage, jobs)
        raise BackupDamaged.naming(job, damage.names, dependents=dependents, intact=intact)
    return VerifyResult(job.id, files, size, quick)


def _check_contents(job: BackupJob, damage: Damage, progress: Reporter) -> tuple[int, int]:
    files = size = position = 0
    with (
        closing(Background()) as background,
        closing(Contents(job, background)) as contents,
    ):
        # What is damaged, and what may be once its hash is known, in order.
        open_checks: list[tuple[Check, bool]] = []
        for number, entry in enumerate(read_manifest(job), 1):
            is_content = entry.type == "file" and entry.hardlink is None
            if is_content:
                files += 1
                size += entry.size
            if entry.backup not in damage.tars:  # else the tar itself is named
                sound = True
                if entry.backup == job.id:
                    sound, position = contents.is_member(entry, position)
                check = Check(entry, True)
                if is_content or (entry.type == "file" and entry.backup != job.id):
                    check = contents.begin_check(entry)
                if not sound or check.outcome is not True:
                    open_checks.append((check, sound))
                    if len(open_checks) > _MOST_OPEN:
                        _note(contents, open_checks, job, damage)
            progress(number, size)
        _note(contents, open_checks, job, damage)
        own = job.manifest_id is None and job.id not in damage.tars | damage.cut
        if own and not contents.is_end(position):
            damage.names[TAR] = "its end is not that of a tar"
    return files, size


def _note(
    contents: Contents, open_checks: list[tuple[Check, bool]], job: BackupJob, damage: Damage
) -> None:
    for check, sound in open_checks:
        entry = check.entry
        intact = contents.is_intact(check)
        if not (intact and sound):
            damage.names[entry.path] = "" if entry.backup == job.id else f"in {entry.backup}"
        if not intact:  # others need no more of a member than its content
            damage.contents.add((entry.backup, entry.offset))
    open_checks.clear()


def _concerned(
    store: Store, job: BackupJob, damage: Damage, jobs: Sequence[BackupJob]
) -> tuple[list[str], list[str]]:
    """Which other backups share the damage, and which it leaves alone.

    The newest first. One that is damaged in another way is in neither.
    """
    dependents, intact = [], []
    for other in jobs:
        if other.id == job.id:
            continue
        try:
            if _shares(other, job, damage):
                dependents.append(other.id)
            else:
                check_parts(store, other, jobs)
                intact.append(other.id)
        except BackupError:
            continue
    return dependents, intact


def _shares(other: BackupJob, job: BackupJob, damage: Damage) -> bool:
    if damage.manifest and other.manifest_path == job.manifest_path:
        return True
    return any(
        entry.type == "file"
        and (
            entry.backup in damage.tars | damage.cut
            or (entry.backup, entry.offset) in damage.contents
        )
        for entry in read_manifest(other)
    )
