"""A host of a scratch network: its address, and what runs within it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.faults import FaultError
from pytest_drdrill.live.programs import program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from pytest_drdrill.live.network.namespace import Namespace


class NetworkHost:
    """A place in a scratch network, with links, addresses and ports of its own.

    It shares all else with this machine: files, users, processes. Its loopback is its own too.

    Args:
        name: of the host.
        address: where the others reach it.
        namespace: what it is made of.

    Attributes:
        name: as given.
        address: likewise.
    """

    def __init__(self, name: str, address: str, namespace: Namespace) -> None:
        self.name = name
        self.address = address
        self._namespace = namespace
        self._is_gone = False

    def __repr__(self) -> str:
        return f"<NetworkHost {self.name} at {self.address}>"

    def within(self) -> AbstractContextManager[None]:
        """The calling thread is at this host until the end of the block.

        What it makes meanwhile is the host's, and stays so: sockets that it opens, and processes
        that it starts, such as a ``ScratchServer``. Other threads are where they were. No ``await``
        within: all else that the loop runs would be at the host as well.

        Raises:
            FaultError: the network is gone.
        """
        self._check()
        return self._namespace.entered()

    def command(self, command: Sequence[str]) -> list[str]:
        """What runs a command at this host, for whoever starts processes in ways of their own.

        It runs as the user that starts it, which has to be root.

        Args:
            command: program and arguments.

        Raises:
            ComponentMissing: this machine has no ``nsenter``.
            FaultError: the network is gone.
        """
        self._check()
        nsenter = program("nsenter", "apt-get install util-linux")
        return [nsenter, f"--net={self._namespace.path}", "--", *command]

    def leave(self) -> None:
        """The network is gone, and the host with it."""
        self._is_gone = True
        self._namespace.close()

    def _check(self) -> None:
        if self._is_gone:
            raise FaultError(f"the scratch network of {self.name} is gone")
