"""The tree that a restore writes: folder by folder, its small files by threads."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_drdrill.backup.attributes import Attributes, named
from pytest_drdrill.backup.background import Background
from pytest_drdrill.backup.contents import Contents, is_large
from pytest_drdrill.backup.entry import RECORDED, ROOT, Entry
from pytest_drdrill.backup.errors import BackupDamaged
from pytest_drdrill.backup.job import MANIFEST

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pytest_drdrill.backup.contents import Check
    from pytest_drdrill.backup.job import BackupJob

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_MOST_OPEN = 32
_FILES, _BYTES = 256, 4 << 20
"""With how many files, and bytes of them, a batch is large enough."""
_WORTH_A_CALL = 1 << 16
"""Bytes from which on a small file begins to go to the disk at once."""
_MOST_BATCHES = 6
_MOST_LATER = 1000


class Writer:
    """Writes entries, in the order of a manifest, into a new folder.

    The manifest's own checks guarantee that each entry's folder was written here as a folder, so no
    path leads through a symlink. Small files go to threads by batches, since making a file is what
    a file system takes time for; a tree with no more than one batch of them needs no thread.

    Args:
        job: whose entries they are.
        root: the folder, open.

    Attributes:
        file_count: files so far, every name of a hard-linked one counted.
        size_bytes: bytes of them, hard-linked ones counted once.
    """

    def __init__(self, job: BackupJob, root: int) -> None:
        self.file_count = 0
        self.size_bytes = 0
        self._job = job
        self._root = root
        self._background = Background()
        self._attributes = Attributes(root)
        self._recorded: list[str] = []
        # One for each thread that reads at the same time; none of them in use is in the list.
        self._spare: list[Contents] = []
        self._contents = Contents(job, self._background)
        # Whether what was written is what was backed up: for large files that comes out later.
        self._checks: deque[Check] = deque()
        # From the root down to the current one: their modes and times are set when all is in them.
        self._folders: list[Entry] = []
        # What waits, in order: batches, and folders that earlier batches may still write to.
        self._later: deque[_Batch | Entry] = deque()
        self._batch: _Batch | None = None  # the last of them, as long as it grows
        self._has_threads = False
        self._handed_over = 0  # batches
        # Only files with several names: the first name of each that was written, and its hash.
        self._linked: dict[str, tuple[str, str | None]] = {}

    def close(self) -> None:
        """End the threads, wherever they are, and close the tars."""
        self._background.close()
        for contents in (self._contents, *self._spare):
            contents.close()

    def put(self, entry: Entry) -> None:
        """Write an entry, at once or soon.

        Raises:
            BackupDamaged: this one, or an earlier one, is not what was backed up.
            OSError: it can't be written.
        """
        while self._folders and not _is_inside(entry.path, self._folders[-1].path):
            self._leave_folder()
        if entry.type == "folder":
            if entry.path != ROOT:
                # Most get the mode that they keep; within the root nobody else comes to them yet.
                os.mkdir(entry.path, entry.mode & 0o777 | 0o700, dir_fd=self._root)
            self._folders.append(entry)
        elif entry.type == "symlink":
            os.symlink(entry.target or "", entry.path, dir_fd=self._root)
            self._attributes.give_link(entry)
        elif entry.type in RECORDED:
            self._recorded.append(entry.path)
        else:
            self._put_file(entry)

    def finish(self) -> list[str]:
        """Write all that still waits; returns warnings of what could not be given back.

        Raises:
            BackupDamaged, OSError: as of ``put``.
        """
        while self._folders:
            self._leave_folder()
        self._hand_over(may_start=self._has_threads)
        self._settle(most=0)
        while self._checks:
            self._end_check()
        self._background.end_sync()
        warnings = [*self._attributes.warnings()]
        if self._recorded:
            warnings.append(f"{named(self._recorded)}, recorded only, can't be restored")
        return warnings

    def _put_file(self, entry: Entry) -> None:
        self.file_count += 1
        if entry.nlink > 1:
            label = entry.hardlink or entry.path
            path, digest = self._linked.setdefault(label, (entry.path, entry.sha256))
            if digest != entry.sha256:
                raise BackupDamaged.naming(self._job, [MANIFEST])
            if path != entry.path:
                os.link(
                    path,
                    entry.path,
                    src_dir_fd=self._root,
                    dst_dir_fd=self._root,
                    follow_symlinks=False,
                )
                return
        self.size_bytes += entry.size
        if is_large(entry):
            self._write_large(entry)
        elif entry.nlink > 1:  # other names need one that is there
            self._write_file(entry, self._contents)
        else:
            self._write_later(entry)

    def _write_later(self, entry: Entry) -> None:
        batch = self._batch
        if batch is None:
            batch = self._batch = _Batch()
            self._later.append(batch)
        batch.entries.append(entry)
        batch.size += entry.size
        if len(batch.entries) >= _FILES or batch.size >= _BYTES:
            self._hand_over()

    def _hand_over(self, *, may_start: bool = True) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if may_start:
            batch.written = self._background.run(self._write_files, batch.entries)
            self._has_threads = True
            self._handed_over += 1
            self._settle(most=_MOST_BATCHES)
        else:
            self._write_files(batch.entries)

    def _settle(self, *, most: int) -> None:
        """Close the folders that nothing is written to any more; wait for batches above so many."""
        while self._later:
            first = self._later[0]
            if isinstance(first, Entry):
                self._attributes.give(first)
            elif first is self._batch:
                return
            elif first.written is not None:
                if self._handed_over <= most and not first.written.done():
                    return
                first.written.result()
                self._handed_over -= 1
            self._later.popleft()

    def _write_files(self, entries: list[Entry]) -> None:
        """What a thread does with a batch."""
        try:
            contents = self._spare.pop()
        except IndexError:
            contents = Contents(self._job, self._background)
        try:
            for entry in entries:
                self._write_file(entry, contents)
        finally:
            self._spare.append(contents)

    def _write_file(self, entry: Entry, contents: Contents) -> None:
        fd = self._new_file(entry)
        try:
            if not contents.copy(entry, fd):
                raise BackupDamaged.naming(self._job, [entry.path])
            self._attributes.give(entry, fd)
            if entry.size >= _WORTH_A_CALL:  # on Linux it begins to write what is not on the disk
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def _write_large(self, entry: Entry) -> None:
        fd = self._new_file(entry)
        try:
            self._checks.append(self._contents.begin_copy(entry, fd))
            self._attributes.give(entry, fd)
        finally:
            os.close(fd)
        while self._checks and (self._checks[0].is_done or len(self._checks) > _MOST_OPEN):
            self._end_check()

    def _new_file(self, entry: Entry) -> int:
        mode = (
            entry.mode & 0o777 | 0o600
        )  # mostly that which it keeps; attributes take a right to write
        return os.open(entry.path, _NEW_FILE, mode, dir_fd=self._root)

    def _end_check(self) -> None:
        check = self._checks.popleft()
        if not self._contents.is_intact(check):
            raise BackupDamaged.naming(self._job, [check.entry.path])

    def _leave_folder(self) -> None:
        entry = self._folders.pop()
        if not self._later:
            self._attributes.give(entry)
            return
        self._later.append(entry)
        if len(self._later) > _MOST_LATER:
            self._hand_over()


@dataclass(slots=True, eq=False)
class _Batch:
    """Small files that one thread writes.

    Attributes:
        entries: the files.
        size: bytes of them.
        written: once a thread has them, when it is done with them.
    """

    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    written: Future[None] | None = None


def _is_inside(path: str, folder: str) -> bool:
    return folder == ROOT or path.startswith(folder + "/")
