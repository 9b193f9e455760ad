"""Faults on disks that are the drill's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.faults import disks, fsync
from pytest_drdrill.faults.base import Injector
from pytest_drdrill.faults.mounting import unmount
from pytest_drdrill.faults.names import format_size, parse_size
from pytest_drdrill.faults.owed import remove
from pytest_drdrill.faults.undo import FaultError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.faults.fault import Fault


class DiskFaults(Injector):
    """Faults on disks: a small one to begin with, which runs full, and whose fsync fails."""

    def small_disk(self, size: int | str) -> disks.SmallDisk:
        """A disk of a limited size, in memory, as scratch; unmounted at the drill's end.

        Every user may write to it, so servers too that do not run as root. What lies on it is gone
        with it, and processes in it are not waited for. No disaster by itself; for one of the type
        ``infrastructure``, see ``fill_disk``.

        Args:
            size: in bytes, or a text as ``"64MiB"``.

        Returns:
            The disk, with its ``path``; ``grow`` gives it another size.

        Raises:
            FaultNotPermitted: this process may not mount file systems.
            FaultError: it is no size, or more than half of the memory that is available.
        """
        self._require("small_disk")
        disk = disks.SmallDisk(parse_size("size", size))
        undo = self._break(
            disk.what, [disk.owed], disk.mount, lambda: unmount(disk.path), "scratch removed"
        )
        disk.is_mounted_by(undo, lambda what: self._tell(what, "scratch"))
        self._scratch = (*self._scratch, disk.path)
        self._tell(disk.what, "scratch")
        return disk

    def fill_disk(self, folder: str | os.PathLike[str], free: int | str = 0) -> Fault:
        """A full disk: take all that is free on the disk of a folder; undone by giving it back.

        Only a disk that is the drill's own, mounted nowhere but in its scratch: never the
        machine's. Space that others give back meanwhile is not taken. Disaster type:
        ``infrastructure``.

        Args:
            folder: where the file is put that fills it, e.g. a ``small_disk``.
            free: bytes that stay free, or a text as ``"64KiB"``.

        Raises:
            FaultError: the folder does not exist, or lies on another disk; or there is nothing to
                fill.
        """
        target = Path(os.path.realpath(folder))
        if not target.is_dir():
            raise FaultError(f"{target} is no folder, so it lies on no disk that could be filled")
        disks.refuse_other_disk(target, self._scratch)
        filler = disks.Filler(target, parse_size("free", free))
        what = f"filled the disk of {target}"
        undo = self._break(what, [filler.owed], filler.strike, lambda: remove(filler.path))
        return self._applied(f"{what}: {format_size(filler.left)} left", undo)

    def failing_fsync(
        self,
        *,
        calls: Sequence[str] = ("fsync", "fdatasync"),
        error: str = "EIO",
        after: int = 0,
    ) -> list[str]:
        """A dying disk: what to put before a command, so that its fsync fails.

        Of the program, and of all that it starts, by ``strace``; it runs about as usual otherwise,
        since nothing but these calls is looked at. The program is the child that
        ``subprocess.Popen`` gives. Nothing is to be undone: the fault ends with the program.
        Disaster type: ``infrastructure``.

        Args:
            calls: which fail, of ``fsync``, ``fdatasync``, ``sync_file_range`` and ``msync``.
            error: the name of what they fail with.
            after: how many calls of each thread work before.

        Returns:
            The beginning of a command: ``Popen([*faults.failing_fsync(), "postgres", ...])``.

        Raises:
            FaultNotPermitted: there is no strace, or it may not trace processes here.
            FaultError: an unknown call or error.
        """
        prefix = fsync.prefix(calls, error, after)
        self._require("failing_fsync")
        self._tell(
            f"calls of {' and '.join(calls)} fail with {error} in a program that is started next"
        )
        return prefix
