"""Capture: a source folder read once, into a tar and a manifest."""

from __future__ import annotations

import os
import stat
import time
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pytest_drdrill.backup.background import Background
from pytest_drdrill.backup.base import Base, ManifestWriter
from pytest_drdrill.backup.entry import (
    RECORDED,
    ROOT,
    Entry,
    head_of_status,
    holder_of_line,
    holding,
)
from pytest_drdrill.backup.job import number_of
from pytest_drdrill.backup.pack import LARGE, Pack, Shrank
from pytest_drdrill.backup.progress import UNTOLD, Reporter
from pytest_drdrill.backup.source import TYPES, Item, Kind, Source, Unlistable, Unreadable, Vanished
from pytest_drdrill.backup.status import doubt_times, entry_of, is_same, moments
from pytest_drdrill.backup.tar import header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.pack import Hashing

_BLOCK = 1 << 20
_ATTEMPTS = 3
"""How often a file is read that changes while it is read."""
_WARNINGS = 1000
"""How many warnings a job keeps: they go into its metadata, which has to stay of readable size."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source is read.

    Attributes:
        paranoid: whether a file whose size, times and inode are as before is read all the same, and
            its hash compared.
        skip_unreadable: whether what can't be read is left out, with a warning.
    """

    paranoid: bool = False
    skip_unreadable: bool = False


def capture(  # noqa: PLR0913 - what is read, what is written, and how
    source: Source,
    job: BackupJob,
    tar: BinaryIO,
    manifest: BinaryIO,
    base: Base,
    *,
    reading: Reading = Reading(),
    progress: Reporter = UNTOLD,
) -> None:
    """Read the source into ``tar`` and ``manifest``, and write counts and warnings into the job.

    Args:
        source: what is read.
        job: whose id the manifest names as the holder of what is written.
        tar: a new file, open to be written and read, without a buffer of its own. All of it is on
            the disk afterwards.
        manifest: a binary file.
        base: an earlier backup, or none; an entry that did not change since is not stored again,
            its line names the backup that holds it. Where nothing changed at all, nothing is
            written to the manifest, and the job's hash of it is that of the base.
        reading: how it is read.
        progress: told the entries and bytes read so far, after each entry and block.

    Raises:
        BackupError: something can't be read, or the source itself vanished; the message names it.
    """
    _Capture(source, job, tar, manifest, base, reading=reading, progress=progress).run()


