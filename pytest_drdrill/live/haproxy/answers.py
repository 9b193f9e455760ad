"""What HAProxy's runtime API answers, as data; no input or output."""

from __future__ import annotations

import re
from typing import NamedTuple

from pytest_drdrill.live.haproxy.errors import HAProxyError
from pytest_drdrill.text import one_line

_MAINTENANCE = 0x01 | 0x02 | 0x20
"""Forced, inherited from a server that is tracked, or for want of an address."""
_DRAIN = 0x08 | 0x10
_STOPPED, _STOPPING = 0, 3
_DENIED = "Permission denied"
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
_SHOWN = 200


class ServerState(NamedTuple):
    """A server of a backend, as ``show servers state`` has it.

    Attributes:
        operation: ``srv_op_state``: 0 is stopped, 1 starting, 2 running, 3 about to stop.
        administration: ``srv_admin_state``: bits, of which one says that the config had it
            disabled, and stays when it no longer is.
        weight: ``srv_uweight``, the one that is in force.

    Source: HAProxy Management Guide, section 9.3, ``show servers state``.
    """

    operation: int
    administration: int
    weight: int

    @property
    def is_out(self) -> bool:
        """Whether it is in maintenance, so that it gets neither requests nor checks."""
        return bool(self.administration & _MAINTENANCE)

    @property
    def is_ready(self) -> bool:
        """Whether nobody keeps it from getting requests; its checks still may."""
        return not self.administration & (_MAINTENANCE | _DRAIN)

    @property
    def is_up(self) -> bool:
        """Whether HAProxy takes it to be well; one that is not checked is."""
        return self.operation not in {_STOPPED, _STOPPING}


def read_states(answer: str, backend: str) -> dict[str, ServerState]:
    """The servers of a backend by their names, of ``show servers state``.

    Raises:
        HAProxyError: there is no such backend, or this is no such answer.
    """
    if answer.startswith(_DENIED):
        raise HAProxyError("it may not show servers: its line needs `level admin`")
    if answer.startswith("Can't find backend"):
        raise HAProxyError(f"this HAProxy has no backend {backend!r}")
    _, _, rest = answer.partition("# ")
    head, *lines = rest.splitlines() or [""]
    fields = head.split()
    try:
        name, operation, administration, weight = (
            fields.index(each)
            for each in ("srv_name", "srv_op_state", "srv_admin_state", "srv_uweight")
        )
        rows = [line.split() for line in lines if line.strip()]
        return {
            row[name]: ServerState(int(row[operation]), int(row[administration]), int(row[weight]))
            for row in rows
        }
    except (ValueError, IndexError):
        raise HAProxyError(
            "this is no stats socket of an HAProxy that can show its servers' states, as it can "
            f"since 1.6; it answers {_brief(answer)}"
        ) from None


def read_info(answer: str) -> dict[str, str]:
    """The fields of ``show info``."""
    pairs = (line.partition(": ") for line in answer.splitlines())
    return {key: value for key, found, value in pairs if found}


def check_done(answer: str, asked: str, where: str) -> None:
    """Make sure that a change was made: of one that was, nothing is said.

    Args:
        answer: what came back.
        asked: the command.
        where: the socket, for the message.

    Raises:
        HAProxyError: it was refused.
    """
    said = answer.strip()
    if not said:
        return
    if said.startswith(_DENIED):
        raise HAProxyError(
            f"the stats socket {where} may not change servers: its line needs `level admin`"
        )
    raise HAProxyError(f"HAProxy at {where} refused `{asked}`: {_brief(said)}")


def check_name(what: str, value: object) -> str:
    """The name of a backend or a server, as HAProxy takes them; nothing that ends a command.

    Raises:
        TypeError: no text.
        ValueError: no such name.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be the name that HAProxy's config has, not {value!r}")
    if not is_name(value):
        raise ValueError(
            f"{what} {value!r} is no name of HAProxy's: letters, digits and any of -_.: make one"
        )
    return value


def is_name(text: str) -> bool:
    """Whether HAProxy takes a name."""
    return _NAME.fullmatch(text) is not None


def _brief(answer: str) -> str:
    """The first line of an answer: of an unknown command, the others list all known ones."""
    first = answer.strip().partition("\n")[0]
    return repr(one_line(first, _SHOWN)) if first else "nothing"
