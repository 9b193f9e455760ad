"""What this machine runs out of while it checks: its own trouble, never an endpoint's."""

from __future__ import annotations

import errno
import os
import resource
import socket

from pytest_drdrill.failover.errors import MonitorShortageError

_OWN = {
    errno.EMFILE: "this process has no file descriptor left",
    errno.ENFILE: "this machine has no file descriptor left",
    errno.ENOBUFS: "this machine has no memory left for a connection",
    errno.ENOMEM: "this machine has no memory left for a connection",
}


def refuse_shortage(error: OSError, name: str) -> None:
    """Make sure that a check did not fail for want of something that the monitor itself needs.

    Args:
        error: why the check failed.
        name: of the endpoint.

    Raises:
        MonitorShortageError: it did, so it says nothing of the endpoint.
    """
    number = error.errno
    if number is None or isinstance(getattr(error, "os_error", error), socket.gaierror):
        # A look-up without a descriptor looks like one that failed, and of several addresses that
        # failed in several ways the error names none: ask for a descriptor to find out.
        number = _missing()
    if number not in _OWN:
        return
    what, cure = _OWN[number], ""
    if number == errno.EMFILE:
        what += f" of its {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
        cure = "; raise the limit, as with 'ulimit -n', or check fewer endpoints"
    raise MonitorShortageError(f"{what}, so {name!r} could not be reached{cure}") from error


def _missing() -> int | None:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno
    return None
