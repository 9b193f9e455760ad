"""A machine of the test's own, in which scratch networks are made, and who hears whom in them."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from itertools import permutations
from pathlib import Path

from pytest_drdrill.live.network.namespace import Namespace

PATIENCE_S = 60
"""For what is sure to come; only a broken network takes so long."""
SILENCE_S = 0.05
"""For what must not come: too short a time hides a bug, and fails nothing that is right."""
OUTSIDE = "203.0.113.7"
"""An address that the machine has beside, as of another network."""


def descriptors_open():
    """How many this process has."""
    return len([*Path("/proc/self/fd").iterdir()])


class Machine:
    """A namespace that stands for the machine, so that the real one's network is left alone."""

    def __init__(self):
        self.namespace = Namespace.new()
        self.ip("link set lo up")
        self.ip(f"address add {OUTSIDE}/32 dev lo")

    def ip(self, command):
        words = ["ip", *command.split()]
        done = self.namespace.run(lambda: subprocess.run(words, capture_output=True, check=True))
        return json.loads(done.stdout or b"null") if "-json" in words else None

    def all(self):
        """Its links, addresses, routes and rules."""
        return [
            self.ip(f"-json {each}") for each in ("address", "route show table all", "rule show")
        ]


class Radio:
    """A socket at each place of a network, by which it tells all others who it is."""

    def __init__(self, network, stack):
        self._sockets = {}
        for place in (network.drill, *network.hosts):
            with place.within():
                made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                made.bind((place.address, 0))
            self._sockets[place.name] = made
        self._round = 0

    def lost(self, *expected):
        """The ways on which nothing arrives, as ``"a>b"``; waits for all that are not expected."""
        self._round += 1
        pairs = list(permutations(self._sockets, 2))
        for source, target in pairs:
            text = f"{self._round} {source}>{target}"
            self._sockets[source].sendto(text.encode(), self._sockets[target].getsockname())
        missing = {f"{source}>{target}" for source, target in pairs}
        patience = time.monotonic() + PATIENCE_S
        while missing - set(expected) and time.monotonic() < patience:
            missing -= self._heard(0.5)
        return missing - self._heard(SILENCE_S)

    def _heard(self, seconds):
        found = set()
        for each in select.select(list(self._sockets.values()), [], [], seconds)[0]:
            number, _, way = each.recv(100).decode().partition(" ")
            if int(number) == self._round:
                found.add(way)
        return found
