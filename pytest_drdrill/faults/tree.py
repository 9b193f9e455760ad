"""Process trees as /proc shows them, since the children of a server may lead sessions of their own.

A process is named by its id and the moment of its start together: ids are used again. Where there
is no /proc, as on macOS, a process is known by its id alone, and its tree is itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "stat").exists()
_STATE, _PARENT, _STARTED = 0, 1, 19
"""Fields of ``/proc/<pid>/stat``, counted from the one behind the name."""
_DEAD = {"Z", "X", "x"}
_STOPPED = {"T", "t"}


class ProcessId(NamedTuple):
    """A process, and no other that has its number later.

    Attributes:
        pid: its number.
        started: when it began, in clock ticks since the machine did.
    """

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return process_id(self.pid) == self


def process_id(pid: int) -> ProcessId | None:
    """A running process by its number; None where there is none, or a zombie."""
    if not _HAS_PROC:
        return _by_signal(pid)
    fields = _fields(pid)
    if fields is None or fields[_STATE] in _DEAD:
        return None
    return ProcessId(pid, int(fields[_STARTED]))


def tree_of(root: ProcessId) -> list[ProcessId]:
    """A process and all that descend from it, parents first; empty where it does not run."""
    if not root.is_alive:
        return []
    if not _HAS_PROC:
        return [root]
    children: dict[int, list[ProcessId]] = {}
    for pid in (int(each) for each in os.listdir(_PROC) if each.isdigit()):  # noqa: PTH208 - quick
        fields = _fields(pid)
        if fields is not None and fields[_STATE] not in _DEAD:
            each = ProcessId(pid, int(fields[_STARTED]))
            children.setdefault(int(fields[_PARENT]), []).append(each)
    found = [root]
    for each in found:  # which grows
        found.extend(children.get(each.pid, ()))
    return found


def has_stopped(process: ProcessId) -> bool:
    """Whether a process runs no further: it was stopped, or has ended."""
    fields = _fields(process.pid)
    return fields is None or fields[_STATE] in _STOPPED | _DEAD or not process.is_alive


def stop_tree(root: ProcessId) -> list[ProcessId]:
    """SIGSTOP to a whole tree; returns it. Whoever is stopped starts no other process."""
    stopped: dict[ProcessId, None] = {}
    while fresh := [each for each in tree_of(root) if each not in stopped]:
        for each in fresh:
            send(each, signal.SIGSTOP)
            stopped[each] = None
    return list(stopped)


def resume(process: ProcessId) -> None:
    """SIGCONT to one process; nothing happens where it has ended."""
    send(process, signal.SIGCONT)


def resume_tree(root: ProcessId) -> None:
    """SIGCONT to a whole tree, the root last: what it hears of its children finds them awake."""
    for each in reversed(tree_of(root)):
        send(each, signal.SIGCONT)


def kill_tree(root: ProcessId) -> int:
    """SIGKILL to a whole tree at one moment; how many processes there were.

    It is stopped first, so that none gets away. Returns once all are signalled: who started the
    root has to wait for its end.
    """
    found = stop_tree(root)
    for each in found:
        send(each, signal.SIGKILL)
    return len(found)


def _by_signal(pid: int) -> ProcessId | None:
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return ProcessId(pid, 0)


def _fields(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def send(process: ProcessId, number: signal.Signals) -> None:
    """A signal to it alone: the number may be another one's by now."""
    with contextlib.suppress(ProcessLookupError):
        if process.is_alive:
            os.kill(process.pid, number)