class _Capture:
    def __init__(  # noqa: PLR0913 - as capture()
        self,
        source: Source,
        job: BackupJob,
        tar: BinaryIO,
        manifest: BinaryIO,
        base: Base,
        *,
        reading: Reading,
        progress: Reporter,
    ) -> None:
        self._source = source
        self._reading = reading
        self._progress = progress
        self._read = 0
        self._holders: set[str] = set()
        self._holder = holding("none")
        self._job = job
        self._background = Background()
        self._pack = Pack(tar, self._background)
        self._base = base
        self._lines = ManifestWriter(manifest, self._base)
        # Only files with several names are remembered: by device and inode, their first entry, and
        # when they had changed.
        self._first_names: dict[tuple[int, int], tuple[Entry, tuple[int, int, int]]] = {}
        self._buffer = memoryview(bytearray(_BLOCK))
        self._unnamed = 0  # warnings beyond those that the job keeps

    def run(self) -> None:
        with closing(self._background):
            self._walk()
            job = self._job
            if self._unnamed:
                job.warnings.append(f"and {self._unnamed} more warnings, which are not listed")
            job.manifest_sha256 = self._lines.end()
            if job.manifest_sha256 != self._base.manifest_sha256:
                self._pack.end()
            job.stored_bytes = self._pack.position
            job.bases = sorted(self._holders - {job.id}, key=number_of)

    def _walk(self) -> None:
        # A listing for each folder from the root down to the current one; each goes on where it
        # was left.
        pending: list[Iterator[Item]] = [iter([(ROOT, "folder", None)])]
        while (item := self._next_new(pending)) is not None:
            path, kind, _ = item
            try:
                self._add(path, kind)
            except (Vanished, Unreadable) as error:
                self._leave_out(path, error)
            else:
                if kind == "folder":
                    self._enter(path, pending)
        self._source.check_there()

    def _enter(self, folder: str, pending: list[Iterator[Item]]) -> None:
        with_status = self._base.job is not None and not self._reading.paranoid
        try:
            pending.append(iter(self._source.listing(folder, with_status=with_status)))
        except (Vanished, Unreadable) as error:
            self._leave_out(folder, error)

    def _leave_out(self, path: str, error: Vanished | Unreadable) -> None:
        if isinstance(error, Vanished):
            self._warn(f"{path!r} vanished or changed its type while it was read")
            return
        if not self._reading.skip_unreadable:
            raise error
        what = "what it holds" if isinstance(error, Unlistable) else "it"
        self._warn(f"{error}; {what} was left out")

    def _next_new(self, pending: list[Iterator[Item]]) -> Item | None:
        """The next entry that is not by its status what the base's next line says.

        Those before it are dealt with. All that is not told at one glance is left to a closer look.
        """
        job, progress, add_same = self._job, self._progress, self._lines.add_same
        entries = files = size = 0
        try:
            while pending:
                for item in pending[-1]:
                    path, kind, status = item
                    if status is None or (head := head_of_status(path, kind, status)) is None:
                        return item
                    line = add_same(head)
                    if line is None:
                        return item
                    entries += 1
                    if progress.is_wanted:
                        progress(job.entry_count + entries, self._read)
                    if kind == "folder":
                        self._enter(path, pending)
                        break
                    files += 1
                    size += status.st_size
                    if self._holder not in line:  # mostly it is the one that held the last
                        holder = holder_of_line(line)
                        self._holders.add(holder)
                        self._holder = holding(holder)
                else:
                    pending.pop()
            return None
        finally:
            job.entry_count += entries
            job.file_count += files
            job.size_bytes += size

    def _add(self, path: str, kind: Kind) -> None:
        start = self._pack.position
        hashing = None
        try:
            if kind == "file":
                entry, hashing = self._file(path)
            else:
                entry = self._without_content(path, kind)
        except (Vanished, Unreadable):
            self._pack.rewind(start)
            raise
        if hashing is None:
            self._lines.add(entry)
        else:
            self._lines.add_later(entry, hashing)
        self._job.entry_count += 1
        if entry.type == "file":
            self._holders.add(entry.backup)
        self._progress(self._job.entry_count, self._read)

    def _without_content(self, path: str, kind: Kind) -> Entry:
        began = time.time_ns()
        status = self._source.lstat(path)
        found = TYPES[stat.S_IFMT(status.st_mode)]
        if found != kind and not (kind == "other" and found in RECORDED):
            raise Vanished
        target = self._source.readlink(path) if kind == "symlink" else None
        if found in RECORDED:
            self._warn(f"{path!r} is a {found}, which is recorded and can't be restored")
        known = self._base.find(path)
        if known is not None and is_same(known, status) and known.target == target:
            by_times = known.ctime_ns and not self._reading.paranoid
            if by_times or found in RECORDED or self._source.xattrs(path) == known.xattrs:
                return known
        entry = entry_of(path, status, self._job.id, target=target)
        if found in RECORDED:
            return entry
        entry.xattrs = self._source.xattrs(path)
        doubt_times(entry, began)
        self._pack.write(header(entry))
        entry.offset = self._pack.position
        return entry

    def _file(self, path: str) -> tuple[Entry, Hashing | None]:
        known = self._known_file(path)
        return self._new_file(path) if known is None else (known, None)

    def _known_file(self, path: str) -> Entry | None:
        """The entry of a file that is as the base has it; None where it has to be stored."""
        known = self._base.find(path)
        # What was listed as a file may be what the base knows it as by now: another thing.
        if known is None or known.type != "file":
            return None
        status = self._source.lstat(path)
        if not is_same(known, status):
            return None
        # Times may not tell that other names of the file came and went: which is the first one, and
        # that the others are names of it, is found out anew.
        if (first := self._first_name(status)) is not None:
            return self._further_name(path, first)
        known.hardlink = None
        by_times = known.ctime_ns and not self._reading.paranoid
        if by_times or self._has_content(path, status, known):
            return self._counted(known, status)
        return None

    def _new_file(self, path: str) -> tuple[Entry, Hashing | None]:
        for attempt in range(1, _ATTEMPTS + 1):
            fd = self._source.open(path)
            began = time.time_ns()
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise Vanished
                if (first := self._first_name(status)) is not None:
                    return self._further_name(path, first), None
                start = self._pack.position
                try:
                    entry, hashing = self._content(path, fd, status, began)
                except Shrank:
                    if attempt == _ATTEMPTS:
                        raise
                    self._pack.rewind(start)
                    continue
                after = os.fstat(fd)
            finally:
                os.close(fd)
            if entry.size == status.st_size and moments(after) == moments(status):
                break
            if attempt < _ATTEMPTS:
                self._pack.rewind(start)
        else:
            self._warn(
                f"{path!r} changed while it was read, {_ATTEMPTS} times; "
                "its copy may mix older and newer content"
            )
        return self._counted(entry, status), hashing

    def _counted(self, entry: Entry, status: os.stat_result) -> Entry:
        self._job.file_count += 1
        self._job.size_bytes += entry.size
        if status.st_nlink > 1:
            self._first_names[status.st_dev, status.st_ino] = entry, moments(status)
        return entry

    def _has_content(self, path: str, status: os.stat_result, known: Entry) -> bool:
        """Whether a file holds what it held; not so where it changes while that is looked at."""
        digest = sha256()
        fd = self._source.open(path)
        try:
            data = self._source.segments(path, fd, status)
            if data != known.data or self._source.xattrs(path, fd) != known.xattrs:
                return False
            for start, length in [[0, status.st_size]] if data is None else data:
                os.lseek(fd, start, os.SEEK_SET)
                left = length
                while left and (count := self._source.read(path, fd, self._buffer[:left])):
                    digest.update(self._buffer[:count])
                    self._read += count
                    left -= count
            return digest.hexdigest() == known.sha256 and (moments(os.fstat(fd)) == moments(status))
        finally:
            os.close(fd)

    def _first_name(self, status: os.stat_result) -> Entry | None:
        """The entry of the same file that came before, if any did."""
        if status.st_nlink == 1:
            return None
        entry, then = self._first_names.get((status.st_dev, status.st_ino), (None, None))
        # The same number may be another file by now, or the file have other content.
        return entry if then == moments(status) else None

    def _further_name(self, path: str, first: Entry) -> Entry:
        if first.sha256 is None:
            self._lines.settle()
        entry = replace(first, path=path, hardlink=first.path)
        if entry.backup == self._job.id:
            self._pack.write(header(entry))
        self._job.file_count += 1
        return entry

    def _content(
        self, path: str, fd: int, status: os.stat_result, began: int
    ) -> tuple[Entry, Hashing | None]:
        """The entry of a file that was just stored; where its hash is still to come, by whom."""
        hashing = None
        data = self._source.segments(path, fd, status)
        entry = entry_of(path, status, self._job.id, size=status.st_size)
        entry.data, entry.xattrs = data, self._source.xattrs(path, fd)

        def read(buffer: memoryview) -> int:
            return self._source.read(path, fd, buffer)

        if data is not None:
            self._pack.add_sparse(entry, fd, read, self._tell)
        elif status.st_size >= LARGE:
            hashing = self._pack.add_large(entry, read, self._tell)
        else:
            hashing = self._pack.add_small(entry, read)
        doubt_times(entry, began)
        self._read += entry.size
        return entry, hashing

    def _tell(self, size_bytes: int) -> None:
        self._progress(self._job.entry_count, self._read + size_bytes)

    def _warn(self, text: str) -> None:
        if len(self._job.warnings) < _WARNINGS:
            self._job.warnings.append(text)
        else:
            self._unnamed += 1
