"""Which live systems drills may touch: the allow-list, outside of which all is refused."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, TypeAlias

from pytest_drdrill.live.network.subnet import is_scratch
from pytest_drdrill.live.refused import LiveRefused
from pytest_drdrill.live.target_address import (
    ACCEPTED,
    TargetAddress,
    literal_address,
    read_addresses,
)
from pytest_drdrill.text import named, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
WHERE = "dr_live_targets"
"""The ini key that lists them, as messages name it."""


def resolve(host: str) -> list[str]:
    """The addresses of a host's name, each once.

    Raises:
        OSError: it has none, or nobody can be asked.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class AllowList:
    """The systems that live drills may touch.

    A name is let through where it is listed as written, ``*.staging.example.com`` being all names
    below one; or where every address that it resolves to is listed, is that of a listed name, or
    lies in a listed network. Where networks are listed, a name that is listed as well has to
    resolve into them: it may have been pointed elsewhere since.

    Args:
        entries: each an address in any form that a target has, a network as ``10.1.0.0/16``, or a
            name that begins with ``*.``. One with a port lets that one through alone. A folder
            lets all below it through.
        resolver: gives the addresses of a name; for tests.

    Raises:
        ValueError: an entry that can't be read.
    """

    def __init__(
        self, entries: Iterable[str], *, resolver: Callable[[str], list[str]] = resolve
    ) -> None:
        self._resolve = resolver
        self._networks: list[Network] = []
        self._below: list[tuple[str, int | None]] = []
        self._listed: list[TargetAddress] = []
        for entry in entries:
            self._read(entry.strip())

    def _read(self, entry: str) -> None:
        if entry.startswith("*."):
            (address,) = read_addresses(entry[2:])
            self._below.append((f".{address.host}", address.port))
            return
        if "/" in entry[1:] and "://" not in entry and not entry.startswith("/"):
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                text = f'{shown(entry)} is no network; write one as "10.1.0.0/16"'
                raise ValueError(text) from None
            return
        try:
            self._listed += read_addresses(entry)
        except ValueError as error:
            raise ValueError(
                str(error).replace(
                    f"write {ACCEPTED}", f'write "*.example.com", "10.1.0.0/16", {ACCEPTED}'
                )
            ) from None

    def check(self, address: str, port: int | None = None) -> None:
        """Refuse an address outside; where scratch servers listen is in no question.

        That is the loopback, and the scratch networks of this process.

        Args:
            address: a host, or a whole address, URL or DSN.
            port: where the address has none.

        Raises:
            LiveRefused: it is outside, or can't be read.
        """
        try:
            found = read_addresses(address)
        except ValueError as error:
            raise LiveRefused(str(error)) from None
        for each in found:
            own = each if each.path or each.port is not None else each._replace(port=port)
            if not (own.is_loopback or is_scratch(own.host)):
                self.check_target(own)

    def check_target(self, target: TargetAddress) -> None:
        """Refuse what a live drill would break, outside of the list: loopback has to be listed.

        Raises:
            LiveRefused: it is outside.
        """
        if target.path:
            if any(each.path and _holds(each.path, target.path) for each in self._listed):
                return
            raise LiveRefused(self._outside(str(target)))
        if literal_address(target.host) is not None:
            if not self._holds_ip(target.host, target.port, self._by_name(target.port)):
                raise LiveRefused(self._outside(str(target)))
            return
        listed = self._is_named(target)
        if listed and not self._networks:
            return
        try:
            addresses = self._resolve(target.host)
        except OSError as error:
            why = f" ({error.strerror})" if error.strerror else ""
            raise LiveRefused(
                self._outside(str(target), f"has no address that could be found{why} and")
            ) from None
        others = frozenset() if listed else self._by_name(target.port)
        for address in addresses:
            if not self._holds_ip(address, target.port, others):
                raise LiveRefused(self._outside(str(target), f"resolves to {address}, which"))

    def _is_named(self, target: TargetAddress) -> bool:
        return any(
            each.host == target.host and each.port in (None, target.port) for each in self._listed
        ) or any(
            target.host.endswith(below) and port in (None, target.port)
            for below, port in self._below
        )

    def _by_name(self, port: int | None) -> frozenset[str]:
        """The addresses of the listed names that let a port through."""
        found: set[str] = set()
        for each in self._listed:
            if each.host and literal_address(each.host) is None and each.port in (None, port):
                try:
                    found.update(self._resolve(each.host))
                except OSError:
                    continue  # it lets nothing through then
        return frozenset(found)

    def _holds_ip(self, address: str, port: int | None, others: frozenset[str]) -> bool:
        literal = ipaddress.ip_address(address)
        return (
            address in others
            or any(literal in network for network in self._networks)
            or any(each.host == address and each.port in (None, port) for each in self._listed)
        )

    def _outside(self, target: str, how: str = "") -> str:
        entries = [
            *map(str, self._listed),
            *(f"*{below}" + (f":{port}" if port else "") for below, port in self._below),
            *map(str, self._networks),
        ]
        lists = f"which lists {named(entries)}" if entries else "which lists nothing"
        return f"{target} {how + ' ' if how else ''}is outside of {WHERE}, {lists}"


class ScratchOnly(AllowList):
    """For what is no live drill: where scratch servers listen, and nothing else."""

    def __init__(self) -> None:
        super().__init__([])

    def check_target(self, target: TargetAddress) -> None:
        """Refuse it.

        Raises:
            LiveRefused: always.
        """
        raise LiveRefused(
            f"{target} is no scratch of this test's: only a live drill touches it; mark the test "
            "dr_live and declare it with dr_live_target"
        )


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def lock_keys(
    target: TargetAddress, *, resolver: Callable[[str], list[str]] = resolve
) -> dict[str, bool]:
    """What a drill on a target has to hold, by key; True where others may hold it as well.

    A host is known by its name and by its addresses, so that two names of one machine collide. Who
    drills one service of it shares the host with who drills another; a whole host excludes both.
    Likewise a folder and those below it.
    """
    if target.path:
        keys = {target.path: False}
        parent = target.path
        while parent != "/":
            parent = parent.rpartition("/")[0] or "/"
            keys[parent] = True
        return keys
    hosts = [target.host]
    if literal_address(target.host) is None:
        with contextlib.suppress(OSError):  # it may be known elsewhere, as beyond a jump host
            hosts += resolver(target.host)
    if target.port is None:
        return dict.fromkeys(hosts, False)
    leaves = {str(TargetAddress(host, target.port)): False for host in hosts}
    return leaves | dict.fromkeys(hosts, True)
