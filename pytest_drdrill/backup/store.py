"""The destination: a folder with a folder for each backup, written by one run at a time.

A backup is published by its ``metadata.json``, which is written last, under another name, and
renamed into place when all else is on the disk. So a folder without it is no backup but the
leftover of a run that died, which the next run clears away. The lock is the kernel's and dies with
the process that holds it; readers need none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pytest_drdrill.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupLocked,
    BackupNotFound,
    BackupRefused,
)
from pytest_drdrill.backup.full_disk import inodes_told, why
from pytest_drdrill.backup.job import (
    MANIFEST,
    BackupJob,
    BackupStatus,
    checked_id,
    is_id,
    number_of,
)
from pytest_drdrill.backup.paths import absolute, sync_folder
from pytest_drdrill.backup.regular import open_regular

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TAR = "data.tar"
METADATA = "metadata.json"
FORMAT = "drdrill-backup/1"
VERIFIED = "verified.json"
_PART = "metadata.json.part"
_VERIFIED_PART = "verified.json.part"
_LOCK = ".lock"
_ANY_FORMAT = re.compile(r"drdrill-backup/[0-9]+")
_METADATA_LIMIT = 64 << 20
_NUMBER_LIMIT = 10**12
_IN_USE = {errno.ENOTEMPTY, errno.EEXIST}


class Store:
    """The backups in one destination."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path, "the destination")

    def jobs(self) -> list[BackupJob]:
        """The completed backups, newest first.

        One whose metadata is damaged, or of another format, is none to rely on: it is left out, and
        a warning of the logger ``pytest_drdrill.backup`` names it.

        Raises:
            BackupRefused: there is no such folder, or it can't be read.
        """
        jobs, unreadable = self.survey()
        for error in unreadable.values():
            _log().warning("left out of the list of backups: %s", error)
        return jobs

    def survey(self) -> tuple[list[BackupJob], dict[str, BackupError]]:
        """The completed backups, newest first, and by id what is wrong with those left out.

        Raises:
            BackupRefused: there is no such folder, or it can't be read.
        """
        jobs = []
        unreadable: dict[str, BackupError] = {}
        for name in self.names():
            try:
                jobs.append(self.load(name))
            except BackupNotFound:
                continue
            except (BackupDamaged, BackupRefused) as error:
                unreadable[name] = error
        jobs.sort(key=lambda job: (number_of(job.id), job.created_at), reverse=True)
        return jobs, unreadable

    def load(self, job_id: str) -> BackupJob:
        """The completed backup of an id, read from its metadata.

        Raises:
            BackupNotFound: there is none.
            BackupRefused: the id is none, or the backup is of another format.
            BackupDamaged: its metadata is not what was written.
        """
        path = self.path / checked_id(job_id) / METADATA
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                data = file.read(_METADATA_LIMIT)
        except FileNotFoundError:
            raise BackupNotFound(f"there is no backup {job_id} in {self.path}") from None
        except OSError as error:
            raise BackupDamaged(
                f"the metadata of backup {job_id} can't be read: {error.strerror}",
                damaged=[METADATA],
            ) from error
        job = BackupJob.from_metadata(_checked_document(data, path), self.path)
        if (
            job.id != job_id
            or job.status is not BackupStatus.COMPLETED
            or job.recovery_point is None
            or job.manifest_sha256 is None
        ):
            raise BackupDamaged(
                f"{path} is not the metadata of a completed backup {job_id}", damaged=[METADATA]
            )
        with contextlib.suppress(BackupError):  # as if it never was; who must be sure asks again
            job.verified_at = self.verified_at(job)
        return job

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one writer; makes the destination if it is missing.

        Raises:
            BackupLocked: another run is writing.
            BackupRefused: the destination can't be written to.
        """
        try:
            with inodes_told(self.path):
                if not self.path.is_dir():
                    self.path.mkdir(parents=True, exist_ok=True)
                    sync_folder(self.path.parent)
                lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise BackupRefused(f"can't write to {self.path}: {why(error)}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupLocked(f"another run is writing to {self.path}; try later") from None
            try:
                yield
            finally:
                # A child forked meanwhile has the descriptor too: closing it would not be enough.
                fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            os.close(lock)

    def next_number(self) -> int:
        """The number of the next backup, above that of every folder that looks like one."""
        numbers = map(number_of, self.names())
        # One that no destination gets to is somebody's own; what follows it would be no id.
        return max((number for number in numbers if number < _NUMBER_LIMIT), default=0) + 1

    def clear_leftovers(self, jobs: Iterable[BackupJob]) -> None:
        """Remove what died runs left behind; only for the one writer.

        What a backup needs is no leftover, even if it lost its metadata: the bytes are there still.

        Args:
            jobs: the completed backups.

        Raises:
            BackupRefused: one can't be removed, or may not even be looked at; names it.
        """
        needed: set[str] = set()
        for job in jobs:
            try:
                needed.update(self.needed(job))
            except BackupError as error:
                _log().warning("leftovers in %s are left alone: %s", self.path, error)
                return
        for name in self.names():
            if name in needed:
                continue
            folder = self.path / name
            try:
                (folder / METADATA).lstat()
            except FileNotFoundError:
                self._clear(folder)
            except OSError as error:  # it may well be a backup
                raise BackupRefused(
                    f"can't write to {self.path}: {folder} can't be looked into: {error.strerror}"
                ) from error

    def discard(self, job_id: str) -> None:
        """Remove a backup or what there is of it; only for the one writer.

        Files that are no part of a backup are left alone, and their folder with them.
        """
        folder = self.path / checked_id(job_id)
        try:
            self._remove(folder)
        except OSError as error:
            self._log_leftover(folder, error)

    def remove(self, job_id: str) -> None:
        """Remove a backup, or the leftover of one; only for the one writer.

        Once its metadata is gone it is no backup any more, and that is on the disk before anything
        else goes: not even a power cut brings back a backup whose bytes, or bases, are gone.

        Raises:
            BackupRefused: the id is none.
            OSError: something can't be removed; files that are no part of a backup are left alone,
                and their folder with them.
        """
        folder = self.path / checked_id(job_id)
        (folder / METADATA).unlink(missing_ok=True)
        sync_folder(folder)
        self._remove(folder)

    def _clear(self, folder: Path) -> None:
        try:
            self._remove(folder)
        except OSError as error:
            if error.errno not in _IN_USE:
                raise BackupRefused(
                    f"can't write to {self.path}: the leftover {folder} of a run that died can't "
                    f"be removed: {error.strerror}"
                ) from error
            self._log_leftover(folder, error)

    def _remove(self, folder: Path) -> None:
        # The metadata first: without it, what remains is no backup at any moment.
        for name in (METADATA, _PART, VERIFIED, _VERIFIED_PART, MANIFEST, TAR):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()

    def drop_contents(self, job_id: str) -> None:
        """Remove the tar and the manifest of a backup that is not published yet."""
        for name in (MANIFEST, TAR):
            (self.path / checked_id(job_id) / name).unlink()

    def needed(self, job: BackupJob) -> list[str]:
        """The ids of the other backups without which this one can't be restored, in order.

        Raises:
            BackupError: the backup whose manifest it shares is damaged or gone.
        """
        if job.manifest_id is None:
            return list(job.bases)
        owner = self.load(job.manifest_id)
        return [*owner.bases, owner.id]

    def note_verified(self, job: BackupJob, moment: datetime | None) -> None:
        """Keep when all of a backup was found intact; None where it was found damaged.

        Kept beside the backup, where that can be written to.
        """
        path, part = job.path / VERIFIED, job.path / _VERIFIED_PART
        job.verified_at = moment
        if moment is None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # retention may rely on it
                _log().warning(
                    "that backup %s is damaged can't be kept, %s says it was found intact: %s",
                    job.id,
                    path,
                    error.strerror,
                )
            return
        try:
            values = {"at": moment.isoformat(), "manifest_sha256": job.manifest_sha256}
            with part.open("wb") as file:
                file.write(_document(values))
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            _log().info("that backup %s was verified can't be kept: %s", job.id, error.strerror)

    def verified_at(self, job: BackupJob) -> datetime | None:
        """When all of a backup was found intact; None where it never was.

        Raises:
            BackupError: that can't be told.
        """
        path = job.path / VERIFIED
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                values = _checked_document(file.read(_METADATA_LIMIT), path)
            if values["manifest_sha256"] == job.manifest_sha256:
                return datetime.fromisoformat(values["at"]).astimezone(UTC)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise BackupError(f"{path} can't be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError):
            raise BackupDamaged(f"{path} holds no moment", damaged=[VERIFIED]) from None
        return None

    def _log_leftover(self, folder: Path, error: OSError) -> None:
        _log().warning("the leftover %s can't be removed: %s", folder, error.strerror)

    def publish(self, job: BackupJob) -> None:
        """Make a backup whose tar and manifest are on the disk a completed one, in one step.

        Raises:
            BackupError: its metadata are more than any reader takes.
        """
        document = _document(job.to_metadata())
        if len(document) > _METADATA_LIMIT:
            raise BackupError(f"the metadata of backup {job.id} are above {_METADATA_LIMIT} bytes")
        part = job.path / _PART
        with part.open("xb") as file:
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        part.rename(job.path / METADATA)
        sync_folder(job.path)
        sync_folder(self.path)

    def names(self) -> list[str]:
        """The names of all folders that look like backups, be they readable or none at all.

        Raises:
            BackupRefused: there is no such folder, or it can't be read.
        """
        try:
            with os.scandir(self.path) as found:
                return [
                    item.name
                    for item in found
                    if is_id(item.name) and item.is_dir(follow_symlinks=False)
                ]
        except FileNotFoundError:
            raise BackupRefused(f"there is no folder {self.path} to hold backups") from None
        except OSError as error:
            raise BackupRefused(f"can't read {self.path}: {error.strerror}") from error


def _document(job: Any) -> bytes:
    body = {"format": FORMAT, "job": job, "sha256": _hash_of(job)}
    return json.dumps(body, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _hash_of(job: Any) -> str:
    return sha256(json.dumps(job, sort_keys=True).encode("ascii")).hexdigest()


def _checked_document(data: bytes, path: Path) -> dict[str, Any]:
    try:
        body = json.loads(data)
        job = body["job"]
        # Comparing all bytes catches what a parser would forgive.
        if body["format"] == FORMAT and isinstance(job, dict) and data == _document(job):
            return job
        other = body["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        other = None
    if isinstance(other, str) and other != FORMAT and _ANY_FORMAT.fullmatch(other):
        raise BackupRefused(f"{path} is of format {other!r}; this version reads {FORMAT!r}")
    raise BackupDamaged(f"{path} is damaged: it is not what was written", damaged=[METADATA])


def _log() -> logging.Logger:
    import logging  # milliseconds that a backup with nothing to tell need not spend

    return logging.getLogger("pytest_drdrill.backup")
