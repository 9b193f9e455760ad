"""What must be put right, as it is written down: each deed can be done by another process too.

Each can be done twice, and finds what is right already: nobody knows how far a killed process came.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_drdrill.faults.tree import ProcessId, kill_tree, resume

Deed = Literal[
    "end network",
    "free memory",
    "kill tree",
    "leave cgroup",
    "put back",
    "remove",
    "resume",
    "unmount",
]
_GONE_WITH_THE_BOOT = {"end network", "free memory", "kill tree", "resume"}


@dataclass(frozen=True, slots=True)
class Owed:
    """One thing to be put right.

    Attributes:
        do: ``"end network"`` (a scratch one, with all that runs within it), ``"free memory"``
            (shared memory of a PostgreSQL server that was killed), ``"kill tree"`` (end a process
            and all that descend from it), ``"leave cgroup"`` (move what is in one elsewhere, and
            remove it), ``"put back"`` (a file that was kept aside), ``"remove"`` (a folder or file
            of the drill's own), ``"resume"`` (a stopped process) or ``"unmount"`` (a file system,
            and remove its mount point).
        what: it in words, for a reader.
        pid: the process, of ``"kill tree"`` and ``"resume"``.
        started: when it began, see ``ProcessId``.
        path: what the others put right; of ``"free memory"``, the data folder of the server; of
            ``"end network"``, its name.
        other: where the file was kept aside, of ``"put back"``; the cgroup that the processes came
            from, of ``"leave cgroup"``; the program that removes links, of ``"end network"``.
    """

    do: Deed
    what: str
    pid: int = 0
    started: int = 0
    path: str = ""
    other: str = ""

    def settle(self, *, rebooted: bool = False) -> None:
        """Put it right; nothing happens where it is so already.

        Args:
            rebooted: the machine was started anew since, so its processes are others.

        Raises:
            OSError: it can't be done.
        """
        if rebooted and self.do in _GONE_WITH_THE_BOOT:
            return
        match self.do:
            case "kill tree":
                kill_tree(ProcessId(self.pid, self.started))
            case "resume":
                resume(ProcessId(self.pid, self.started))
            case "put back":
                put_back(Path(self.path), Path(self.other))
            case "remove":
                remove(Path(self.path))
            case "unmount":
                from pytest_drdrill.faults.mounting import unmount  # which loads ctypes

                unmount(self.path)
            case "end network":
                from pytest_drdrill.faults.network import end_network  # rare

                end_network(self.path, self.other)
            case "free memory":
                from pytest_drdrill.faults.memory import free_shared_memory  # likewise

                free_shared_memory(Path(self.path))
            case "leave cgroup":
                from pytest_drdrill.faults.cgroups import leave  # rare

                leave(Path(self.path), Path(self.other))
            case _:  # written by a later version
                raise OSError(f"{self.do!r:.80} is nothing that this release can do")


def put_back(path: Path, aside: Path) -> None:
    """The file that was kept aside takes its name again, whatever bears it now."""
    try:
        aside.rename(path)
        # Where both are names of one file still, as when nothing was replaced yet, both stay.
        aside.unlink(missing_ok=True)
    except FileNotFoundError:
        # It was put back before, or went with its folder, which the drill may have removed.
        if path.parent.exists() and not os.path.lexists(path):
            raise


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:  # somebody else is at it, and as good
        if os.path.lexists(path):
            raise
