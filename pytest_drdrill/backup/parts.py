"""What a backup needs and is there: its manifest, its tars by their sizes, the chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import BackupDamaged, BackupError
from pytest_drdrill.backup.job import MANIFEST
from pytest_drdrill.backup.manifest import check_manifest
from pytest_drdrill.backup.regular import size_of
from pytest_drdrill.backup.store import METADATA, TAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.store import Store


@dataclass(slots=True, eq=False, repr=False)
class Damage:
    """What was found damaged.

    Attributes:
        names: what a reader is told: paths in the backup, or files of it; each with the reason, or
            with nothing where its bytes are other ones.
        tars: backups whose tar can't be read at all.
        cut: backups whose tar is there, and of another size than it had.
        contents: single contents, by the backup that holds them and where.
        manifest: whether the manifest is of no use.
    """

    names: dict[str, str] = field(default_factory=dict)
    tars: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    contents: set[tuple[str, int]] = field(default_factory=set)
    manifest: bool = False

    def __bool__(self) -> bool:
        return bool(self.names)


def check_parts(
    store: Store, job: BackupJob, among: Sequence[BackupJob], *, manifest: bool = True
) -> None:
    """Quick verification, without a look at what else its damage concerns.

    Args:
        store: the destination.
        job: whose backup it is.
        among: the backups of the destination.
        manifest: whether its manifest is looked at, which it need not be where that was just read.

    Raises:
        BackupDamaged: names what is damaged.
    """
    damage = Damage()
    find_damage(store, job, damage, among, manifest=manifest)
    if damage:
        raise BackupDamaged.naming(job, damage.names)


def find_damage(
    store: Store,
    job: BackupJob,
    damage: Damage,
    among: Sequence[BackupJob],
    *,
    manifest: bool = True,
) -> None:
    """Note all that quick verification finds; arguments as of ``check_parts``."""
    try:
        if manifest:
            check_manifest(job)
    except BackupDamaged as error:
        damage.names.update(dict.fromkeys(error.damaged, error.reason))
        damage.manifest = True
    if job.manifest_id is None:
        _check_tar(store, job.id, job.stored_bytes, damage, TAR)
    try:
        needed = store.needed(job)
    except BackupError as error:
        needed = []
        damage.names[f"{job.manifest_id}/{METADATA}"] = str(error)
    for base in needed:
        try:
            size = store.load(base).stored_bytes
        except BackupError as error:
            damage.names[f"{base}/{METADATA}"] = str(error)
            size = None
        _check_tar(store, base, size, damage, f"{base}/{TAR}")
    _check_chain(among, job, damage)


def _check_tar(store: Store, holder: str, size: int | None, damage: Damage, name: str) -> None:
    try:
        found = size_of(store.path / holder / TAR)
    except OSError as error:
        damage.names[name] = error.strerror or str(error)
        damage.tars.add(holder)
        return
    if size is not None and found != size:
        damage.names[name] = f"{found:,} bytes in place of {size:,}"
        damage.cut.add(holder)


def _check_chain(others: Sequence[BackupJob], job: BackupJob, damage: Damage) -> None:
    """A manifest changed together with its hash is betrayed by the backups that built on it."""
    for other in others:
        if other.parent_id == job.id and other.parent_sha256 != job.manifest_sha256:
            damage.names[MANIFEST] = f"it is not the one that {other.id} built on"
            damage.manifest = True
            return
