"""The bytes of entries, read back from the tars that hold them and held against their hashes."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from pytest_drdrill.backup.errors import BackupDamaged
from pytest_drdrill.backup.regular import open_regular
from pytest_drdrill.backup.store import TAR
from pytest_drdrill.backup.tar import END, header, padding

if TYPE_CHECKING:
    from types import TracebackType

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.manifest import Entry

_BLOCK = 1 << 20
_OPEN = 64
"""How many tars are kept open: a chain may be longer than a process may have files open."""


class Contents:
    """The tars of a destination, opened when an entry's bytes are first asked for.

    Every method raises ``BackupDamaged``, naming the backup, for a tar that can't be read.
    """

    def __init__(self, job: BackupJob) -> None:
        self._job = job
        self._tars: dict[str, tuple[int, int]] = {}  # the one used last at the end
        self._buffer = memoryview(bytearray(_BLOCK))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd, _ in self._tars.values():
            os.close(fd)

    def copy(self, entry: Entry, to: int | None = None) -> bool:
        """Whether a file's bytes match its hash; on the way they are written to a descriptor.

        Where they don't match, what was written is worthless.
        """
        fd, size = self._tar(entry.backup)
        if entry.offset + entry.stored > size:
            return False
        digest = sha256()
        position = entry.offset
        for start, length in [[0, entry.size]] if entry.data is None else entry.data:
            left = length
            if to is not None and start:
                os.lseek(to, start, os.SEEK_SET)
            while left:
                block = self._buffer[:left]
                count = self._read(fd, block, position, entry.backup)
                if not count:
                    return False
                digest.update(block[:count])
                if to is not None:
                    _write_all(to, block[:count])
                position += count
                left -= count
        if to is not None and entry.data is not None:
            os.ftruncate(to, entry.size)
        return digest.hexdigest() == entry.sha256

    def is_member(self, entry: Entry, position: int) -> tuple[bool, int]:
        """Whether all that the job's own tar holds of an entry, from a position on, is intact.

        Returns:
            The answer, and the position of the next member.
        """
        head = header(entry)
        start = position + len(head)
        intact = self._bytes_at(position, len(head)) == head
        if entry.type == "file" and entry.hardlink is None:
            fill = padding(entry.stored)
            end = start + entry.stored
            intact = (
                intact
                and entry.offset == start
                and self.copy(entry)
                and self._bytes_at(end, len(fill)) == fill
            )
            return intact, end + len(fill)
        return intact, start

    def is_end(self, position: int) -> bool:
        """Whether the job's own tar ends at a position as a tar should, and has its size."""
        _, size = self._tar(self._job.id)
        return (
            size == self._job.stored_bytes == position + len(END)
            and self._bytes_at(position, len(END)) == END
        )

    def _bytes_at(self, position: int, size: int) -> bytes:
        fd, total = self._tar(self._job.id)
        if not size or position >= total:
            return b""
        block = memoryview(bytearray(size))
        count = self._read(fd, block, position, self._job.id)
        return bytes(block[:count])

    def _read(self, fd: int, block: memoryview, position: int, holder: str) -> int:
        try:
            return os.preadv(fd, [block], position)
        except OSError as error:
            raise self._unreadable(holder, error) from error

    def _tar(self, holder: str) -> tuple[int, int]:
        known = self._tars.pop(holder, None)
        if known is None:
            if len(self._tars) >= _OPEN:
                os.close(self._tars.pop(next(iter(self._tars)))[0])
            path = self._job.destination_path / holder / TAR
            try:
                fd = open_regular(path)
                known = fd, os.fstat(fd).st_size
            except OSError as error:
                raise self._unreadable(holder, error) from error
        self._tars[holder] = known
        return known

    def _unreadable(self, holder: str, error: OSError) -> BackupDamaged:
        whose = "its own" if holder == self._job.id else f"backup {holder}, its base: the"
        return BackupDamaged(
            f"backup {self._job.id} needs {whose} {TAR}, which can't be read: {error.strerror}",
            damaged=[TAR if holder == self._job.id else f"{holder}/{TAR}"],
            job=self._job,
        )


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
