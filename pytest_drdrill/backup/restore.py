"""Restore: a backup's tree written beside the target, every hash checked, then swapped in."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from base64 import b64decode
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.backup.background import Background
from pytest_drdrill.backup.contents import Contents
from pytest_drdrill.backup.entry import RECORDED, ROOT
from pytest_drdrill.backup.errors import BackupDamaged, BackupError, RestoreTargetError
from pytest_drdrill.backup.exchange import sync_file_system
from pytest_drdrill.backup.job import MANIFEST, is_id
from pytest_drdrill.backup.manifest import read_manifest
from pytest_drdrill.backup.paths import refuse_overlap
from pytest_drdrill.backup.progress import UNTOLD, Reporter
from pytest_drdrill.backup.settle import move_in, settled
from pytest_drdrill.backup.swap import swap_paths, swap_tree
from pytest_drdrill.mounts import is_within, mounts_within

if TYPE_CHECKING:
    from pytest_drdrill.backup.contents import Check
    from pytest_drdrill.backup.entry import Entry
    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.selection import Selection

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_NOT_ALLOWED = {errno.EPERM, errno.EACCES, errno.EINVAL}  # EINVAL: a number with no owner here
_NO_XATTR = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.ENAMETOOLONG}
_MOST_OPEN = 32
_SET_ID = stat.S_ISUID | stat.S_ISGID


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
        target.parent.mkdir(parents=True, exist_ok=True)
        with settled(target, result.warnings) as journal:
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
        reasons = [error.strerror or str(error), *getattr(error, "__notes__", ())]
        raise BackupError(
            f"can't restore backup {job.id} to {target}: {'; '.join(reasons)}", job=job
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
        with (
            contextlib.closing(Background()) as background,
            contextlib.closing(Contents(job, background)) as contents,
        ):
            writer = _Writer(job, root, contents, result)
            for number, entry in enumerate(read_manifest(job), 1):
                if selection.wants(entry):
                    writer.put(entry)
                progress(number, result.size_bytes)
            selection.check_found(job)
            writer.finish()
            background.end_sync()
            progress.end()
    finally:
        os.close(root)


def _disinherit(folder: int) -> None:
    """Take from a new folder the ACLs that it has from the one it was made in."""
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        with contextlib.suppress(OSError):  # mostly it has none
            os.removexattr(folder, name)


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
        # What is made in the new folder is born with its owners, unless it hands its group down.
        status = os.fstat(root)
        is_handed_down = status.st_mode & stat.S_ISGID
        self._born = None if is_handed_down else (status.st_uid, status.st_gid)
        self._without_bits: list[str] = []  # what lost its setuid or setgid bit with its owner
        self._owners_left = False
        self._recorded: list[str] = []
        self._without_xattrs: dict[str, list[str]] = {}
        # Whether what was written is what was backed up: for large files that comes out later.
        self._checks: deque[Check] = deque()
        # From the root down to the current one: their modes and times are set when all is in them.
        self._folders: list[Entry] = []
        # Only files with several names: the first name of each that was written, and its hash.
        self._linked: dict[str, tuple[str, str | None]] = {}

    def put(self, entry: Entry) -> None:
        while self._folders and not _is_inside(entry.path, self._folders[-1].path):
            self._close_folder()
        if entry.type == "folder":
            if entry.path != ROOT:
                os.mkdir(entry.path, 0o700, dir_fd=self._root)
            self._folders.append(entry)
        elif entry.type == "symlink":
            os.symlink(entry.target or "", entry.path, dir_fd=self._root)
            self._give_owner(entry, entry.path)
            self._give_xattrs(entry)
            self._give_time(entry)
        elif entry.type in RECORDED:
            self._recorded.append(entry.path)
        else:
            self._put_file(entry)

    def finish(self) -> None:
        while self._folders:
            self._close_folder()
        while self._checks:
            self._end_check()
        if lost := self._without_bits:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            self._result.warnings.append(
                f"{lost[0]!r}{more} lost setuid and setgid, as the owner could not be given back"
            )
        if recorded := self._recorded:
            more = f" and {len(recorded) - 1} more" if len(recorded) > 1 else ""
            self._result.warnings.append(f"{recorded[0]!r}{more}, recorded only, can't be restored")
        for name, paths in self._without_xattrs.items():
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            self._result.warnings.append(
                f"{paths[0]!r}{more} lost the attribute {name!r}, which can't be set here"
            )

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
            self._checks.append(self._contents.begin_copy(entry, fd))
            self._give_owner(entry, fd)
            self._give_xattrs(entry, fd)
            os.fchmod(fd, self._mode(entry, fd))
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self._result.size_bytes += entry.size
        while self._checks and (self._checks[0].is_done or len(self._checks) > _MOST_OPEN):
            self._end_check()

    def _end_check(self) -> None:
        check = self._checks.popleft()
        if not self._contents.is_intact(check):
            raise BackupDamaged.naming(self._job, [check.entry.path])

    def _close_folder(self) -> None:
        entry = self._folders.pop()
        self._give_owner(entry, entry.path)
        self._give_xattrs(entry)
        os.chmod(entry.path, self._mode(entry, entry.path), dir_fd=self._root)
        self._give_time(entry)

    def _give_time(self, entry: Entry) -> None:
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(entry.path, ns=times, dir_fd=self._root, follow_symlinks=False)

    def _give_owner(self, entry: Entry, of: int | str) -> None:
        """Give an entry to its owner, which only root may; to be called before its mode is set."""
        if not self._gives_owners or (entry.uid, entry.gid) == self._born:
            return
        try:
            if isinstance(of, int):
                os.fchown(of, entry.uid, entry.gid)
            else:
                os.chown(of, entry.uid, entry.gid, dir_fd=self._root, follow_symlinks=False)
        except OSError as error:
            # Root of a container may lack the right, or know no such owner; contents matter more.
            if error.errno not in _NOT_ALLOWED:
                raise
            if not self._owners_left:
                self._result.warnings.append(f"owners could not be given back: {error.strerror}")
            self._owners_left = True

    def _give_xattrs(self, entry: Entry, fd: int | None = None) -> None:
        """Give extended attributes back; after the owner, whose change drops some of them."""
        of = f"/proc/self/fd/{self._root}/{entry.path}" if fd is None else fd
        for name, value in (entry.xattrs or {}).items():
            try:
                os.setxattr(of, name, b64decode(value), follow_symlinks=fd is not None)
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise
                self._without_xattrs.setdefault(name, []).append(entry.path)

    def _mode(self, entry: Entry, of: int | str) -> int:
        """The mode to set: setuid and setgid would give away the rights of a wrong owner."""
        if not entry.mode & _SET_ID:
            return entry.mode
        if isinstance(of, int):
            status = os.fstat(of)
        else:
            status = os.stat(of, dir_fd=self._root, follow_symlinks=False)
        if (status.st_uid, status.st_gid) == (entry.uid, entry.gid):
            return entry.mode
        self._without_bits.append(entry.path)
        return entry.mode & ~_SET_ID


def _is_inside(path: str, folder: str) -> bool:
    return folder == ROOT or path.startswith(folder + "/")
