"""Small disks of the drill's own, in memory, and disks that run full."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.faults import mounting
from pytest_drdrill.faults.fault import Fault
from pytest_drdrill.faults.names import format_size, new_name, parse_size
from pytest_drdrill.faults.owed import Owed
from pytest_drdrill.faults.survey import reason
from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.mounts import is_within, mounts_of_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNK = 1 << 20
_ROUGH = 1 << 12
"""What the last bytes of a disk are written by."""


def obstacle() -> str | None:
    """Why no disk can be mounted here; None where one can."""
    if mounting.may_mount():
        return None
    return (
        "it mounts a file system, which takes root's rights: run the tests as root, "
        "or by `unshare --user --map-root-user --mount`"
    )


class SmallDisk(Fault):
    """A disk of a limited size, in memory, which is the drill's own scratch.

    Attributes:
        path: its folder, which everybody may write to.
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        self.path = Path(tempfile.gettempdir()).resolve() / new_name("disk")
        self.size = size
        super().__init__(f"made a disk of {format_size(size)} at {self.path}")
        self._grown: Callable[[str], None] | None = None

    @property
    def owed(self) -> Owed:
        """What is to be put right, should this process be killed."""
        return Owed("unmount", f"the disk in memory at {self.path}", path=str(self.path))

    def mount(self) -> None:
        """Make it.

        Raises:
            FaultError: there is not so much memory, or the kernel refuses.
        """
        _refuse_too_large(self.size)
        try:
            self.path.mkdir(mode=0o755)
            mounting.mount_memory(self.path, self.size)
        except OSError as error:
            raise FaultError(f"no disk could be mounted: {reason(error)}") from error

    def __fspath__(self) -> str:
        return str(self.path)

    def is_mounted_by(self, undo: Callable[[], None], tell: Callable[[str], None]) -> None:
        """It is there, until ``undo``; what happens to it is told."""
        self.undoable, self._undo, self._grown = True, undo, tell

    def grow(self, size: int | str) -> None:
        """Give it another size, as who has run out of space buys a larger disk.

        Args:
            size: in bytes, or a text as ``"64MiB"``.

        Raises:
            FaultError: it is no size, or less than is used, or there is not so much memory.
        """
        wanted = parse_size("size", size)
        _refuse_too_large(wanted)
        try:
            mounting.mount_memory(self.path, wanted, again=True)
        except OSError as error:
            raise FaultError(
                f"the disk at {self.path} did not get a size of {format_size(wanted)}: "
                f"{error.strerror}"
            ) from error
        self.size = wanted
        if self._grown is not None:
            self._grown(f"the disk at {self.path} has {format_size(wanted)} now")


class Filler:
    """A file that takes all that is left of a disk, but so much.

    Args:
        folder: where it is put; of a disk that is the drill's own.
        free: bytes that stay free.

    Attributes:
        left: bytes that are free, once it is filled.
    """

    def __init__(self, folder: Path, free: int) -> None:
        self.left = 0
        self.path = folder / f".{new_name('fill')}"
        self._folder = folder
        self._free = free

    @property
    def owed(self) -> Owed:
        """What is to be put right, should this process be killed."""
        what = f"the file that fills the disk of {self._folder}, {self.path.name}"
        return Owed("remove", what, path=str(self.path))

    def strike(self) -> None:
        """Fill the disk.

        Raises:
            FaultError: so much was not free to begin with, or it can't be written to.
        """
        if (free := _free_bytes(self._folder)) <= self._free:
            raise FaultError(
                f"the disk of {self._folder} has {format_size(free)} free already, "
                "so there is nothing to fill"
            )
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            try:
                self._write(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise FaultError(
                f"the disk of {self._folder} was not filled: {reason(error)}"
            ) from error
        self.left = _free_bytes(self._folder)

    def _write(self, descriptor: int) -> None:
        chunk = _CHUNK
        while (room := _free_bytes(self._folder) - self._free) > 0:
            try:
                os.write(descriptor, bytes(min(chunk, room)))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                if chunk == _ROUGH:
                    return
                chunk = max(chunk // 16, _ROUGH)


def refuse_other_disk(folder: Path, scratch: Sequence[Path]) -> None:
    """Only a disk that is the drill's own is filled: all of its mount points lie in scratch.

    Raises:
        FaultError: it is another one, such as the machine's.
    """
    points = mounts_of_disk(folder)
    outside = [
        point for point in points if not any(is_within(point, str(root)) for root in scratch)
    ]
    if outside or not points:
        raise FaultError(
            f"{folder} lies on a disk that is not this drill's own, mounted at "
            f"{outside[0] if outside else 'nobody knows where'}; nothing was filled: "
            "make one, e.g. faults.small_disk('64MiB')"
        )


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    blocks = status.f_bavail if os.geteuid() else status.f_bfree  # root has what is kept for it
    return blocks * status.f_frsize


def _refuse_too_large(size: int) -> None:
    if not size:
        raise FaultError("size must be above 0: of a disk in memory, 0 means no limit")
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return
    (available,) = (int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    if size > available // 2:
        raise FaultError(
            f"a disk of {format_size(size)} takes more than half of the memory that is available, "
            f"{format_size(available)}"
        )
