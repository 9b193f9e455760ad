"""Faults by the name of what goes wrong; calling one applies it now."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.faults import disks, fsync, started, throttle
from pytest_drdrill.faults.disk_faults import DiskFaults
from pytest_drdrill.faults.fault import Fault
from pytest_drdrill.faults.file_faults import FileFaults
from pytest_drdrill.faults.process_faults import ProcessFaults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Fault", "FaultInjector"]


class FaultInjector(FileFaults, DiskFaults, ProcessFaults):
    """Breaks things on a drill's scratch; what can be undone is, at the drill's end at the latest.

    What can be undone is undone also where this process is killed: at once, by another that waits
    for that, else by the next run.

    Args:
        scratch: folders that faults on files may touch; everything outside is refused.
        announce: told of each fault as it strikes and as it is undone, e.g. for a timeline.
    """

    _needs: ClassVar[Mapping[str, Callable[[], str | None]]] = {
        "failing_fsync": fsync.obstacle,
        "fill_disk": disks.obstacle,
        "restart_process": started.obstacle,
        "slow_process": throttle.obstacle,
        "small_disk": disks.obstacle,
    }
