"""Damage to what files hold: bits that flip, and files that end too early."""

from __future__ import annotations

import os
import random
import stat
from bisect import bisect_right
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

from pytest_drdrill.faults.fault import FlippedBit
from pytest_drdrill.faults.survey import (
    OWNERS,
    Steps,
    refuse_names_elsewhere,
    refuse_owned_by_others,
    survey,
)
from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BITS = 8


def flip_bits(root: Path, count: int, seed: int, tell: Callable[[str], None]) -> list[FlippedBit]:
    """Flip some bits of a file, or of the files in a folder, as a rotting disk does.

    Sizes, modes and the times of the last change stay: nothing but the bytes tells.

    Args:
        root: a folder, or a single file.
        count: how many; no bit is flipped twice.
        seed: the same seed, of the same files, gives the same bits.
        tell: is told how far it got, should it fail half way.
    """
    _refuse_no_number("bits", count, least=1)
    _refuse_no_number("seed", seed, least=0)
    files = _files_of(root)
    sizes = [status.st_size for status in files.values()]
    total = sum(sizes) * _BITS
    if not total:
        raise FaultError(f"{root} holds no byte, so there is no bit to flip")
    if count > total:
        raise FaultError(f"{root} holds {total} bits, of which {count} can't be flipped")
    ends = list(accumulate(sizes))
    paths = list(files)
    places: dict[int, list[FlippedBit]] = {}
    for place in sorted(random.Random(seed).sample(range(total), count)):  # noqa: S311 - repeatable
        byte, bit = divmod(place, _BITS)
        file = bisect_right(ends, byte)
        offset = byte - (ends[file] - sizes[file])
        places.setdefault(file, []).append(FlippedBit(paths[file], offset, bit))
    with Steps("flipped bits in", root, len(places), tell) as steps:
        for file, bits in places.items():
            with _writable(paths[file], files[paths[file]]) as descriptor:
                for _, offset, bit in bits:
                    (byte,) = os.pread(descriptor, 1, offset)
                    os.pwrite(descriptor, bytes([byte ^ 1 << bit]), offset)
            steps.done += 1
    return [bit for bits in places.values() for bit in bits]


def truncate(path: Path, size: int | None, tell: Callable[[str], None]) -> tuple[int, int]:
    """Cut a file short; how long it was, and is.

    Args:
        path: the file.
        size: what is left of it, in bytes; half of it if None.
        tell: is told, should it fail.
    """
    ((file, status),) = _single(path).items()
    before = status.st_size
    left = before // 2 if size is None else size
    _refuse_no_number("size", left, least=0)
    if left >= before:
        raise FaultError(f"{path} has {before} bytes, so there is nothing to cut it to {left} for")
    with Steps("truncated", path, 1, tell):
        mode = stat.S_IMODE(status.st_mode)
        path.chmod(mode | OWNERS)
        os.truncate(file, left)
        path.chmod(mode)
    return before, left


def _single(path: Path) -> dict[Path, os.stat_result]:
    if not path.is_file():
        raise FaultError(f"{path} is no regular file, so it can't be truncated")
    return _files_of(path)


def _files_of(root: Path) -> dict[Path, os.stat_result]:
    found, _ = survey(root)
    files = {path: status for path, status in found.items() if stat.S_ISREG(status.st_mode)}
    refuse_names_elsewhere(files, root)
    refuse_owned_by_others(files)
    # Of two names of one file the first: else what is flipped twice would be as it was.
    unique = {(status.st_dev, status.st_ino): path for path, status in reversed(files.items())}
    return {path: files[path] for path in sorted(unique.values())}


@contextmanager
def _writable(path: Path, status: os.stat_result) -> Iterator[int]:
    """A file opened for reading and writing, whose mode and times are kept."""
    path.chmod(stat.S_IMODE(status.st_mode) | OWNERS)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield descriptor
        except OSError as error:
            error.filename = error.filename or os.fspath(path)
            raise
        finally:
            os.close(descriptor)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        path.chmod(stat.S_IMODE(status.st_mode))


def _refuse_no_number(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise FaultError(f"{name} must be a whole number from {least} on, not {shown(value)}")
