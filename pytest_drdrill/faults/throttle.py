"""A process that gets little of the processor, as on a machine that others keep busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.faults import cgroups
from pytest_drdrill.faults.names import new_name
from pytest_drdrill.faults.owed import Owed
from pytest_drdrill.faults.processes import Child, identify
from pytest_drdrill.faults.tree import tree_of
from pytest_drdrill.faults.undo import FaultError, FaultNotPermitted
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from pathlib import Path


def obstacle() -> str | None:
    """Why no process can be slowed down here; None where one can."""
    found = cgroups.hierarchy()
    return found if isinstance(found, str) else None


class Throttle:
    """A child and all that descend from it, in a control group that limits their processor time.

    Args:
        process: the child.
        share: of one core, all of them together.

    Attributes:
        share: as given, but no less than the kernel takes.

    Raises:
        FaultNotPermitted: this machine does not let us.
        FaultError: it is no child, had ended already, or the share is none.
    """

    def __init__(self, process: Child, share: float) -> None:
        self._id = identify(process)
        if not isinstance(share, (int, float)) or isinstance(share, bool) or not share > 0:
            raise FaultError(
                f"cpu must be a share of a core above 0, as 0.1 for a tenth, not {shown(share)}"
            )
        found = cgroups.hierarchy()
        if isinstance(found, str):
            raise FaultNotPermitted("slow_process", found)
        self._hierarchy = found
        self.share = max(share, cgroups.LEAST)
        self._group: Path = found.root / new_name("slow")
        self._origin = found.group_of(process.pid)

    @property
    def owed(self) -> Owed:
        """What is to be put right, should this process be killed."""
        what = f"the control group that slows process {self._id.pid} down, {self._group}"
        return Owed("leave cgroup", what, path=str(self._group), other=str(self._origin))

    def strike(self) -> None:
        """Make the group, and move the processes into it.

        Raises:
            FaultError: the kernel refuses, or the child ended meanwhile.
        """
        try:
            self._group.mkdir()
            self._hierarchy.limit(self._group, self.share)
            moved = set()
            while fresh := [each for each in tree_of(self._id) if each not in moved]:
                for each in fresh:
                    cgroups.join(self._group, each.pid)
                    moved.add(each)
        except OSError as error:
            raise FaultError(
                f"process {self._id.pid} was not slowed down: {error.filename or self._group}: "
                f"{error.strerror}"
            ) from error
        if not self._id.is_alive:
            raise FaultError(f"process {self._id.pid} ended before it was slowed down")

    def undo(self) -> None:
        """Move all of them back, and remove the group; may be called again."""
        cgroups.leave(self._group, self._origin)
