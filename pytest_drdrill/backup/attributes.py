"""What an entry gets back beside its content: owner, extended attributes, mode, time."""

from __future__ import annotations

import errno
import os
import stat
from base64 import b64decode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_drdrill.backup.entry import Entry

_NOT_ALLOWED = {errno.EPERM, errno.EACCES, errno.EINVAL}  # EINVAL: a number with no owner here
_NO_XATTR = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.ENAMETOOLONG}
_SET_ID = stat.S_ISUID | stat.S_ISGID


class Attributes:
    """Gives entries of a new tree their attributes, and remembers which it could not give.

    Threads may share it.

    Args:
        root: the tree's folder, open.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._gives_owners = os.geteuid() == 0
        # What is made in the new folder is born with its owners, unless it hands its group down.
        status = os.fstat(root)
        is_handed_down = status.st_mode & stat.S_ISGID
        self._born = None if is_handed_down else (status.st_uid, status.st_gid)
        self._without_owner: str | None = None  # why
        self._without_bits: list[str] = []  # what lost its setuid or setgid bit with its owner
        self._without_xattrs: dict[str, list[str]] = {}

    def give(self, entry: Entry, fd: int | None = None) -> None:
        """Give an entry all that it had, its time last: nothing may be written to it after that.

        Args:
            entry: no symlink.
            fd: the open file; None for a folder.
        """
        self._give_owner(entry, entry.path if fd is None else fd)
        self._give_xattrs(entry, fd)
        if fd is None:
            status = os.stat(entry.path, dir_fd=self._root, follow_symlinks=False)
        else:
            status = os.fstat(fd)
        mode = self._mode(entry, status)
        is_set = stat.S_IMODE(status.st_mode) == mode  # a look costs less than a change
        if fd is None:
            if not is_set:
                os.chmod(entry.path, mode, dir_fd=self._root)
            self._give_time(entry)
        else:
            if not is_set:
                os.fchmod(fd, mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def give_link(self, entry: Entry) -> None:
        """The same for a symlink, which has no mode."""
        self._give_owner(entry, entry.path)
        self._give_xattrs(entry)
        self._give_time(entry)

    def warnings(self) -> Iterator[str]:
        """What could not be given, a sentence for each kind."""
        if self._without_owner is not None:
            yield f"owners could not be given back: {self._without_owner}"
        if lost := self._without_bits:
            yield (f"{named(lost)} lost setuid and setgid, as the owner could not be given back")
        for name, paths in sorted(self._without_xattrs.items()):
            yield f"{named(paths)} lost the attribute {name!r}, which can't be set here"

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
            self._without_owner = error.strerror

    def _give_xattrs(self, entry: Entry, fd: int | None = None) -> None:
        """Give extended attributes back; after the owner, whose change drops some of them."""
        if not entry.xattrs:
            return
        of = f"/proc/self/fd/{self._root}/{entry.path}" if fd is None else fd
        for name, value in entry.xattrs.items():
            try:
                os.setxattr(of, name, b64decode(value), follow_symlinks=fd is not None)
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise
                self._without_xattrs.setdefault(name, []).append(entry.path)

    def _mode(self, entry: Entry, status: os.stat_result) -> int:
        """The mode to set: setuid and setgid would give away the rights of a wrong owner."""
        if not entry.mode & _SET_ID or (status.st_uid, status.st_gid) == (entry.uid, entry.gid):
            return entry.mode
        self._without_bits.append(entry.path)
        return entry.mode & ~_SET_ID


def named(paths: Iterable[str]) -> str:
    """The first of some paths in the order of a manifest, and how many more there are."""
    first, *others = sorted(paths, key=lambda path: path.split("/"))
    return repr(first) + (f" and {len(others)} more" if others else "")
