"""File systems in memory: mounted, grown, and unmounted, by the calls of the kernel itself."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

_CAN_MOUNT = 21
"""The number of CAP_SYS_ADMIN among the capabilities of a process."""
_REMOUNT = 32
_NOSUID, _NODEV = 2, 4
_DETACH = 2
_FLAGS = _NOSUID | _NODEV


def may_mount() -> bool:
    """Whether this process has the right to mount file systems."""
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    except OSError:  # no Linux
        return False
    capabilities = [line.split()[1] for line in lines if line.startswith("CapEff:")]
    return bool(capabilities) and bool(int(capabilities[0], 16) >> _CAN_MOUNT & 1)


def mount_memory(folder: str | os.PathLike[str], size: int, *, again: bool = False) -> None:
    """Mount a file system in memory, of a limited size, that everybody may write to.

    Args:
        folder: its mount point.
        size: in bytes; the kernel rounds it up to whole pages.
        again: it is there already, and is given another size.

    Raises:
        OSError: the kernel refuses.
    """
    options = f"size={size}" if again else f"size={size},mode=1777"
    flags = _FLAGS | (_REMOUNT if again else 0)
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode(), about=folder)


def unmount(folder: str | os.PathLike[str]) -> None:
    """Unmount a file system, in use or not, and remove its mount point; what is gone already, is.

    Raises:
        OSError: the kernel refuses, or something else lies where the mount point was.
    """
    try:
        # Detached: at once out of reach, and gone when the last process that is in it has ended.
        _call("umount2", os.fsencode(folder), _DETACH, about=folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOENT}:  # no mount point; not there
            raise
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(folder)  # noqa: PTH106 - beside the calls above


def _call(name: str, *arguments: bytes | int, about: str | os.PathLike[str]) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    # Of both calls, the flags alone are a number.
    passed = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    if function(*passed) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(about))
