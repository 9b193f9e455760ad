"""The checksum that lies beside a dump."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".sha256"
_SUM = re.compile(r"\\?([0-9a-fA-F]{64})(?:\s+[ *]?(.*))?")


def mismatch(dump: Path) -> str | None:
    """How a dump differs from ``<dump>.sha256``; None where it does not, or there is no such file.

    The file is as ``sha256sum`` writes it, or the sum alone; one with several lines has one for
    this dump. A folder has none.
    """
    path = dump.with_name(dump.name + SUFFIX)
    if dump.is_dir() or not path.is_file():
        return None
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        return f"{path.name} can't be read: {error}"
    sums = [found for line in lines if (found := _SUM.fullmatch(line.strip()))]
    named = [each for each in sums if (each[2] or "").rpartition("/")[2] == dump.name]
    if not named and len(sums) != 1:
        return f"{path.name} has no SHA-256 sum for it"
    with dump.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual == (named or sums)[0][1].lower():
        return None
    return f"its SHA-256 sum is not the one in {path.name}: it was changed, or cut, since"
