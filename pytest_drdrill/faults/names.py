"""What people write and read: sizes, and the names of what a drill makes."""

from __future__ import annotations

import re
import secrets

from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import shown

_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_SIZE = re.compile(rf"(\d{{1,18}}) ?({'|'.join(_UNITS)})", re.ASCII)
_THOUSAND = 1024


def new_name(kind: str) -> str:
    """A name that nothing bears yet, of something that the drill makes."""
    return f"drdrill-{kind}-{secrets.token_hex(4)}"


def parse_size(name: str, value: object) -> int:
    """A number of bytes, or a text as ``"64MiB"``.

    Args:
        name: of the parameter, for the message.
        value: what was given.

    Raises:
        FaultError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(found[1]) * _UNITS[found[2]]
    raise FaultError(
        f"{name} must be a number of bytes, or a text as '64MiB' ({', '.join(_UNITS)}), "
        f"not {shown(value)}"
    )


def format_size(size: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB"):
        if size < _THOUSAND:
            return f"{size:.4g} {unit}"
        size /= _THOUSAND
    return f"{size:.4g} GiB"
