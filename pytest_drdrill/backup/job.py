"""One backup as people and programs see it: its type, its status, its job."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_drdrill.backup.errors import BackupDamaged, BackupRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST = "manifest.jsonl"
ID = "[0-9]{6,18}-(?:full|incremental|differential)-[0-9]{8}T[0-9]{6}Z"
"""What an id looks like."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMES = ("created_at", "started_at", "completed_at", "recovery_point")
_COUNTS = ("size_bytes", "stored_bytes", "file_count", "entry_count")


class BackupType(StrEnum):
    """What a backup holds: all, the changes since the last backup, or since the last full one."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DIFFERENTIAL = "differential"


class BackupStatus(StrEnum):
    """How far a job came. Only completed jobs count for anything."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(slots=True)
class BackupJob:
    """One backup: what was backed up, when, where to, and how it went.

    All moments are aware datetimes in UTC.

    Attributes:
        id: names the backup in its destination, such as ``000007-full-20260131T230000Z``; it
            begins with the backup's number there.
        backup_type: full, incremental or differential.
        source_path: the folder that was backed up.
        destination_path: the folder that holds the backups.
        created_at: when the job was asked for.
        started_at: when it began to work, the destination being its own.
        completed_at: when all was read and written; None until then, and in a failed job.
        status: pending, running, completed or failed.
        size_bytes: bytes of the files in the backed-up tree, hard-linked ones counted once.
        error_message: why the job failed, or None.
        recovery_point: the moment it *began* reading the source: what was written later may be
            missing.
        warnings: what a reader of the backup should know: files that vanished or kept changing
            while they were read, FIFOs, sockets and devices, which are recorded only, and what was
            skipped as it can't be read; the first thousand, and how many more there were.
        stored_bytes: bytes of this backup's own ``data.tar``; 0 where nothing had changed, and it
            has none.
        file_count: regular files in the tree, every name of a hard-linked one counted.
        entry_count: all entries, the source itself and what is only recorded among them.
        parent_id: the backup that this one was compared with, or None for a self-contained one.
        parent_sha256: that one's ``manifest_sha256`` at the time.
        bases: ids of the earlier backups that hold bytes of this one, the oldest first.
        manifest_id: where nothing had changed, the earlier backup whose manifest says what this one
            holds; None where it has its own.
        manifest_sha256: hash of the manifest, as hexadecimal digits; None until it is written.
        verified_at: when every byte of it was last read and found intact; None if it never was, or
            was found damaged since.
    """

    id: str
    backup_type: BackupType
    source_path: Path
    destination_path: Path
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    status: BackupStatus = BackupStatus.PENDING
    size_bytes: int = 0
    error_message: str | None = None
    recovery_point: datetime | None = None
    warnings: list[str] = field(default_factory=list)
    stored_bytes: int = 0
    file_count: int = 0
    entry_count: int = 0
    parent_id: str | None = None
    parent_sha256: str | None = None
    bases: list[str] = field(default_factory=list)
    manifest_id: str | None = None
    manifest_sha256: str | None = None
    verified_at: datetime | None = None

    @property
    def path(self) -> Path:
        """The folder that holds this backup's ``data.tar``, manifest and metadata.

        Raises:
            BackupRefused: the id is none that this package gives, ``../x`` for instance.
        """
        return self.destination_path / checked_id(self.id)

    @property
    def manifest_path(self) -> Path:
        """The manifest that says what this backup holds, be it its own or an earlier one's.

        Raises:
            BackupRefused: the id is none that this package gives.
        """
        return self.destination_path / checked_id(self.manifest_id or self.id) / MANIFEST

    def to_metadata(self) -> dict[str, Any]:
        """The job as plain JSON values: times in RFC 3339, paths as text, sizes in bytes."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _kept()}
        for name in _TIMES:
            if values[name] is not None:
                values[name] = values[name].isoformat(timespec="microseconds")
        values["source_path"] = str(self.source_path)
        values["warnings"], values["bases"] = list(self.warnings), list(self.bases)
        return values

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], destination: Path) -> BackupJob:
        """Read what ``to_metadata`` wrote.

        Args:
            metadata: the plain values.
            destination: where the backup was found, which becomes its ``destination_path``: a
                folder of backups may be moved as a whole.

        Raises:
            BackupDamaged: a value is missing, unknown, or not of its kind.
        """
        values = dict(metadata)
        try:
            if values.keys() != set(_kept()):
                raise ValueError("its keys are not those of a job")  # noqa: TRY301 - one handler
            for known in (values["id"], *values["bases"]):
                checked_id(known)
            for name in ("parent_id", "manifest_id"):
                if values[name] is not None:
                    checked_id(values[name])
            values["backup_type"] = BackupType(values["backup_type"])
            values["status"] = BackupStatus(values["status"])
            values["source_path"] = _checked_path(values["source_path"])
            values["destination_path"] = destination
            for name in _TIMES:
                if values[name] is not None:
                    values[name] = datetime.fromisoformat(values[name]).astimezone(UTC)
            _check_plain(values)
        except (BackupRefused, TypeError, ValueError, OverflowError) as error:
            raise BackupDamaged(
                f"the metadata of a backup in {destination} can't be read: {error!s:.200}",
                damaged=["metadata.json"],
            ) from None
        return cls(**values)


def _kept() -> list[str]:
    """What of a job its metadata hold: all but where they lie, and what becomes known later."""
    left_out = ("destination_path", "verified_at")
    return [each.name for each in fields(BackupJob) if each.name not in left_out]


def _checked_path(text: Any) -> Path:
    if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
        raise ValueError("source_path is no absolute path")
    os.fsencode(text)  # a surrogate that is no byte of a name: ValueError
    return Path(text)


def _check_plain(values: Mapping[str, Any]) -> None:
    for name in _COUNTS:
        if type(values[name]) is not int or values[name] < 0:
            raise ValueError(f"{name} is {values[name]!r}")
    if values["created_at"] is None:
        raise ValueError("created_at is missing")
    if not isinstance(values["error_message"], str | None):
        raise TypeError("error_message is no text")
    texts = values["warnings"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("warnings are no list of texts")
    for name in ("manifest_sha256", "parent_sha256"):
        digest = values[name]
        if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            raise ValueError(f"{name} is {digest!r}")
    if not isinstance(values["bases"], list):
        raise TypeError("bases are no list of ids")


def recovery_point_of(job: BackupJob) -> datetime:
    """The moment whose state a backup holds: when it began to read."""
    return job.recovery_point or job.created_at


def make_id(number: int, backup_type: BackupType, moment: datetime) -> str:
    """The id of the destination's backup of that number, which sorts by it."""
    return f"{number:06d}-{backup_type}-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def is_id(text: object) -> bool:
    """Whether a text is an id as ``make_id`` gives it."""
    return isinstance(text, str) and re.fullmatch(ID, text) is not None


def checked_id(text: Any) -> str:
    """The id itself, if it is one.

    Raises:
        BackupRefused: it is none; such a text could name a folder outside the destination.
    """
    if not is_id(text):
        raise BackupRefused(f"{str(text)[:80]!r} is no id of a backup")
    return str(text)


def number_of(job_id: str) -> int:
    """The number of a backup in its destination: a later backup has a higher one."""
    return int(job_id.partition("-")[0])
