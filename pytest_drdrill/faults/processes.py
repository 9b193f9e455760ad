"""Faults on processes that the drill itself started."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from pytest_drdrill.faults import tree
from pytest_drdrill.faults.owed import Owed
from pytest_drdrill.faults.tree import ProcessId, process_id
from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Child: TypeAlias = "subprocess.Popen[bytes] | subprocess.Popen[str]"

PATIENCE = 30.0
"""Seconds for a process to obey a signal that it can't refuse; it may wait for a disk."""
_POLL = 0.001
_paused: WeakSet[Child] = WeakSet()


def kill(process: Child) -> None:
    """SIGKILL, and wait until it is dead."""
    identify(process)
    process.kill()
    process.wait()


def kill_tree(process: Child) -> int:
    """SIGKILL to a child and all that descend from it, at one moment; how many there were.

    Returns when all are dead.

    Raises:
        FaultError: it is no child, or had ended already; or some did not die.
    """
    found = tree.stop_tree(identify(process))
    for each in found:
        tree.send(each, signal.SIGKILL)
    process.wait()
    _await(lambda: not any(each.is_alive for each in found), f"the tree of process {process.pid}")
    return len(found)


def kill_rest(family: Iterable[ProcessId], pid: int) -> None:
    """SIGKILL to what is left of a tree, the root of which may have ended.

    To all that descends from that too; returns when all are dead.

    Args:
        family: the tree, as it was when its root still ran: orphans can't be told from others.
        pid: of the root.

    Raises:
        FaultError: some did not die.
    """
    left = {each for root in family for each in tree.stop_tree(root)}
    for each in left:
        tree.send(each, signal.SIGKILL)
    _await(lambda: not any(each.is_alive for each in left), f"the tree of process {pid}")


class Pause:
    """A child frozen by SIGSTOP, alone or with all that descend from it.

    Args:
        process: the child.
        whole: with all that descend from it.

    Raises:
        FaultError: it is no child, had ended already, or is paused already.
    """

    def __init__(self, process: Child, *, whole: bool = False) -> None:
        self._id = identify(process)
        if process in _paused:
            raise FaultError(
                f"process {process.pid} is paused already, so there is nothing to break"
            )
        self._process = process
        self._whole = whole
        self._frozen: dict[ProcessId, Callable[[], None]] = {}

    @property
    def count(self) -> int:
        """How many processes are frozen."""
        return len(self._frozen)

    def strike(self, owe: Callable[[Owed], Callable[[], None]]) -> None:
        """SIGSTOP, and wait until all have stopped: they answer nothing any more.

        Args:
            owe: writes down what is to be put right should this process be killed, before it is
                broken; gives what says that it is right again.

        Raises:
            FaultError: it ended meanwhile, or did not stop; or it can't be written down.
        """
        _paused.add(self._process)
        root = self._id
        while fresh := [each for each in self._now() if each not in self._frozen]:
            for each in fresh:
                what = f"the paused process {each.pid}"
                self._frozen[each] = owe(Owed("resume", what, pid=each.pid, started=each.started))
                tree.send(each, signal.SIGSTOP)
            # Who is stopped starts no other process, but is so only a moment after the signal.
            _await(lambda: all(map(tree.has_stopped, self._frozen)), f"process {root.pid}")
        if not root.is_alive:
            self._process.poll()
            raise FaultError(f"process {root.pid} ended before it was paused")

    def _now(self) -> list[ProcessId]:
        if self._whole:
            return tree.tree_of(self._id)
        return [self._id] if self._id.is_alive else []

    def undo(self) -> None:
        """SIGCONT, to all that still live, the root last; may be called again."""
        for each, settled in reversed(self._frozen.items()):
            tree.resume(each)
            settled()
        self._process.poll()
        _paused.discard(self._process)


def identify(process: Child) -> ProcessId:
    """A child that runs, by the name that no other process has.

    Raises:
        FaultError: it is no child, or had ended already.
    """
    if not isinstance(process, subprocess.Popen):
        raise FaultError(
            f"{shown(process, 200)} is no subprocess.Popen, which is what faults on processes take"
        )
    if process.poll() is None and (found := process_id(process.pid)) is not None:
        return found
    raise FaultError(
        f"process {process.pid} had ended already with status {process.wait()}, "
        "so there is nothing to break"
    )


def _await(condition: Callable[[], bool], who: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(f"{who} did not obey a signal within {PATIENCE:g} s")
        time.sleep(_POLL)
