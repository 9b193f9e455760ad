"""One drill at a time on a target: locks that end with the process that holds them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_drdrill.durations import format_duration
from pytest_drdrill.live.refused import LiveRefused, TargetHeld
from pytest_drdrill.state import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from pathlib import Path

_POLL_S = 0.1
_NAME_LIMIT = 150


class TargetLock:
    """Locks on everything that a drill touches: all of them, or none.

    They are ``flock`` locks of files in a folder, so the kernel lets go of them when the last
    process that has them open ends, however it ends. The files stay.

    Args:
        folder: where the files are; made if need be.
        keys: what to hold; True where others may hold it as well.
        about: what whoever has to wait is told: ``nodeid``, ``pid`` and ``since``.

    Attributes:
        fds: the open files; who inherits them holds the lock too.
    """

    def __init__(self, folder: Path, keys: Mapping[str, bool], about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._keys = sorted(keys.items())  # in one order
        self._about = json.dumps({**about, "keys": list(keys)}).encode()
        self.fds: list[int] = []

    def acquire(self, wait: timedelta, on_wait: Callable[[str], None] | None = None) -> None:
        """Hold all of them; none is held while it waits for another.

        Args:
            wait: how long to wait for who holds one.
            on_wait: told once who that is, before waiting.

        Raises:
            TargetHeld: somebody still holds one.
            LiveRefused: the files can't be made.
        """
        deadline = time.monotonic() + wait.total_seconds()
        while (held := self._try()) is not None:
            if on_wait is not None and wait:
                on_wait(held)
                on_wait = None
            if time.monotonic() >= deadline:
                waited = f", still after {format_duration(wait)} (dr_live_wait)" if wait else ""
                raise TargetHeld(f"{held}{waited}")
            time.sleep(_POLL_S)

    def release(self) -> None:
        """Let go of all of them; nothing happens a second time."""
        while self.fds:
            os.close(self.fds.pop())

    def _try(self) -> str | None:
        """Take all; or none, and say who holds one of them."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for key, shared in self._keys:
                fd = os.open(
                    self._folder / _name(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                self.fds.append(fd)
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                try:
                    fcntl.flock(fd, kind | fcntl.LOCK_NB)
                except BlockingIOError:
                    self.release()
                    return self._told(key)
                if not shared:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, self._about, 0)
        except OSError as error:
            self.release()
            raise LiveRefused(
                f"no target can be locked in {self._folder}: {error.strerror}; name a folder that "
                f"can be written to in {VARIABLE}"
            ) from error
        return None

    def _told(self, key: str) -> str:
        """Who holds a key: each who does has told so in the files that are its alone."""
        for path in sorted(self._folder.glob("*.lock")):
            about = _of_holder(path)
            if about is not None and key in about.get("keys", ()):
                who = f"{about['nodeid']} (process {about['pid']}, since {about['since']})"
                return f"{key} is held by {who}"
        return f"{key} is held by another drill"  # which is about to tell, or to end


def _of_holder(path: Path) -> dict[str, Any] | None:
    """What the holder of a lock told; None where nobody holds it alone, or has told it yet."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                found: dict[str, Any] = json.loads(file.read())
            except ValueError:
                return None
            return found
    return None


def _name(key: str) -> str:
    name = quote(os.fsencode(key), safe="")
    if len(name) > _NAME_LIMIT:
        name = hashlib.sha256(os.fsencode(key)).hexdigest()
    return f"{name}.lock"
