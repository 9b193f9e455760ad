"""Control groups that limit the processor time of processes, of version 1 and of version 2."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import NamedTuple

_PERIOD = 100_000
"""Microseconds over which the kernel counts."""
LEAST = 0.01
"""The smallest share of a core: the kernel takes no quota below a millisecond."""
_MEMBERS = "cgroup.procs"
_EFFECTIVE = os.access in os.supports_effective_ids
_PATIENCE = 30.0
_POLL = 0.005


class Hierarchy(NamedTuple):
    """Where groups that limit processor time are made.

    Attributes:
        root: the folder of the whole hierarchy.
        version: 1 or 2.
    """

    root: Path
    version: int

    def group_of(self, pid: int) -> Path:
        """The group that a process is in."""
        for line in Path(f"/proc/{pid}/cgroup").read_text("utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if (self.version == 2 and number == "0") or "cpu" in controllers.split(","):  # noqa: PLR2004
                return self.root / path.lstrip("/")
        return self.root

    def limit(self, group: Path, share: float) -> None:
        """Let all of a group together have so much of a core."""
        quota = round(share * _PERIOD)
        if self.version == 1:
            _write(group / "cpu.cfs_period_us", _PERIOD)
            _write(group / "cpu.cfs_quota_us", quota)
        else:
            _write(group / "cpu.max", f"{quota} {_PERIOD}")


def hierarchy(mounts: Path = Path("/proc/self/mounts")) -> Hierarchy | str:
    """The one that processor time is limited in, or why none can be.

    Args:
        mounts: the table of mounts.
    """
    unified = None
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "this system has no control groups (cgroups), which Linux has"
    for line in lines:
        _, folder, kind, options, *_ = line.split(" ")
        if kind == "cgroup" and "cpu" in options.split(","):
            return _writable(Hierarchy(Path(folder), 1))
        if kind == "cgroup2":
            unified = Path(folder)
    if unified is None:
        return "no control group hierarchy is mounted that limits processor time"
    control = unified / "cgroup.subtree_control"
    with contextlib.suppress(OSError):
        if "cpu" in control.read_text("ascii").split():
            return _writable(Hierarchy(unified, 2))
    return f"control groups do not limit processor time here: as root, echo +cpu > {control}"


def _writable(found: Hierarchy) -> Hierarchy | str:
    if os.access(found.root, os.W_OK, effective_ids=_EFFECTIVE):
        return found
    return f"{found.root} can't be written to: run the tests as root"


def join(group: Path, pid: int) -> bool:
    """Move a process into a group; False if it has ended."""
    try:
        _write(group / _MEMBERS, pid)
    except ProcessLookupError:
        return False
    return True


def leave(group: Path, origin: Path) -> None:
    """Move all processes of a group elsewhere, and remove it; nothing happens where it is gone.

    Args:
        group: the group.
        origin: where they came from.

    Raises:
        OSError: it can't be removed.
    """
    deadline = time.monotonic() + _PATIENCE
    with contextlib.suppress(FileNotFoundError):
        while True:
            for pid in (group / _MEMBERS).read_text("ascii").split():
                join(origin, int(pid))
            try:
                group.rmdir()
            except OSError as error:
                # They start others meanwhile, or are ending, and until then in it, though unlisted.
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL)
            else:
                return


def _write(file: Path, value: object) -> None:
    # Opened as it is: what is no group has no such file, and must not get one.
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
