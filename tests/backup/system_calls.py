"""Kills a piece of work at every call that it makes to the system, one after the other.

A child forked from a warm parent does the work, traced by the kernel's own ptrace, which stops it
before each call, whichever it is and whoever makes it; there SIGKILL ends it, and the call is not
carried out. The next child gets one call further, until one gets to its end.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import sys
import traceback
from hashlib import sha256
from pathlib import Path

from hand_clock import HandClock
from pytest_drdrill.backup import (
    DifferentialBackupStrategy,
    FullBackupStrategy,
    IncrementalBackupStrategy,
    RetentionPolicy,
    swap,
)

NOT_ALLOWED = 77
_ATTEMPTS = 3
_TRACEME, _SYSCALL, _SETOPTIONS = 0, 24, 0x4200
_SYSGOOD, _EXITKILL = 0x1, 0x100000
_STOPPED_AT_CALL = signal.SIGTRAP | 0x80
_LONG_AGO = 1_500_000_000
_RANDOM = re.compile(r"\.(replaced|restoring)-[0-9a-f]*")
STRATEGIES = {
    "full": FullBackupStrategy,
    "incremental": IncrementalBackupStrategy,
    "differential": DifferentialBackupStrategy,
}


# Made once: a sweep asks for it a hundred thousand times.
_libc_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_libc_ptrace.restype = ctypes.c_long
_libc_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, pid, data=0):
    if _libc_ptrace(request, pid, None, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")


def _start(work):
    """A child that is stopped, and does the work when it goes on."""
    child = os.fork()
    if not child:
        code = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a child must never get back into its parent's code
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        sys.exit(NOT_ALLOWED)
    _ptrace(_SETOPTIONS, child, _SYSGOOD | _EXITKILL)
    return child


def _calls(child):
    """Stops before each call of a child; ends when the child does, which must be in success."""
    is_before = False
    while True:
        _ptrace(_SYSCALL, child)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            assert status == 0, status
            return
        assert os.WSTOPSIG(status) == _STOPPED_AT_CALL, status
        is_before = not is_before
        if is_before:
            yield


def _killed_before(child, number):
    """Whether the child was killed before its call of that number, or had got to its end."""
    for count, _ in enumerate(_calls(child)):
        if count == number:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            return True
    return False


def look(folder):
    """All that a process that comes later can see in a folder, as one hash."""
    digest = sha256()
    for parent, folders, files in os.walk(folder):
        folders.sort(key=lambda name: _RANDOM.sub(r".\1", name))
        for path in sorted(Path(parent, name) for name in folders + files):
            status = path.lstat()
            content = None
            if path.is_symlink():
                content = path.readlink()
            elif path.is_file():
                # A journal holds names that are other ones in each run.
                text = _RANDOM.sub(r".\1", path.read_bytes().decode("latin-1"))
                content = sha256(text.encode()).hexdigest()
            name = _RANDOM.sub(r".\1", str(path.relative_to(folder)))
            owner = status.st_uid, status.st_gid
            moment = status.st_mtime_ns if status.st_mtime < _LONG_AGO else "lately"
            seen = name, status.st_mode, owner, status.st_nlink, moment, content
            digest.update(repr(seen).encode())
    return digest.hexdigest()


def sweep(prepare, work, base):
    """Kill the work at each of its calls.

    Args:
        prepare: makes in a new folder what the work starts from.
        work: does it there.
        base: where the folders are; those of each state are kept in which a kill left one.

    Returns:
        How many calls there were, and for each state the name of its folder, in order.
    """
    folder = base / "now"

    def begin():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepare(folder)
        return _start(lambda: work(folder))

    folder.mkdir(parents=True)
    prepare(folder)
    work(folder)  # what is imported late is imported now
    # Not killed, but looked at before each call and after the last one.
    seen = [look(folder) for _ in _calls(begin())]
    seen.append(look(folder))
    states = {}
    for attempt in range(_ATTEMPTS):
        number = 0
        is_killed = True
        while is_killed:
            is_killed = _killed_before(begin(), number)
            state = look(folder)
            assert state in seen, "a kill left a state that was not seen"
            if state not in states:
                states[state] = f"{attempt}-{number}"
                folder.rename(base / states[state])
            number += is_killed
        # Python may ask for memory once more or once less, and a kill come one call beside.
        if states.keys() >= set(seen):
            break
    assert states.keys() == set(seen), "not every state that was seen was left by a kill"
    return {"calls": number, "states": [states[state] for state in dict.fromkeys(seen)]}


def main():
    what, kind, given, start, base = sys.argv[1:6]
    given, start, base = Path(given), Path(start), Path(base)
    paths = sys.argv[6:] or None

    def prepare(folder):
        shutil.copytree(start, folder, symlinks=True, dirs_exist_ok=True)

    def back_up(folder):
        STRATEGIES[kind](clock=HandClock()).create_backup(given, folder / "it")

    def restore(folder):
        strategy = FullBackupStrategy()
        (job,) = (job for job in strategy.list_backups(given) if job.id == kind)
        strategy.restore_backup(job, folder / "it", replace=True, paths=paths)

    def restore_by_renames(folder):
        swap.exchange = lambda one, other: False
        restore(folder)

    def prune(folder):
        FullBackupStrategy().prune_backups(folder / "it", RetentionPolicy(keep_last=int(kind)))

    work = {
        "backup": back_up,
        "prune": prune,
        "restore": restore,
        "restore by renames": restore_by_renames,
    }
    print(json.dumps(sweep(prepare, work[what], base)))
