"""The manifest: what a backup describes, one JSON line for each entry, sorted by path.

Paths are relative to the source, which is itself the first entry, ``.``. They are sorted part by
part, so that a folder is directly followed by all that it holds: a manifest and a folder tree can
be walked side by side, and restored from top to bottom, without holding either in memory.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

from pytest_drdrill.backup.entry import LINE, ROOT, parse_line
from pytest_drdrill.backup.errors import BackupDamaged
from pytest_drdrill.backup.job import MANIFEST
from pytest_drdrill.backup.regular import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_drdrill.backup.entry import Entry
    from pytest_drdrill.backup.job import BackupJob


def read_manifest(job: BackupJob) -> Iterator[Entry]:
    """The entries of a backup, checked, in the order of the manifest.

    The whole manifest is held against its hash before the first entry is given. Beyond that,
    nothing is taken on trust, since whoever can write to the destination can write a hash too: a
    path never leaves the tree, comes once, and lies in a folder that the manifest itself holds, so
    that nothing can be written through a symlink.

    Raises:
        BackupDamaged: the manifest is missing, is not the one that was published, or holds a line
            that no backup writes.
    """
    path = job.manifest_path
    try:
        check_manifest(job)
        with os.fdopen(open_regular(path), "rb") as lines:
            yield from _checked_entries(lines.readline, job)
    except OSError as error:
        raise _unreadable(job, error) from error


def check_manifest(job: BackupJob) -> None:
    """Hold a backup's manifest against its hash.

    Raises:
        BackupDamaged: it is missing, or not the one that was published.
    """
    digest = sha256()
    try:
        with os.fdopen(open_regular(job.manifest_path), "rb") as file:
            while block := file.read(LINE):
                digest.update(block)
    except OSError as error:
        raise _unreadable(job, error) from error
    if digest.hexdigest() != job.manifest_sha256:
        raise BackupDamaged(
            f"{_whose(job)} is not the one that was published: its hash differs",
            damaged=[_name(job)],
            reason="its hash differs",
            job=job,
        )


def _unreadable(job: BackupJob, error: OSError) -> BackupDamaged:
    return BackupDamaged(
        f"{_whose(job)} can't be read: {error.strerror}",
        damaged=[_name(job)],
        reason=error.strerror or str(error),
        job=job,
    )


def _whose(job: BackupJob) -> str:
    if job.manifest_id is None:
        return f"the manifest of backup {job.id}"
    return f"the manifest of backup {job.id}, which is that of backup {job.manifest_id},"


def _name(job: BackupJob) -> str:
    return MANIFEST if job.manifest_id is None else f"{job.manifest_id}/{MANIFEST}"


def _checked_entries(readline: Callable[[int], bytes], job: BackupJob) -> Iterator[Entry]:
    number = 0
    open_folders: list[str] = []
    previous: list[str] = []
    try:
        while line := readline(LINE):
            number += 1
            entry = parse_line(line)
            if not open_folders:
                if entry.path != ROOT or entry.type != "folder":
                    raise ValueError("the first entry is not the folder '.'")  # noqa: TRY301 - one handler
                open_folders.append("")
                yield entry
                continue
            parts = entry.path.split("/")
            if parts <= previous:
                raise ValueError(f"{entry.path!r} comes twice or out of order")  # noqa: TRY301
            previous = parts
            parent = entry.path.rpartition("/")[0]
            while open_folders and open_folders[-1] != parent:
                open_folders.pop()
            if not open_folders:
                raise ValueError(f"{entry.path!r} lies in no folder of the manifest")  # noqa: TRY301
            if entry.type == "folder":
                open_folders.append(entry.path)
            yield entry
        if not number:
            raise ValueError("it is empty")  # noqa: TRY301
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        reason = "it nests too deep" if isinstance(error, RecursionError) else error
        raise BackupDamaged(
            f"line {number} of the manifest of backup {job.id} can't be trusted: {reason}",
            damaged=[MANIFEST],
            job=job,
        ) from None
