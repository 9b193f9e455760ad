"""Verification: what a backup needs is there, and every byte of it is what was written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_drdrill.backup.background import Background
from pytest_drdrill.backup.contents import Check, Contents
from pytest_drdrill.backup.errors import BackupDamaged, BackupError
from pytest_drdrill.backup.job import MANIFEST
from pytest_drdrill.backup.manifest import check_manifest, read_manifest
from pytest_drdrill.backup.progress import UNTOLD, Reporter
from pytest_drdrill.backup.regular import size_of
from pytest_drdrill.backup.store import METADATA, TAR, Store

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


@dataclass(slots=True)
class _Damage:
    """What was found damaged.

    Attributes:
        names: what a reader is told: paths in the backup, or files of it; each with the reason, or
            with nothing where its bytes are other ones.
        tars: backups whose tar can't be read at all.
        cut: backups whose tar is there, and of another size than it had.
        contents: single contents, by the backup that holds them and where.
        manifest: whether the manifest is of no use.
    """

    names: dict[str, str] = field(default_factory=dict)
    tars: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    contents: set[tuple[str, int]] = field(default_factory=set)
    manifest: bool = False

    def __bool__(self) -> bool:
        return bool(self.names)


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
    """
    store = Store(job.destination_path)
    damage = _Damage()
    jobs = store.jobs()
    _find(store, job, damage, jobs)
    files = size = 0
    if not quick and not damage.manifest:
        files, size = _check_contents(job, damage, progress)
        damage.cut.clear()  # what is missing of them is known now
    if damage:
        dependents, intact = _concerned(store, job, damage, jobs)
        raise BackupDamaged.naming(job, damage.names, dependents=dependents, intact=intact)
    return VerifyResult(job.id, files, size, quick)


def _find(store: Store, job: BackupJob, damage: _Damage, among: Sequence[BackupJob]) -> None:
    try:
        check_manifest(job)
    except BackupDamaged as error:
        damage.names.update(dict.fromkeys(error.damaged, error.reason))
        damage.manifest = True
    if job.manifest_id is None:
        _check_tar(store, job.id, job.stored_bytes, damage, TAR)
    try:
        needed = store.needed(job)
    except BackupError as error:
        needed = []
        damage.names[f"{job.manifest_id}/{METADATA}"] = str(error)
    for base in needed:
        try:
            size = store.load(base).stored_bytes
        except BackupError as error:
            damage.names[f"{base}/{METADATA}"] = str(error)
            size = None
        _check_tar(store, base, size, damage, f"{base}/{TAR}")
    _check_chain(among, job, damage)


def _check_tar(store: Store, holder: str, size: int | None, damage: _Damage, name: str) -> None:
    try:
        found = size_of(store.path / holder / TAR)
    except OSError as error:
        damage.names[name] = error.strerror or str(error)
        damage.tars.add(holder)
        return
    if size is not None and found != size:
        damage.names[name] = f"{found:,} bytes in place of {size:,}"
        damage.cut.add(holder)


def _check_chain(others: Sequence[BackupJob], job: BackupJob, damage: _Damage) -> None:
    """A manifest changed together with its hash is betrayed by the backups that built on it."""
    for other in others:
        if other.parent_id == job.id and other.parent_sha256 != job.manifest_sha256:
            damage.names[MANIFEST] = f"it is not the one that {other.id} built on"
            damage.manifest = True
            return


def _check_contents(job: BackupJob, damage: _Damage, progress: Reporter) -> tuple[int, int]:
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
    contents: Contents, open_checks: list[tuple[Check, bool]], job: BackupJob, damage: _Damage
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
    store: Store, job: BackupJob, damage: _Damage, jobs: Sequence[BackupJob]
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


def _shares(other: BackupJob, job: BackupJob, damage: _Damage) -> bool:
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


def check_parts(store: Store, job: BackupJob, among: Sequence[BackupJob]) -> None:
    """Quick verification, without a look at what else its damage concerns.

    Args:
        store: the destination.
        job: whose backup it is.
        among: the backups of the destination.

    Raises:
        BackupDamaged: names what is damaged.
    """
    damage = _Damage()
    _find(store, job, damage, among)
    if damage:
        raise BackupDamaged.naming(job, damage.names)
