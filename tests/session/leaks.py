"""What runs may leave: processes, mounts, cgroups, shared memory, networks and files."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from pytest_drdrill.faults.network import marks_of

MARK = "DRDRILL_TEST_RUN"
"""The variable that every process of a run inherits, whatever session it leads."""
PATIENCE = 30.0


class Leaks:
    """Looks for what is left of runs that were given ``environment``.

    Args:
        folder: of the runs; their temporary files and what they owe lie in it. There ``groups``,
            ``memory`` and ``networks`` name the control groups, the shared memory and the scratch
            networks that they have made.
    """

    def __init__(self, folder):
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.groups = folder / "groups"
        self.memory = folder / "memory"
        self.networks = folder / "networks"
        self.owed = folder / "state" / "journal"
        self._before = self._machine()
        self._mark = f"{MARK}={folder}".encode()
        self.environment = {
            "TMPDIR": str(self.temporary),
            "DRDRILL_STATE": str(self.owed.parent),
            MARK: str(folder),
        }

    def left(self):
        """What there is now and was not before, in words."""
        found = [f"process {each}" for each in self._processes()]
        found += [f"{kind} {name}" for kind, name in sorted(self._machine() - self._before)]
        # Of pytest's own folder, the runs keep the last ones on purpose.
        found += [
            f"file {each.name}"
            for each in self.temporary.iterdir()
            if not each.name.startswith("pytest-of-")
        ]
        return found

    def none_soon(self):
        """Nothing, as soon as whoever puts things right has done so; else what is left then."""
        patience = time.monotonic() + PATIENCE
        while (found := self.left()) and time.monotonic() < patience:
            time.sleep(0.01)
        return found

    def _processes(self):
        for each in Path("/proc").iterdir():
            if not each.name.isdigit() or int(each.name) == os.getpid():
                continue
            try:
                # A server has an environment of its own, and runs in a folder of its own.
                here = (each / "cwd").readlink().is_relative_to(self.temporary)
                if here or self._mark in (each / "environ").read_bytes().split(b"\0"):
                    state = (each / "stat").read_text().rpartition(")")[2].split()[0]
                    command = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    yield f"{each.name} ({state}) {command}"
            except OSError:  # it has ended, or is another user's
                continue

    def _machine(self):
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        found = {("mount", line.split()[1]) for line in mounts if str(self.temporary) in line}
        if self.groups.exists():
            groups = self.groups.read_text().split()
            found |= {("group", each) for each in groups if Path(each).exists()}
        if self.memory.exists():
            there = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
            there = {line.split()[1] for line in there}
            found |= {("memory", each) for each in self.memory.read_text().split() if each in there}
        if self.networks.exists():
            names = set(self.networks.read_text().split())
            found |= {("link", name) for _, name in socket.if_nameindex() if name in names}
            found |= {("namespace", name) for name in names if _has_namespace(name)}
        # Namespaces that are kept without a process are mounted.
        found |= {("mount", line.split()[1]) for line in mounts if line.split()[2] == "nsfs"}
        return found


def _has_namespace(network):
    """Whether any process is in a namespace of a network."""
    for each in Path("/proc").glob("[0-9]*/net/fib_trie"):
        try:
            lines = {line.strip() for line in each.read_text().splitlines()}
        except OSError:  # it has ended, or is another user's
            continue
        if {f"|-- {mark}" for mark in marks_of(network)} <= lines:
            return True
    return False
