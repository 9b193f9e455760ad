"""The journal of a restore: a file beside its target that says what a run has laid there.

Each line is on the disk before what it tells of is begun, so a run that dies leaves nothing that
the next one does not know by name. The journal is also the lock: the kernel's, which dies with the
process that holds it. So what a journal names whose lock can be had is a leftover, and nothing else
is, however much it may look like one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pytest_drdrill.backup.errors import BackupLocked, RestoreTargetError
from pytest_drdrill.backup.paths import sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = b"drdrill-restore/1\n"
_NAME = 100
_NEW = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
_OLD = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK  # else a FIFO could stall it
_ATTEMPTS = 20
_BLOCK = 1 << 20


class Journal:
    """What a run has laid beside its target, and the right to touch it.

    Attributes:
        target: the folder that is restored to.
        path: where the journal is.
        stage: the folder in which the tree is written, or what an exchange put in its place.
        aside: where the old goes, if there is a moment at which it is nowhere else.
        units: the paths that are moved one by one, in order; None where all of the target is.
    """

    def __init__(self, target: Path, path: Path, fd: int) -> None:
        self.target = target
        self.path = path
        self.stage: Path | None = None
        self.aside: Path | None = None
        self.units: list[str] | None = None
        self._fd = fd
        self._read()

    @classmethod
    def claim(cls, target: Path) -> Journal:
        """Open the journal of a target, or make it, and be the one that restores to it.

        Raises:
            BackupLocked: another run is restoring to it.
            RestoreTargetError: what has the name of the journal is something else.
            OSError: it can't be made.
        """
        path = target.parent / f".{_short(target)}.restore-{_hash(target)}"
        for _ in range(_ATTEMPTS):
            fd = _open(path, target)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, fd):  # else the run that had it has just removed it
                    return cls(target, path, fd)
            except BlockingIOError:
                os.close(fd)
                break
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise BackupLocked(f"another run is restoring to {target}; try later")

    def make_stage(self) -> Path:
        """Make the folder in which the tree is written, beside the target.

        Raises:
            OSError: it can't be made, or the journal not be written.
        """
        stage = self._beside("restoring")
        os.ftruncate(self._fd, 0)  # a power cut may have left what is no line
        self._append({"stage": stage.name}, _HEAD)
        with contextlib.suppress(PermissionError):  # a folder may be written to, and not read
            sync_folder(self.target.parent)
        self.stage = stage
        stage.mkdir(0o700)
        return stage

    def set_aside(self, units: Sequence[str] | None = None) -> Path:
        """Say where the old goes before it does. Nothing is there yet.

        Args:
            units: the paths that are moved one by one; None where all of the target is.

        Raises:
            OSError: the journal can't be written.
        """
        # Beside it, not below: to move a folder into another one takes the right to write to it.
        aside = self._beside("replaced")
        self._append({"aside": aside.name, "units": None if units is None else list(units)})
        self.aside, self.units = aside, None if units is None else list(units)
        return aside

    def give_up_aside(self) -> None:
        """Say that what was put aside stays where it is, and is nobody's leftover.

        Raises:
            OSError: the journal can't be written.
        """
        self._append({"aside": None})
        self.aside = self.units = None

    def clear(self) -> None:
        """Forget what was laid there, all of which is settled.

        Raises:
            OSError: the journal can't be written.
        """
        os.ftruncate(self._fd, 0)
        self.stage = self.aside = self.units = None

    def remove(self) -> None:
        """Remove the journal, once all is settled.

        Raises:
            OSError: it can't be removed.
        """
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others restore to the target."""
        # A child forked meanwhile has the descriptor too: closing it would not be enough.
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)

    def _beside(self, purpose: str) -> Path:
        name = f".{_short(self.target)}.{purpose}-{secrets.token_hex(8)}"
        return self.target.parent / name

    def _append(self, record: dict[str, Any], before: bytes = b"") -> None:
        data = before + json.dumps(record).encode("ascii") + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)

    def _read(self) -> None:
        """Take in what a run that died had written, up to where a line is not whole."""
        data = b""
        while block := os.pread(self._fd, _BLOCK, len(data)):
            data += block
        written = data.rstrip(b"\0")  # a power cut may leave a file longer than what was written
        if not written.startswith(_HEAD):
            if not _HEAD.startswith(written):
                raise _in_the_way(self.path, self.target)
            return
        for line in written.removeprefix(_HEAD).splitlines(keepends=True):
            try:
                self._take(json.loads(line), is_whole=line.endswith(b"\n"))
            except (ValueError, TypeError, KeyError, AttributeError):
                return  # it was not on the disk, so what it tells of was not begun

    def _take(self, record: dict[str, Any], *, is_whole: bool) -> None:
        if not is_whole:
            raise ValueError("cut off")
        if "stage" in record:
            self.stage = self._named(record["stage"], "restoring")
            return
        if record["aside"] is None:
            self.aside = self.units = None
            return
        aside, units = self._named(record["aside"], "replaced"), record["units"]
        if units is not None and not all(map(_is_inside, units)):
            raise ValueError("a path that leads elsewhere")
        self.aside, self.units = aside, units

    def _named(self, name: str, purpose: str) -> Path:
        if not re.fullmatch(
            rf"\.{re.escape(_short(self.target))}\.{purpose}-[0-9a-f]{{16}}", name, re.DOTALL
        ):
            raise ValueError("a name that no run gives")
        return self.target.parent / name


def _short(target: Path) -> str:
    """As much of the target's name as leaves room; file systems count bytes, not characters."""
    return os.fsencode(target.name)[:_NAME].decode(errors="ignore")


def _hash(target: Path) -> str:
    return sha256(os.fsencode(target.name)).hexdigest()[:12]


def _open(path: Path, target: Path) -> int:
    try:
        return os.open(path, _NEW, 0o600)
    except FileExistsError:
        pass
    try:
        fd = os.open(path, _OLD)
    except FileNotFoundError:  # it was removed meanwhile
        return os.open(path, _NEW, 0o600)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES}:
            raise _in_the_way(path, target) from None
        raise
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return fd
    os.close(fd)
    raise _in_the_way(path, target)


def _in_the_way(path: Path, target: Path) -> RestoreTargetError:
    return RestoreTargetError(
        f"can't restore to {target}: {path} is no journal that a restore of this user left; "
        "look at what it is, and move it away"
    )


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return str(pure) == path != "." and not pure.is_absolute() and ".." not in pure.parts
