"""The newest of some backups, once it is whole on the disk."""

from __future__ import annotations

import glob
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.live.dumps.errors import DumpNotFound, DumpUnfinished
from pytest_drdrill.live.dumps.formats import path_text
from pytest_drdrill.live.dumps.moment import SIDECAR
from pytest_drdrill.live.dumps.sums import SUFFIX
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from datetime import timedelta

_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".incomplete", ".filepart", ".crdownload")
_BESIDE = (SUFFIX, SIDECAR, ".md5", ".sha1", ".sha512", ".asc", ".sig", ".log")
"""What lies beside a backup and is none."""
_DATE = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<sep>[-_.]?)(?P<month>\d\d)(?P=sep)(?P<day>\d\d)"
    r"(?:[T_ .-]?(?P<hour>\d\d)[-_.:h]?(?P<minute>\d\d)(?:[-_.:m]?(?P<second>\d\d))?)?(?!\d)"
)
_WRITING = os.O_WRONLY | os.O_RDWR


def latest_backup(pattern: str | os.PathLike[str], *, watch: str | timedelta = "200ms") -> Path:
    """The newest file or folder that matches a pattern.

    The newest is the one with the latest date in its name (``2026-03-01``, ``20260301``, with a
    time after it or without); of those without one, and of several of one date, the one that was
    changed last. That is for their order alone: no date of a file says from when its data are.

    Args:
        pattern: as ``"/backups/orders-*.dump"``; ``**`` stands for folders of any depth.
        watch: how long it must not change, so that one that is still being written is not taken.

    Raises:
        DumpNotFound: nothing matches.
        DumpUnfinished: the newest is being written, or was left in the middle of it.
        TypeError: the pattern is no text.
        ValueError: ``watch`` is no duration.
    """
    __tracebackhide__ = True
    given = path_text(pattern, "latest_backup() takes a pattern")
    patience = parse_duration(watch)
    text = os.path.expanduser(given)  # noqa: PTH111 - a pattern, not a path
    paths = [Path(found) for found in glob.glob(text, recursive=True)]  # noqa: PTH207 - absolute ones too
    found = [(_age(path), path) for path in paths if path.suffix not in _BESIDE and path.exists()]
    if not found:
        raise DumpNotFound(f"no backup matches {one_line(text)!r}{_why(text)}")
    newest = max(found)[1].absolute()
    _refuse_unfinished(newest, patience)
    return newest


def _age(path: Path) -> tuple[float, float]:
    """Greater for a newer one."""
    changed = path.stat().st_mtime
    return _date_in(path.name, changed), changed


def _date_in(name: str, otherwise: float) -> float:
    for found in _DATE.finditer(name):
        parts = [int(found[part] or 0) for part in ("year", "month", "day")]
        time_of_day = [int(found[part] or 0) for part in ("hour", "minute", "second")]
        try:
            return datetime(*parts, *time_of_day).timestamp()  # type: ignore[arg-type] # noqa: DTZ001 - as its writer's clock showed it
        except (ValueError, OverflowError):
            continue
    return otherwise


def _why(pattern: str) -> str:
    folder = Path(pattern).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return "" if folder.is_dir() else f": there is no folder {one_line(folder)}"


def _refuse_unfinished(path: Path, patience: timedelta) -> None:
    __tracebackhide__ = True
    if path.suffix.lower() in _UNFINISHED:
        raise DumpUnfinished(
            f"the newest backup, {path}, is unfinished by its name: it is being written, or its "
            "writer was stopped"
        )
    before = _picture(path)
    if path.is_dir() and "toc.dat" not in {name for name, *_ in before} and _looks_dumped(before):
        raise DumpUnfinished(
            f"the newest backup, {path}, has no toc.dat yet, which pg_dump writes last: it is "
            "being written, or its writer was stopped"
        )
    time.sleep(patience.total_seconds())
    if _picture(path) != before:
        raise DumpUnfinished(
            f"the newest backup, {path}, is still being written: it changed within "
            f"{format_duration(patience)}"
        )
    if (writer := _writer_of(path)) is not None:
        raise DumpUnfinished(
            f"the newest backup, {path}, is still being written: process {writer} has it open"
        )


def _picture(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a file, or of all files in a folder."""
    files = [path]
    if path.is_dir():
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in sorted(names)]
    found = []
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        found.append((file.name, status.st_size, status.st_mtime_ns))
    return found


def _looks_dumped(picture: list[tuple[str, int, int]]) -> bool:
    return any(re.fullmatch(r"\d+\.dat(\.\w+)?", name) for name, *_ in picture)


def _writer_of(path: Path) -> int | None:
    """A process that has it, or a file in it, open for writing; of those that may be looked at."""
    real = os.path.realpath(path)
    inside = real + os.sep
    for process in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - quick
        if not process.isdigit():
            continue
        try:
            descriptors = os.listdir(f"/proc/{process}/fd")  # noqa: PTH208 - quick
        except OSError:
            continue
        for number in descriptors:
            try:
                target = os.readlink(f"/proc/{process}/fd/{number}")  # noqa: PTH115 - quick
                if target != real and not target.startswith(inside):
                    continue
                if _is_for_writing(f"/proc/{process}/fdinfo/{number}"):
                    return int(process)
            except OSError:
                continue
    return None


def _is_for_writing(path: str) -> bool:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - quick
        for line in file:
            if line.startswith("flags:"):
                return bool(int(line.split()[1], 8) & _WRITING)
    return False
