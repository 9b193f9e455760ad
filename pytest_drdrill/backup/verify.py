"""Verification: every byte that a backup needs is read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_drdrill.backup.contents import Contents
from pytest_drdrill.backup.errors import BackupDamaged
from pytest_drdrill.backup.manifest import read_manifest
from pytest_drdrill.backup.store import TAR

if TYPE_CHECKING:
    from pytest_drdrill.backup.job import BackupJob


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verification read and found intact.

    Attributes:
        job_id: the backup that was verified.
        file_count: files whose content was read, hard-linked ones once.
        size_bytes: bytes of their content.
    """

    job_id: str
    file_count: int
    size_bytes: int


def verify(job: BackupJob) -> VerifyResult:
    """Read all that a backup needs: its manifest, the whole of its tar, and its bases' bytes.

    Raises:
        BackupDamaged: names all that is damaged.
    """
    damaged: list[str] = []
    files = size = position = 0
    with Contents(job) as contents:
        for entry in read_manifest(job):
            is_content = entry.type == "file" and entry.hardlink is None
            if entry.backup == job.id:
                intact, position = contents.is_member(entry, position)
            else:
                intact = not is_content or contents.copy(entry)
            if not intact:
                damaged.append(entry.path)
            if is_content:
                files += 1
                size += entry.size
        if not contents.is_end(position):
            damaged.append(TAR)
    if damaged:
        raise BackupDamaged.naming(job, damaged)
    return VerifyResult(job.id, files, size)
