"""Addresses that nobody else on this machine uses."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from typing import TYPE_CHECKING

from pytest_drdrill.faults import FaultError

if TYPE_CHECKING:
    from collections.abc import Iterable

RANGE = ipaddress.IPv4Network("198.18.0.0/15")
"""Set aside for tests of networks (RFC 2544), so that no network of an office or a cloud has it."""
_LENGTH = 24
MOST_HOSTS = 250

_claimed: set[ipaddress.IPv4Network] = set()


class Subnet:
    """A network of 256 addresses, claimed until ``release`` or the end of this process.

    Who claims it has bound a socket without a file by its name, which the kernel lets nobody else
    on this machine do meanwhile.

    Args:
        routed: what this machine has routes to already, as ``ip`` shows it.

    Raises:
        FaultError: none is free.
    """

    def __init__(self, routed: Iterable[str]) -> None:
        taken = [ipaddress.IPv4Network(each, strict=False) for each in routed if each != "default"]
        subnets = list(RANGE.subnets(new_prefix=_LENGTH))
        # Anywhere, so that what is left of one network by way of caches does not meet the next.
        first = secrets.randbelow(len(subnets))
        for each in subnets[first:] + subnets[:first]:
            if not any(each.overlaps(other) for other in taken):
                claim = _claim(each)
                if claim is not None:
                    self._claim, self._network = claim, each
                    _claimed.add(each)
                    return
        raise FaultError(f"no network of 256 addresses in {RANGE} is free on this machine")

    def __str__(self) -> str:
        return str(self._network)

    def address(self, number: int) -> str:
        """One of its addresses, counted from 1; below 0, from the end."""
        return str(self._network[number])

    def release(self) -> None:
        """Others may have it; again, nothing happens."""
        _claimed.discard(self._network)
        self._claim.close()


def is_scratch(host: str) -> bool:
    """Whether a literal address lies in a scratch network of this process."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return any(address in each for each in _claimed)


def _claim(network: ipaddress.IPv4Network) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0drdrill-network-{network}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return claim
