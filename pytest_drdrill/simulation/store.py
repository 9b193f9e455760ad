"""A change store on a simulated disk: what was not fsynced is gone when its host stops dead."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from pytest_drdrill.replication import Change, History, MemoryStore, Snapshot, WriteRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.simulation.disk import SimulatedDisk

_FILE = "changes.log"


class DiskStore(MemoryStore):
    """A log of changes in a file of a simulated disk; a ``ChangeStore``.

    Every call that changes it appends a record with a checksum to the file, and fsyncs it, unless
    told not to. When the host of the disk stops dead, the memory is gone: the store then holds what
    the file has, up to the first record that is torn or damaged, as a write-ahead log is replayed.

    One that lost changes in that way takes no write of the epoch that it was in: others may have
    them, and would take different ones for the same. It does so again after a promotion.

    Args:
        disk: the disk.
        fsync: whether a change is safe before it is acknowledged. A store without it is fast, is no
            worse for ``kill -9``, and loses acknowledged writes with the power.
    """

    def __init__(self, disk: SimulatedDisk, *, fsync: bool = True) -> None:
        super().__init__()
        self._disk = disk
        self._fsync = fsync
        self._incomplete = 0  # the epoch in which changes were lost, or 0
        self._surplus = 0  # bytes at the end of the file that are no records
        disk.on_loss(self._replay)
        self._replay(lost=False)

    def promise(self, epoch: int) -> None:
        """Refuse from now on whatever comes of an earlier epoch.

        Raises:
            StaleEpochError: a later one is promised already.
            OSError: of the disk.
        """
        self._check_promise(epoch)
        if epoch > self._epoch:
            self._write(["promise", epoch])
            super().promise(epoch)

    def append(self, key: str | int, value: str | bytes | float) -> Change:
        """Write a change of the promised epoch, at the next position.

        Raises:
            WriteRefusedError: changes of this epoch were lost with the power.
            OSError: of the disk.
        """
        if self._epoch <= self._incomplete:
            raise WriteRefusedError(
                f"changes of epoch {self._incomplete} were lost with the power, and others may "
                "have them: it takes a promotion before writes are taken again"
            )
        return super().append(key, value)

    def rewind(self, position: int) -> Sequence[Change]:
        """Take back every change after a position; returns them.

        Raises:
            DivergedError: the log no longer reaches back so far.
            OSError: of the disk.
        """
        self._check_reach(position)
        if self._history.position > position:
            self._write(["rewind", position])
        return super().rewind(position)

    def load(self, snapshot: Snapshot) -> None:
        """Hold what a snapshot holds, in place of everything else.

        Raises:
            OSError: of the disk.
        """
        items = [[key, _coded(value)] for key, value in snapshot.items.items()]
        record = ["load", snapshot.history.epochs, snapshot.history.position, items]
        self._disk.replace(_FILE, _line(["promise", self._epoch]) + _line(record))
        self._surplus = 0
        super().load(snapshot)

    def _take(self, changes: Sequence[Change]) -> None:
        records = ([c.position, c.epoch, c.key, _coded(c.value)] for c in changes)
        self._write(*(["change", *record] for record in records))
        super()._take(changes)

    def _write(self, *records: list[Any]) -> None:
        if self._surplus:  # or what comes now would follow what is torn, and be lost with it
            self._disk.replace(_FILE, self._disk.read(_FILE)[: -self._surplus])
            self._surplus = 0
        self._disk.write(_FILE, b"".join(_line(record) for record in records))
        if self._fsync:
            self._disk.fsync(_FILE)

    def _replay(self, *, lost: bool) -> None:
        """Hold what the file has, and nothing that was only in memory."""
        before, epoch = self._history.position, self._epoch
        self._epoch, self._history, self._oldest = 0, History(), 0
        self._base, self._log, self._items = {}, [], {}
        records, self._surplus = _read(self._disk.peek(_FILE))
        for what, *details in records:
            if what == "promise":
                super().promise(details[0])
            elif what == "rewind":
                super().rewind(details[0])
            elif what == "load":
                epochs, position, items = details
                history = History(tuple((each, first) for each, first in epochs), position)
                super().load(Snapshot(history, {key: _decoded(value) for key, value in items}))
            else:
                position, written_in, key, value = details
                super()._take([Change(position, written_in, key, _decoded(value))])
        if not lost:
            self._incomplete = 0
        elif self._history.position < before:
            # What was lost may be the promise too, so a second loss is of an earlier epoch.
            self._incomplete = max(self._incomplete, epoch)


def _line(record: list[Any]) -> bytes:
    text = json.dumps(record).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(content: bytes) -> tuple[list[list[Any]], int]:
    """The records up to the first that is torn or damaged, and how many bytes come after them."""
    records, end = [], 0
    for line in content.splitlines(keepends=True):
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            break
        records.append(json.loads(text))
        end += len(line)
    return records, len(content) - end


def _coded(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _decoded(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
