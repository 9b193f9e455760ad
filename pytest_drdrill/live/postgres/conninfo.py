"""Text as PostgreSQL reads it: connection strings and configuration lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = re.compile(r"[\w.,:/@*+-]+", re.ASCII)
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def alone(**parts: str) -> str:
    """A connection string of a scratch server, which nothing in the environment changes.

    libpq takes what a string leaves out from variables such as ``PGHOSTADDR``, which would lead to
    another server, and ``PGPASSWORD``, which comes before a passfile; what is empty it does not.
    """
    if "passfile" in parts:
        parts["password"] = ""
    return conninfo(**parts, hostaddr="", sslmode="disable", options="")


def conninfo(**parts: str) -> str:
    """A connection string of keywords and values, quoted where they have to be."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in parts.items())


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def setting_lines(settings: Mapping[str, object], refused: Mapping[str, str]) -> str:
    """Lines for ``postgresql.conf``.

    Args:
        settings: names and values; True and False are on and off.
        refused: names that are not the caller's to set, and why.

    Raises:
        PostgresError: a name that is none or is refused, or a value that no line can hold.
    """
    lines = []
    for name, value in settings.items():
        if not _SETTING.fullmatch(name):
            raise PostgresError(f"{shown(name)} is no name of a PostgreSQL setting")
        if why := refused.get(name.lower()):
            raise PostgresError(f"the setting {name} of a scratch server is not to be set: {why}")
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        if "\n" in text or "\0" in text:
            raise PostgresError(f"the setting {name} has a line end in its value, {shown(value)}")
        escaped = text.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{escaped}'\n")
    return "".join(lines)
