"""The process that outlives pytest: it undoes a live drill's faults where pytest can't any more.

It reads what pytest tells it, one JSON object a line, from a pipe whose other end ends with pytest:
so it learns of every death, kill -9 included. It has a session of its own, so no Ctrl-C reaches it,
and holds the target's locks, so nobody drills there until it is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.faults.journal import recover
from pytest_drdrill.live.left import LeftRecord, State, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

UNDO_PATIENCE_S = 60.0
"""Seconds for which one undo may take, before it counts as failed."""
_LOOK_S = 0.25
_DEATH_S = 5.0


class Sentry:
    """What it knows of a drill, and what it does when pytest is dead or stuck.

    Args:
        parent: the process of pytest.
        path: where the drill's record is.
        record: that record.
    """

    def __init__(self, parent: int, path: Path, record: LeftRecord) -> None:
        self._parent = parent
        self._path = path
        self._record = record
        self._undos: dict[int, tuple[str, list[str], str]] = {}
        self._began = time.monotonic()
        self._deadline = float("inf")
        self._limit = ""
        self._ended = False

    def watch(self) -> None:
        """Return when the drill has ended, by itself or by what was done here."""
        pending = b""
        while not self._ended:
            left = max(0.0, self._deadline - time.monotonic())
            ready, _, _ = select.select([0], [], [], min(_LOOK_S, left))
            if ready:
                data = os.read(0, 1 << 16)
                if not data:
                    self._act("died")
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
            elif os.getppid() != self._parent:  # a fork of it may hold the pipe open
                self._act("died")
                return
            elif time.monotonic() >= self._deadline:
                self._kill()
                self._act("stuck")
                return

    def _hear(self, told: Mapping[str, Any]) -> None:
        if "end" in told:
            self._ended = True
        elif "within" in told:
            self._deadline, self._limit = time.monotonic() + told["within"], told["limit"]
        elif "undo" in told:
            self._undos[told["id"]] = (told["what"], told["undo"], told["folder"])
            os.write(1, b"held\n")
        else:
            self._undos.pop(told["undone"], None)

    def _kill(self) -> None:
        """End pytest, which does not react, before its faults are undone: it strikes no more."""
        if os.getppid() != self._parent:
            return  # it is dead, and its number may be somebody else's by now
        with contextlib.suppress(OSError):
            os.kill(self._parent, signal.SIGKILL)
        waited = time.monotonic() + _DEATH_S
        while os.getppid() == self._parent and time.monotonic() < waited:
            time.sleep(0.01)

    def _act(self, state: State) -> None:
        """Undo everything, the newest first; the record says what came of it."""
        record = self._record
        record["state"] = state
        for what, command, folder in reversed(self._undos.values()):
            if (why := run_quietly(command, folder)) is None:
                record["done"].append(what)
            else:
                record["left"].append(f"{what} ({why})")
        with contextlib.suppress(OSError):  # or else the next run does that
            scratch = recover()
            record["done"] += scratch.done
            record["left"] += scratch.failed
        with contextlib.suppress(OSError):  # it says the drill runs, which refuses as well
            write_whole(self._path, record)
        self._say(state)

    def _say(self, state: State) -> None:
        record = self._record
        after = format_seconds(time.monotonic() - self._began)
        if state == "stuck":
            text = (
                f"{record['nodeid']} reacted to nothing {after} after it began, long past its "
                f"max_outage of {self._limit}; process {self._parent} was killed"
            )
        else:
            text = f"process {self._parent} died in {record['nodeid']}, {after} after it began"
        text += f"; undone: {', '.join(record['done']) or 'nothing'}"
        if record["left"]:
            text += f"; NOT undone: {', '.join(record['left'])}"
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, f"\ndrdrill: {text}\n".encode("utf-8", "backslashreplace"))


def run_quietly(command: list[str], folder: str) -> str | None:
    """Undo: run a command in a folder.

    Returns:
        None where it succeeded, else why not, without its output or arguments.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the drill's own command, no shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=UNDO_PATIENCE_S,
            check=False,
        )
    except OSError as error:
        return error.strerror or type(error).__name__
    except subprocess.TimeoutExpired:
        return f"not done within {format_seconds(UNDO_PATIENCE_S)}"
    return None if done.returncode == 0 else f"exit status {done.returncode}"


def main() -> None:
    """Run by ``Watchdog``, which says everything on the first line."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    first = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr] # unbuffered
    os.write(1, b"ready\n")
    Sentry(first["parent"], Path(first["path"]), first["record"]).watch()


if __name__ == "__main__":
    main()
