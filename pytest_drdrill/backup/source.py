"""The folder that is backed up: listed and read, with errors that name the path."""

from __future__ import annotations

import errno
import os
import stat
from base64 import b64encode
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Literal, NoReturn

from pytest_drdrill.backup.entry import ROOT
from pytest_drdrill.backup.errors import BackupError
from pytest_drdrill.backup.sparse import segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pytest_drdrill.backup.entry import EntryType
    from pytest_drdrill.backup.sparse import Segments

Kind = Literal["file", "folder", "symlink", "other"]
"""What a listing can tell without a further look."""
Item = tuple[str, Kind, os.stat_result | None]
"""A path, what it is, and its status where that was asked for."""
TYPES: dict[int, EntryType] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}
"""What an entry is, by the type bits of its mode."""
_KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink"}
_KIND_NAMES: tuple[Kind, ...] = ("file", "folder", "symlink", "other")
_TYPE = 0o170000  # the bits of a mode that say what it is
_MANY = 20_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Should a FIFO take the file's place at the last moment, opening it must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
# A stale handle is no such sign where a path is opened: there it is the source's own that is stale.
_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
# The file system has none; a path too long to be asked that way.
_NO_XATTRS = {errno.EOPNOTSUPP, errno.ENAMETOOLONG}


class Vanished(Exception):  # noqa: N818 - an event of the walk, caught there
    """The path is gone, or is of another type than it was when its folder was listed."""


class Unreadable(BackupError):  # noqa: N818 - named like its siblings
    """Something in the source can't be read."""


class Unlistable(Unreadable):
    """A folder in the source can be seen, and what it holds can't."""


class Source:
    """An open source folder; paths are relative to it and resolved from its descriptor.

    Every method raises ``Vanished`` for a path that is gone, and ``Unreadable`` naming the path for
    one that can't be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._fail(ROOT, error)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._fd)

    def listing(self, folder: str, *, with_status: bool = False) -> Iterable[Item]:
        """The paths in a folder and what they are, sorted by name; to be gone through once.

        Args:
            folder: whose paths.
            with_status: whether their status is asked for as well, which is cheap here; in a folder
                with very many it would take too much memory, and is left out.
        """
        prefix = "" if folder == ROOT else folder + "/"
        try:
            fd = os.open(folder, _FOLDER, dir_fd=self._fd)
            try:
                # Cheaper than to ask the entries of a scan.
                if with_status and len(names := os.listdir(fd)) < _MANY:  # noqa: PTH208 - no path
                    return _looked_at(prefix, fd, names)
                with os.scandir(fd) as found:
                    first = list(islice(found, _MANY))
                    if len(first) == _MANY:
                        return _of_many(prefix, chain(first, found))
                    # Some file systems give a name twice where a folder changes meanwhile.
                    items = {item.name: item for item in first}
                    return [(prefix + name, _kind(items[name]), None) for name in sorted(items)]
            finally:
                os.close(fd)
        except OSError as error:
            self._fail(folder, error, Unlistable)

    def lstat(self, path: str) -> os.stat_result:
        """The status of the entry itself, never of what a symlink points to."""
        try:
            return os.stat(path, dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            self._fail(path, error)

    def readlink(self, path: str) -> str:
        """Where a symlink points, verbatim."""
        try:
            return os.readlink(path, dir_fd=self._fd)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise Vanished from error
            self._fail(path, error)

    def open(self, path: str) -> int:
        """A descriptor to read a file."""
        try:
            return os.open(path, _FILE, dir_fd=self._fd)
        except OSError as error:
            # ENXIO: a socket took the file's place.
            if error.errno == errno.ENXIO:
                raise Vanished from error
            self._fail(path, error)

    def read(self, path: str, fd: int, buffer: memoryview) -> int:
        """Fill a buffer from an open file; the number of bytes, fewer only at its end."""
        filled = 0
        try:
            # A network file system may give fewer at a time.
            while filled < len(buffer) and (count := os.readv(fd, [buffer[filled:]])):
                filled += count
        except OSError as error:
            if error.errno == errno.ESTALE:  # removed on its server, with part of it read
                raise Vanished from error
            self._fail(path, error)
        return filled

    def segments(self, path: str, fd: int, status: os.stat_result) -> Segments | None:
        """Where an open file has data; None for one without holes."""
        if status.st_blocks * 512 >= status.st_size:
            return None
        try:
            return segments(fd, status.st_size)
        except OSError as error:
            self._fail(path, error)

    def xattrs(self, path: str, fd: int | None = None) -> dict[str, str] | None:
        """Extended attributes by name, ACLs among them, in base64; None for none.

        Args:
            path: what is asked for.
            fd: the open file; None for a folder or symlink.
        """
        # No call takes a folder's descriptor and a name, and a symlink can't be opened.
        of = f"/proc/self/fd/{self._fd}/{path}" if fd is None else fd
        try:
            values = {}
            for name in sorted(os.listxattr(of, follow_symlinks=fd is not None)):
                try:
                    value = os.getxattr(of, name, follow_symlinks=fd is not None)
                except OSError as error:
                    if error.errno == errno.ENODATA:  # it went meanwhile
                        continue
                    raise
                values[name] = b64encode(value).decode()
        except OSError as error:
            if error.errno in _NO_XATTRS:
                return None
            self._fail(path, error)
        return values or None

    def check_there(self) -> None:
        """Whether the source itself is still there, so that what vanished was in it, not it.

        Raises:
            BackupError: it is gone.
        """
        try:
            there = os.fstat(self._fd).st_nlink > 0
            os.stat(self.root)  # noqa: PTH116 - asked for its error alone
        except OSError as error:
            self._fail(ROOT, error)
        if not there:
            self._fail(ROOT, OSError(errno.ENOENT, "it was removed while it was read"))

    def _fail(
        self, path: str, error: OSError, unreadable: type[Unreadable] = Unreadable
    ) -> NoReturn:
        if error.errno in _VANISHED and path != ROOT:
            raise Vanished from error
        shown = self.root if path == ROOT else self.root / path
        # Without the source itself there is nothing to go on with.
        kind = BackupError if path == ROOT else unreadable
        raise kind(f"can't read {str(shown)!r}: {error.strerror}") from error


def _of_many(prefix: str, found: Iterable[os.DirEntry[str]]) -> Iterator[Item]:
    """The items of a folder with very many, of which only names and kinds are in memory."""
    names = [f"{item.name}\0{_KIND_NAMES.index(_kind(item))}" for item in found]
    names.sort()  # no name holds a NUL, and nothing comes before it
    return (
        (prefix + name[:-2], _KIND_NAMES[int(name[-1])], None)
        for earlier, name in pairwise(chain(["\0\0"], names))
        if earlier[:-2] != name[:-2]
    )


def _looked_at(prefix: str, folder: int, names: list[str]) -> list[Item]:
    """The items of an open folder, with their status: faster than by its entries' own look."""
    found: list[Item] = []
    for name in sorted(set(names)):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            found.append((prefix + name, "file", None))  # whoever opens it finds out
        else:
            found.append((prefix + name, _KINDS.get(status.st_mode & _TYPE, "other"), status))
    return found


def _kind(item: os.DirEntry[str]) -> Kind:
    if item.is_file(follow_symlinks=False):
        return "file"
    if item.is_dir(follow_symlinks=False):
        return "folder"
    return "symlink" if item.is_symlink() else "other"
