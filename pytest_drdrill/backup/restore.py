"""Restore: a backup's tree written beside the target, every hash checked, then swapped in."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import BackupError, RestoreTargetError
from pytest_drdrill.backup.exchange import sync_file_system
from pytest_drdrill.backup.full_disk import inodes_told, why
from pytest_drdrill.backup.job import is_id
from pytest_drdrill.backup.manifest import read_manifest
from pytest_drdrill.backup.paths import refuse_overlap
from pytest_drdrill.backup.progress import UNTOLD, Reporter
from pytest_drdrill.backup.settle import move_in, settled
from pytest_drdrill.backup.swap import swap_paths, swap_tree
from pytest_drdrill.backup.writer import Writer
from pytest_drdrill.mounts import is_within, mounts_within

if TYPE_CHECKING:
    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.selection import Selection


@dataclass(slots=True)
class RestoreResult:
    """What a restore wrote.

    Attributes:
        job_id: the backup that was restored.
        path: the folder that now holds it.
        file_count: files, every name of a hard-linked one counted.
        size_bytes: bytes written to them, hard-linked ones counted once.
        warnings: what could not be done beside the restore itself: owners that could not be given
            back, setuid and setgid bits left out for that, FIFOs, sockets and devices, a replaced
            folder that could not be removed; and that an earlier restore, which had died midway,
            was undone.
    """

    job_id: str
    path: Path
    file_count: int = 0
    size_bytes: int = 0
    warnings: list[str] = field(default_factory=list)


def restore(
    job: BackupJob,
    target: Path,
    *,
    replace: bool,
    selection: Selection,
    progress: Reporter = UNTOLD,
) -> RestoreResult:
    """Restore a backup, or some of its paths, as ``BackupStrategy.restore_backup`` describes."""
    _check_target(job, target, selection)
    result = RestoreResult(job.id, target)
    try:
        with inodes_told(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
        with (
            inodes_told(target.parent),
            settled(target, result.warnings) as journal,
            inodes_told(target.parent),  # before what was written is cleared away
        ):
            in_use = _is_in_use(target, replace=replace)
            stage = journal.make_stage()
            _write_stage(job, stage, selection, result, progress)
            if in_use:  # what is to be dropped must not be all that a power cut leaves
                sync_file_system(stage)
            if replace and selection.is_all:
                swap_tree(journal, stage, target)
            elif in_use or not move_in(stage, target):
                if not replace:
                    raise RestoreTargetError(
                        f"{target} was filled while backup {job.id} was restored, and is left as "
                        "it is",
                        job=job,
                    )
                swap_paths(journal, stage, target, selection.paths)
    except OSError as error:
        raise BackupError(
            f"can't restore backup {job.id} to {target}: {why(error)}", job=job
        ) from error
    return result


def _check_target(job: BackupJob, target: Path, selection: Selection) -> None:
    """Refuse a target that can't take the restored tree, whatever it holds."""
    mode = _mode_of(target)
    if stat.S_ISLNK(mode):
        raise RestoreTargetError(f"{target} is a symlink; name the folder that it points to")
    if mode and not stat.S_ISDIR(mode):
        raise RestoreTargetError(f"{target} is no folder, so nothing can be restored into it")
    real = Path(os.path.realpath(target))
    store = Path(os.path.realpath(job.destination_path))
    if store not in real.parents or is_id(real.relative_to(store).parts[0]):
        try:
            refuse_overlap(target, job.destination_path, "the restore path")
        except BackupError as error:
            raise RestoreTargetError(str(error)) from None
    _refuse_mounts(target, str(real), selection)


def _is_in_use(target: Path, *, replace: bool) -> bool:
    """Whether the target holds anything, which has to be meant to be replaced."""
    try:
        in_use = any(target.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # a file is told by the rename
        return False
    except OSError as error:
        raise RestoreTargetError(f"can't read {target}: {error.strerror}") from error
    if in_use and not replace:
        raise RestoreTargetError(f"{target} is not empty; replace=True would replace what it holds")
    return in_use


def _mode_of(target: Path) -> int:
    """The type and mode of what is at a path, 0 where nothing is."""
    try:
        return target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise RestoreTargetError(f"can't restore to {target}: {error.strerror}") from error


def _refuse_mounts(target: Path, real: str, selection: Selection) -> None:
    """Refuse a mount point where something would be moved: what it holds lies elsewhere."""
    for mount in mounts_within(real):
        if mount == real:
            raise RestoreTargetError(
                f"{target} is a mount point, which nothing can take the place of; "
                "restore to a folder below it"
            )
        chosen = [f"{real}/{path}" for path in selection.paths]
        if selection.is_all or any(is_within(p, mount) or is_within(mount, p) for p in chosen):
            raise RestoreTargetError(
                f"{mount} is a mount point in {target}; what it holds can't be replaced"
            )


def _write_stage(
    job: BackupJob,
    stage: Path,
    selection: Selection,
    result: RestoreResult,
    progress: Reporter,
) -> None:
    root = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _disinherit(root)
        with contextlib.closing(Writer(job, root)) as writer:
            for number, entry in enumerate(read_manifest(job), 1):
                if selection.wants(entry):
                    writer.put(entry)
                progress(number, writer.size_bytes)
            selection.check_found(job)
            result.warnings += writer.finish()
            progress.end()
        result.file_count, result.size_bytes = writer.file_count, writer.size_bytes
    finally:
        os.close(root)


def _disinherit(folder: int) -> None:
    """Take from a new folder the ACLs that it has from the one it was made in."""
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        with contextlib.suppress(OSError):  # mostly it has none
            os.removexattr(folder, name)
