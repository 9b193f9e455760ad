"""Ending a scratch network, whoever made it: what runs within it, and its link to this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from pytest_drdrill.faults.tree import ProcessId, process_id, send

_PROC = Path("/proc")
_PREFIX = "drd"
_BYTES = 6
_NAME = re.compile(rf"{_PREFIX}[0-9a-f]{{{2 * _BYTES}}}")
_PATIENCE = 30.0
_POLL = 0.005


def network_name() -> str:
    """A name that no network bears yet, as long as the kernel takes one of a link."""
    # Without 0 and 255, which have meanings of their own in addresses.
    return _PREFIX + bytes(1 + each % 254 for each in os.urandom(_BYTES)).hex()


def marks_of(name: str) -> list[str]:
    """Addresses of the loopback that tell the namespaces of a network from all others.

    All that reaches 127.0.0.1 reaches them anyway, and they stay where a link is gone already.

    Raises:
        OSError: it is no name of a network.
    """
    if not _NAME.fullmatch(name):  # nothing may be taken for it, least of all everything
        raise OSError(errno.EINVAL, f"{name!r:.80} is no name of a scratch network")
    drawn = [str(each) for each in bytes.fromhex(name.removeprefix(_PREFIX))]
    half = len(drawn) // 2
    return [".".join(["127", *each]) for each in (drawn[:half], drawn[half:])]


def end_network(name: str, ip: str) -> None:
    """Kill all that runs within a network, and remove its link; nothing happens where it is gone.

    Its namespaces are gone then, once nobody holds a descriptor of them.

    Args:
        name: of the network.
        ip: path of the program that removes links.

    Raises:
        OSError: a process does not end, the link can't be removed, or it is no name of a network.
    """
    deadline = time.monotonic() + _PATIENCE
    while found := processes_within(name):
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, f"process {found[0].pid} does not end")
        for each in found:
            send(each, signal.SIGKILL)
        time.sleep(_POLL)
    if _has_link(name):
        done = subprocess.run(  # noqa: S603 - the path that was found, and a name of ours
            [ip, "link", "del", "dev", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and _has_link(name):
            raise OSError(errno.EIO, done.stderr.strip().partition("\n")[0])


def processes_within(name: str) -> list[ProcessId]:
    """What runs within the namespaces of a network, but for this process."""
    marks = [re.compile(rf"(?<![\d.]){re.escape(each)}(?![\d.])") for each in marks_of(name)]
    known: dict[str, bool] = {}
    with contextlib.suppress(OSError):
        known[_namespace_of(1)] = False  # the machine itself, whatever is in there
    found = []
    for pid in (int(each) for each in os.listdir(_PROC) if each.isdigit()):  # noqa: PTH208 - quick
        try:
            namespace = _namespace_of(pid)
            if namespace not in known:
                text = (_PROC / str(pid) / "net" / "fib_trie").read_text("ascii", "replace")
                known[namespace] = all(each.search(text) for each in marks)
        except OSError:  # it has ended, or is somebody else's
            continue
        if known[namespace] and pid != os.getpid() and (process := process_id(pid)) is not None:
            found.append(process)
    return found


def _namespace_of(pid: int) -> str:
    return str((_PROC / str(pid) / "ns" / "net").readlink())


def _has_link(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
