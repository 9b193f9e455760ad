"""The record as files: which formats there are, and how one is written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.report.safe import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.evidence.types import EvidenceRecord

_PATH_SHOWN = 300
_SURROGATE = "[\ud800-\udfff]"


class ReportError(Exception):
    """A report that can't be written, said in one sentence."""


class ReportFormatError(ReportError, ValueError):
    """A report path whose suffix names no known format."""


class ReportWriteError(ReportError, OSError):
    """A report path that can't be written."""


def dumps(record: EvidenceRecord) -> str:
    r"""The record as JSON with a line end; each drill and each row is one line of it.

    Lone surrogates, which UTF-8 can't hold, are written as the text ``\udc80``.

    Raises:
        ValueError: a number of the record is not finite, which JSON can't hold.
    """
    members = (f"  {_encode(key)}: {_member(value)}" for key, value in record.items())
    text = "{\n" + ",\n".join(members) + "\n}\n"
    if text.isascii():  # as nearly always: to look through all of it costs 4 us a drill
        return text
    # In JSON text a surrogate stands inside a string; so do the backslash and its own escape.
    return re.sub(_SURROGATE, lambda match: f"\\\\u{ord(match.group()):04x}", text)


def _member(value: object) -> str:
    if not isinstance(value, list) or not value:
        return _encode(value)
    return "[\n" + ",\n".join(f"    {_encode(item)}" for item in value) + "\n  ]"


# With an indentation the encoder would be Python's own instead of C's, four times as slow.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False).encode


def _markdown(record: EvidenceRecord) -> str:
    from pytest_drdrill.report.markdown import render  # where it is asked for

    return render(record)


FORMATS: dict[str, Callable[[EvidenceRecord], str]] = {
    ".json": dumps,
    ".md": _markdown,
}
"""What renders a report, by the suffix of its path."""


def render(record: EvidenceRecord, path: str | Path) -> str:
    """The record in the format that a path's suffix names.

    Raises:
        ReportFormatError: the suffix names no known format.
    """
    return _format(Path(path))(record)


def check_target(path: str | Path) -> None:
    """Find out before the first drill whether a report can be written; parent folders are made.

    Raises:
        ReportFormatError: the suffix names no known format.
        ReportWriteError: the path is a folder or no regular file, or its folder can't be made or
            written.
    """
    _format(Path(path))
    try:
        real = _real(path)
        _check_kind(real)
        real.parent.mkdir(parents=True, exist_ok=True)
        # What permissions say and what a file system takes differ (root, read-only mounts): try.
        trial, descriptor = _create_beside(real)
        os.close(descriptor)
        trial.unlink()
    except (OSError, ValueError) as error:
        raise ReportWriteError(f"can't write the DR report {_shown(path)}: {_why(error)}") from None


def write(path: str | Path, text: str) -> None:
    """Write a report whole or not at all; parent folders are made.

    The text goes to a temporary file in the same folder, is synced, and takes the place of an older
    report, whose permissions it keeps. When that fails, the older report is as it was and no
    temporary file is left.

    Raises:
        ReportWriteError: it could not be written.
    """
    try:
        real = _real(path)
        _check_kind(real)
        real.parent.mkdir(parents=True, exist_ok=True)
        _write_beside(real, text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        kept = "; the older report there is unchanged" if _is_file(path) else ""
        raise ReportWriteError(
            f"can't write the DR report {_shown(path)}: {_why(error)}{kept}"
        ) from None


def _write_beside(real: Path, data: bytes) -> None:
    temporary, descriptor = _create_beside(real)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(descriptor, stat.S_IMODE(real.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(real)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The report is in place; that its name outlives a power cut is more than some file systems do.
    with contextlib.suppress(OSError):
        folder = os.open(real.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _create_beside(real: Path) -> tuple[Path, int]:
    temporary = real.parent / f".drdrill-{os.getpid()}-{os.urandom(6).hex()}.tmp"
    return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _format(path: Path) -> Callable[[EvidenceRecord], str]:
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(FORMATS)
        raise ReportFormatError(
            f"the DR report {_shown(path)} names no known format by its suffix; known are {known}"
        )
    return found


def _real(path: str | Path) -> Path:
    # A link is written through, as any program does; replacing its name would cut it off.
    return Path(os.path.realpath(path))


def _check_kind(real: Path) -> None:
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise ValueError("it is a folder")
    if not stat.S_ISREG(mode):
        raise ValueError("it is no regular file")


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _why(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    text = reason or str(error)
    return text[:1].lower() + text[1:]


def _shown(path: str | Path) -> str:
    return visible(str(path), _PATH_SHOWN)
