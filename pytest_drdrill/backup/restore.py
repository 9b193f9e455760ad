"""Restore: a backup's tree written beside the target, every hash checked, then swapped in."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.backup.contents import Contents
from pytest_drdrill.backup.errors import BackupDamaged, BackupError, RestoreTargetError
from pytest_drdrill.backup.job import is_id
from pytest_drdrill.backup.manifest import MANIFEST, ROOT, read_manifest
from pytest_drdrill.backup.store import refuse_overlap
from pytest_drdrill.backup.swap import remove_tree, swap_paths, swap_tree

if TYPE_CHECKING:
    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.manifest import Entry
    from pytest_drdrill.backup.selection import Selection

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(slots=True)
class RestoreResult:
    """What a restore wrote.

    Attributes:
        job_id: the backup that was restored.
        path: the folder that now holds it.
        file_count: files, every name of a hard-linked one counted.
        size_bytes: bytes written to them, hard-linked ones counted once.
        warnings: what could not be done beside the restore itself: owners that could not be given
            back, a replaced folder that could not be removed.
    """

    job_id: str
    path: Path
    file_count: int = 0
    size_bytes: int = 0
    warnings: list[str] = field(default_factory=list)


def restore(job: BackupJob, target: Path, *, replace: bool, selection: Selection) -> RestoreResult:
    """Restore a backup, or some of its paths, as ``BackupStrategy.restore_backup`` describes."""
    in_use = _check_target(job, target, replace=replace)
    result = RestoreResult(job.id, target)
    stage = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.restoring-", dir=target.parent))
        _write_stage(job, stage, selection, result)
        if in_use and not selection.is_all:
            swap_paths(stage, target, selection.paths, result.warnings)
        else:
            swap_tree(stage, target, result.warnings)
    except OSError as error:
        reasons = [error.strerror or str(error), *getattr(error, "__notes__", ())]
        raise BackupError(
            f"can't restore backup {job.id} to {target}: {'; '.join(reasons)}", job=job
        ) from error
    finally:
        if stage is not None:
            with suppress(FileNotFoundError):  # swapped in
                remove_tree(stage)
    return result


def _check_target(job: BackupJob, target: Path, *, replace: bool) -> bool:
    """Whether the target holds anything; refuses one that can't take the restored tree."""
    if target.is_symlink():
        raise RestoreTargetError(f"{target} is a symlink; name the folder that it points to")
    if target.exists() and not target.is_dir():
        raise RestoreTargetError(f"{target} is no folder, so nothing can be restored into it")
    real = Path(os.path.realpath(target))
    store = Path(os.path.realpath(job.destination_path))
    if store not in real.parents or is_id(real.relative_to(store).parts[0]):
        try:
            refuse_overlap(target, job.destination_path, "the restore path")
        except BackupError as error:
            raise RestoreTargetError(str(error)) from None
    try:
        in_use = target.is_dir() and any(target.iterdir())
    except OSError as error:
        raise RestoreTargetError(f"can't read {target}: {error.strerror}") from error
    if in_use and not replace:
        raise RestoreTargetError(f"{target} is not empty; replace=True would replace what it holds")
    return in_use


def _write_stage(job: BackupJob, stage: Path, selection: Selection, result: RestoreResult) -> None:
    root = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Contents(job) as contents:
            writer = _Writer(job, root, contents, result)
            for entry in read_manifest(job):
                if selection.wants(entry):
                    writer.put(entry)
            selection.check_found(job)
            writer.finish()
    finally:
        os.close(root)


class _Writer:
    """Writes entries, in the order of a manifest, into a new folder.

    The manifest's own checks guarantee that each entry's folder was written here as a folder, so no
    path leads through a symlink.
    """

    def __init__(
        self, job: BackupJob, root: int, contents: Contents, result: RestoreResult
    ) -> None:
        self._job = job
        self._root = root
        self._contents = contents
        self._result = result
        self._gives_owners = os.geteuid() == 0
        # From the root down to the current one: their modes and times are set when all is in them.
        self._folders: list[Entry] = []
        # Only files with several names: the first name of each that was written, and its hash.
        self._linked: dict[str, tuple[str, str | None]] = {}

    def put(self, entry: Entry) -> None:
        while self._folders and not _is_within(entry.path, self._folders[-1].path):
            self._close_folder()
        if entry.type == "folder":
            if entry.path != ROOT:
                os.mkdir(entry.path, 0o700, dir_fd=self._root)
            self._folders.append(entry)
        elif entry.type == "symlink":
            os.symlink(entry.target or "", entry.path, dir_fd=self._root)
            self._give_owner(entry, entry.path)
            self._give_time(entry)
        else:
            self._put_file(entry)

    def finish(self) -> None:
        while self._folders:
            self._close_folder()

    def _put_file(self, entry: Entry) -> None:
        self._result.file_count += 1
        if entry.nlink > 1:
            label = entry.hardlink or entry.path
            path, digest = self._linked.setdefault(label, (entry.path, entry.sha256))
            if digest != entry.sha256:
                raise BackupDamaged.naming(self._job, [MANIFEST])
            if path != entry.path:
                os.link(
                    path,
                    entry.path,
                    src_dir_fd=self._root,
                    dst_dir_fd=self._root,
                    follow_symlinks=False,
                )
                return
        fd = os.open(entry.path, _NEW_FILE, 0o600, dir_fd=self._root)
        try:
            if not self._contents.copy(entry, fd):
                raise BackupDamaged.naming(self._job, [entry.path])
            self._give_owner(entry, fd)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self._result.size_bytes += entry.size

    def _close_folder(self) -> None:
        entry = self._folders.pop()
        self._give_owner(entry, entry.path)
        os.chmod(entry.path, entry.mode, dir_fd=self._root)
        self._give_time(entry)

    def _give_time(self, entry: Entry) -> None:
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(entry.path, ns=times, dir_fd=self._root, follow_symlinks=False)

    def _give_owner(self, entry: Entry, of: int | str) -> None:
        """Give an entry to its owner, which only root may; to be called before its mode is set."""
        if not self._gives_owners:
            return
        try:
            if isinstance(of, int):
                os.fchown(of, entry.uid, entry.gid)
            else:
                os.chown(of, entry.uid, entry.gid, dir_fd=self._root, follow_symlinks=False)
        except PermissionError as error:
            # Root of a container may lack the right; modes and contents matter more.
            self._gives_owners = False
            self._result.warnings.append(f"owners could not be given back: {error.strerror}")


def _is_within(path: str, folder: str) -> bool:
    return folder == ROOT or path.startswith(folder + "/")
