"""What live drills left behind: a record on disk from before the first fault until all is undone.

A drill that comes to its end takes its record away. One that stays says that its undo failed, or
that its process died: until somebody has looked and acknowledged it, nothing touches that target.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypedDict

from pytest_drdrill.live.lock import TargetLock
from pytest_drdrill.live.refused import LiveRefused
from pytest_drdrill.state import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

State = Literal["running", "undo failed", "died", "stuck"]
_SAID: dict[State, str] = {
    "running": "was killed, with all that would have undone its faults",
    "undo failed": "could not undo all of its faults",
    "died": "was killed before it ended",
    "stuck": "did not end when it had to, and was killed",
}


class TargetRecord(TypedDict):
    """A target as the drill declared it, in words without secrets."""

    address: str
    breaks: str
    undone_by: str


class LeftRecord(TypedDict):
    """One drill; ``keys`` are those of its locks."""

    nodeid: str
    root: str
    pid: int
    started: str
    targets: list[TargetRecord]
    keys: dict[str, bool]
    state: State
    done: list[str]  # what was undone by who outlived it
    left: list[str]  # what could not be


class LeftBehind:
    """The records in a folder, one file a drill.

    Args:
        folder: where they are; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, record: LeftRecord) -> Path:
        """Where a drill's record is."""
        # The same drill on another target, as a variable of the environment names it, is another.
        parts = "\0".join([record["root"], record["nodeid"], *sorted(record["keys"])])
        return self._folder / f"{hashlib.sha256(os.fsencode(parts)).hexdigest()[:32]}.json"

    def write(self, record: LeftRecord) -> None:
        """Keep a record, whole or not at all, whatever happens to the machine next.

        Raises:
            LiveRefused: it can't be written; so nothing must be broken.
        """
        path = self.path(record)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, record)
        except OSError as error:
            raise LiveRefused(
                f"what the drill breaks can't be kept in {self._folder}: {error.strerror}; name a "
                f"folder that can be written to in {VARIABLE}"
            ) from error

    def remove(self, record: LeftRecord) -> None:
        """The drill has ended and undone everything."""
        self.path(record).unlink(missing_ok=True)

    def all(self) -> Iterator[LeftRecord]:
        """Every record, in no order."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # somebody has just ended
                record: LeftRecord = json.loads(path.read_text(encoding="utf-8"))
                yield record

    def refuse(self, nodeid: str, root: str, keys: Mapping[str, bool]) -> None:
        """Refuse a drill that left something behind, or whose target another one left broken.

        To be called by who holds the locks: so what is said to run there does so no more.

        Raises:
            LiveRefused: it is refused until acknowledged; the message says how.
        """
        for record in self.all():
            collides = any(
                key in keys and not (shared and keys[key]) for key, shared in record["keys"].items()
            )
            same = record["nodeid"] == nodeid and record["root"] == root
            if collides or (same and record["state"] != "running"):
                raise LiveRefused(complaint(record))

    def acknowledge(self, nodeid: str, locks: Path) -> None:
        """Somebody has looked: take the records of a drill away.

        Args:
            nodeid: the drill's.
            locks: the folder of the locks, which tell one that still runs.

        Raises:
            ValueError: it has none; the message names those that have.
            TargetHeld: it still runs.
        """
        records = list(self.all())
        own = [record for record in records if record["nodeid"] == nodeid]
        for record in own:
            about = {"nodeid": nodeid, "pid": os.getpid(), "since": record["started"]}
            lock = TargetLock(locks, record["keys"], about)
            lock.acquire(timedelta(0))
            self.remove(record)
            lock.release()
        if not own:
            others = ", ".join(sorted({record["nodeid"] for record in records})) or "none"
            raise ValueError(f"{nodeid} left nothing behind; drills that did: {others}")


def complaint(record: LeftRecord) -> str:
    """What a drill left, and how to go on, as one sentence for the reader of a report."""
    targets = "; ".join(
        f"{target['address']} (it {target['breaks']}; undone by: {target['undone_by']})"
        for target in record["targets"]
    )
    parts = [f"{record['nodeid']}, begun {record['started']}, {_SAID[record['state']]}: {targets}"]
    if record["left"]:
        parts.append(f"not undone: {', '.join(record['left'])}")
    if record["done"]:
        parts.append(f"undone since: {', '.join(record['done'])}")
    return (
        "; ".join(parts) + f"; put right what is left, then acknowledge it once with "
        f"--dr-acknowledge={record['nodeid']}"
    )


def write_whole(path: Path, record: LeftRecord) -> None:
    """Write a file under another name, make sure of it, and give it its name."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
