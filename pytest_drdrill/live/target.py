"""A live system as a drill declares it, and as the drill then breaks it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.live.refused import TargetUnset
from pytest_drdrill.live.target_address import TargetAddress, read_addresses
from pytest_drdrill.redact import keep_secret, secrets_of
from pytest_drdrill.text import NAME_LIMIT, one_line, storable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from pytest_drdrill.faults import Fault
    from pytest_drdrill.live.commands import Commands
    from pytest_drdrill.live.left import TargetRecord


class Declared:
    """What a drill says that it breaks, before it runs.

    Args:
        address: of the system: a host, ``host:port``, a URL or DSN, the path of a folder, or
            ``$NAME``, for the variable of the environment that holds one.
        breaks: what the drill does to it, as the end of "it …".
        undone_by: how that is put right.

    Attributes:
        addresses: the systems that it names; a DSN may name several; none where the variable is
            not set.
        name: in words, without a secret.

    Raises:
        ValueError: one sentence, which never holds a password.
    """

    __slots__ = ("_given", "_variable", "addresses", "breaks", "name", "undone_by")

    def __init__(self, address: object, breaks: object, undone_by: object) -> None:
        if not isinstance(address, str) or not address.strip():
            raise ValueError("the address is no text")
        for name, text in (("breaks", breaks), ("undone_by", undone_by)):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{name} says nothing")
        self.breaks = one_line(breaks, NAME_LIMIT)
        self.undone_by = one_line(undone_by, NAME_LIMIT)
        self._variable = address[1:] if address.startswith("$") else None
        given = address if self._variable is None else os.environ.get(self._variable, "")
        self._given = given
        keep_secret(*secrets_of(given))
        self.addresses: tuple[TargetAddress, ...] = read_addresses(given) if given.strip() else ()
        self.name = storable(", ".join(map(str, self.addresses)) or address, NAME_LIMIT)

    def __repr__(self) -> str:
        return f"<live target {self.name}>"

    def known(self) -> tuple[TargetAddress, ...]:
        """The systems that it names.

        Raises:
            TargetUnset: the variable that would name them is not set.
        """
        if not self.addresses:
            raise TargetUnset(
                f"the environment variable {self._variable}, which names the target, is not set"
            )
        return self.addresses

    def is_called(self, address: str) -> bool:
        """Whether somebody who writes this means it."""
        return address in (self._given, self.name, f"${self._variable}")

    def record(self) -> TargetRecord:
        """In plain words."""
        return {"address": self.name, "breaks": self.breaks, "undone_by": self.undone_by}


class LiveTarget:
    """A live system that the drill may break by now: it is allowed, and locked.

    Attributes:
        host: of the first address; empty for a folder.
        port: likewise, or None.
        path: of a folder, or empty.
        address: all of it in words, without a secret.
    """

    def __init__(self, declared: Declared, commands: Commands) -> None:
        self._declared = declared
        self._commands = commands
        first = declared.known()[0]
        self.host, self.port, self.path = first
        self.address = declared.name

    def __repr__(self) -> str:
        return repr(self._declared)

    @property
    def dsn(self) -> str:
        """The address as it was given, with the secrets that it may hold."""
        return self._declared._given  # noqa: SLF001 - which keeps it from everybody else

    def strike(  # noqa: PLR0913 - three, and settings with defaults, by keyword
        self,
        what: str,
        command: Sequence[str],
        *,
        undo: Sequence[str],
        timeout: str | timedelta = "1m",
        through: Sequence[str] = (),
        expires: str | timedelta | None = None,
    ) -> Fault:
        """Run a command that breaks it, such as ``["ssh", "db1", "systemctl", "stop", "pg"]``.

        Its undo runs when the body ends, or earlier as a context manager's end; and from a process
        of its own where pytest is killed, or stuck. Keep secrets out of both: other users of this
        machine see a command while it runs.

        Args:
            what: the fault in words, e.g. ``"stop the primary"``.
            command: the program and its arguments.
            undo: likewise, which puts it right. It may be run twice. It must never bring a
                primary that was superseded back writable: have it start as a replica, or fenced.
            timeout: for the command.
            through: what runs a shell script on the target, given as one more argument, such as
                ``["ssh", "db1"]``; both commands then run there.
            expires: how long the fault lasts when this machine is dead or cut off: a guard on the
                target then runs ``undo`` by itself. Needs ``through``, and ``sh`` there.

        Raises:
            FaultError: the command failed, was not done in time, or nothing would undo it.
        """
        lasts = None if expires is None else parse_duration(expires)
        patience = parse_duration(timeout)
        return self._commands.strike(
            what, command, undo, timeout=patience, through=through, expires=lasts
        )
