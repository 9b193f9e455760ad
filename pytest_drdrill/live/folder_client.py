"""A canary's client of a folder: a file for each write, as careful programs write them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.live.outcomes import MaybeWrittenError, NotReadError, NotWrittenError
from pytest_drdrill.text import one_line, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSED = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EXDEV,
        errno.ENAMETOOLONG,
    }
)
"""A rename that ends with one of these was not done. With others, such as EIO or ESTALE, a file
server may have done it, and its answer was lost."""
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
"""What file systems say that can't sync a folder, and need not be asked to."""
_MOST = 65_536
"""Bytes read of a file: no value is so long, and what is there now may be anything."""


def folder_canary(path: str | os.PathLike[str], *, keep: bool = False) -> FolderClient:
    """A client that writes files into a folder, for ``canary(folder_canary(path))``.

    Each write is a file of its own: written under a temporary name, synced to the disk, renamed,
    and the folder synced. So an acknowledged write is one that the file system has promised to
    keep. A full disk, a folder that is gone and one that is read-only refuse a write; an error in
    or after the rename leaves open whether it was done. It writes in threads, so a disk that hangs
    holds up no drill. The path is looked up anew each time: a folder that was swapped by a restore
    is the one that is written to from then on.

    What was read back comes from the page cache of this machine, which a killed process can't hurt
    and a power loss can: mount the file system anew where the drill is about that.

    Args:
        path: of the folder, which has to be there before the disaster.
        keep: leave its files there; else they are removed once they were verified. Their names
            begin with that of the canary and the moment it began.

    Raises:
        TypeError: no path.
        ValueError: an empty one.
    """
    __tracebackhide__ = True
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"folder_canary(path) takes the path of a folder, not {shown(path)}")
    folder = os.fspath(path)
    if not folder:
        raise ValueError("folder_canary('') names no folder; write '.' for the one you are in")
    return FolderClient(os.path.abspath(folder), keep=keep)  # noqa: PTH100 - links stay as they are


class FolderClient:
    """See ``folder_canary``. For any number of threads.

    Attributes:
        folder: its absolute path.
    """

    def __init__(self, folder: str, *, keep: bool) -> None:
        self.folder = folder
        self._keep = keep
        self._keys: dict[str, None] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"folder_canary({self.folder!r})"

    def write(self, key: str, value: str, /) -> None:
        """Write one file.

        Raises:
            NotWrittenError: the file system refused.
            MaybeWrittenError: the file may be there, or may not.
        """
        self._keys[key] = None
        part, final = self._part(key), self._path(key)
        try:
            _write_and_sync(part, value.encode())
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise NotWrittenError(f"could not write {part}: {_why(error)}") from error
        try:
            part.rename(final)
        except OSError as error:
            raise self._not_renamed(error, part, final) from error
        try:
            _sync_folder(self.folder)
        except OSError as error:
            raise MaybeWrittenError(f"could not sync {self.folder}: {_why(error)}") from error
        if self._closed:  # it was given up, and nobody else removes it any more
            self._remove(key)

    def read(self, key: str, /) -> bytes | None:
        """What is in the file of a key, or None where there is none.

        Raises:
            NotReadError: the file system could not say.
        """
        try:
            return _read(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise NotReadError(f"could not read {self._path(key)}: {_why(error)}") from error

    def read_all(self) -> list[tuple[str, bytes | None]]:
        """All files whose names are its own, and what is in them; None for an unreadable one.

        A name that has grown, as by ransomware, is a key that was never written: corruption.

        Raises:
            NotReadError: the folder can't be read.
        """
        prefix = next((key.rpartition("-")[0] + "-" for key in self._keys), None)
        if prefix is None:
            return []
        try:
            names = [each for each in os.listdir(self.folder) if each.startswith(prefix)]  # noqa: PTH208 - names
        except OSError as error:
            raise NotReadError(f"could not read {self.folder}: {_why(error)}") from error
        return list(self._each(names))

    def close(self) -> None:
        """Remove its files, unless they are to be kept.

        Raises:
            OSError: some could not be removed.
        """
        self._closed = True
        if self._keep:
            return
        left = [error for key in self._keys if (error := self._remove(key)) is not None]
        if left:
            raise OSError(f"{len(left)} of its files stay in {self.folder}: {_why(left[0])}")

    def _each(self, names: list[str]) -> Iterator[tuple[str, bytes | None]]:
        for name in names:
            try:
                yield name, _read(self._path(name))
            except FileNotFoundError:
                continue
            except OSError:  # such as a bad sector: that file is damaged, and the others are not
                yield name, None

    def _path(self, key: str) -> Path:
        return Path(self.folder, key)

    def _part(self, key: str) -> Path:
        return Path(self.folder, f".{key}.part")

    def _not_renamed(
        self, error: OSError, part: Path, final: Path
    ) -> NotWrittenError | MaybeWrittenError:
        text = f"could not rename {part}: {_why(error)}"
        if error.errno in _REFUSED or (error.errno == errno.ENOENT and not os.path.lexists(final)):
            with suppress(OSError):
                part.unlink()
            return NotWrittenError(text)
        return MaybeWrittenError(text)

    def _remove(self, key: str) -> OSError | None:
        for path in (self._part(key), self._path(key)):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if os.path.lexists(path):  # a read-only one says so of what is not there as well
                    return error
        return None


def _write_and_sync(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)  # where some file servers first say that their disk is full


def _sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def _read(path: Path) -> bytes:
    # Whatever stands there by now: a pipe must not hang it, and a link leads elsewhere.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return os.read(handle, _MOST)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return one_line(error.strerror or type(error).__name__)
