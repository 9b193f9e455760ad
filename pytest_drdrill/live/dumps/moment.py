"""The moment from which the data of a dump are: its own word, a sidecar's, or that of its rows."""

from __future__ import annotations

import json
import re
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_drdrill.live.dumps.errors import DumpRefused
from pytest_drdrill.text import one_line, shown

if TYPE_CHECKING:
    from datetime import tzinfo
    from pathlib import Path

Basis = Literal["header", "sidecar", "freshness"]
SIDECAR = ".recovery-point"
_STARTED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?: (.+))?")
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):?(\d\d)?")
_UTC = {"UTC", "GMT", "Z", "Etc/UTC", "UCT", "Universal", "Zulu"}


class RecoveryPoint(NamedTuple):
    """From which moment the data are, and who says so."""

    moment: datetime
    basis: Basis


def zone_of(name: str | None) -> tzinfo | None:
    """The zone of the machine that dumped; None, for that of this machine, where none is named.

    Raises:
        TypeError: no text.
        ValueError: no zone that is known here.
    """
    __tracebackhide__ = True
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"dumped_in takes the name of a time zone, not {shown(name)}")
    if name in _UTC:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"dumped_in={shown(name)} is no time zone that this machine knows; write one such as "
            "'Europe/Berlin', or 'UTC'"
        ) from None


def of_archive(began: datetime | None, *, summer: bool, zone: tzinfo | None) -> datetime | None:
    """An archive tells the time of the wall clock where it was made, and no zone.

    Args:
        began: that time.
        summer: whether that was in daylight saving time: it tells which of two equal hours it was.
        zone: of that clock; None for this machine's.
    """
    if began is None:
        return None
    moments = [began.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    if zone is None:
        moments = [moment.astimezone() for moment in (began, began.replace(fold=1))]
        return min(moments) if summer else max(moments) if _is_double(moments) else moments[0]
    fitting = [each for each in moments if bool(each.dst()) == summer]
    return (fitting or moments)[0].astimezone(UTC)


def _is_double(moments: list[datetime]) -> bool:
    first, second = moments
    return second - first == timedelta(hours=1)


def of_started(text: str, zone: tzinfo | None) -> datetime | None:
    """The line ``-- Started on`` of ``pg_dump -v``; None where its zone means nothing for sure.

    It names the zone by its abbreviation, which several places may share: it counts where it is
    UTC, an offset, or one that the zone of the machine that dumped has at that time.
    """
    found = _STARTED.fullmatch(text.strip())
    if found is None:
        return None
    naive = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - its zone follows
    name = found[2] or ""
    if name in _UTC:
        return naive.replace(tzinfo=UTC)
    if offset := _OFFSET.fullmatch(name):
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return naive.replace(tzinfo=timezone(span if offset[1] == "+" else -span))
    for fold in (0, 1):
        local = naive.replace(tzinfo=zone, fold=fold)
        moment = local.astimezone() if zone is None else local
        if moment.tzname() == name:
            return moment.astimezone(UTC)
    return None


def of_sidecar(dump: Path) -> datetime | None:
    """What ``<dump>.recovery-point`` says; None where there is none.

    Raises:
        DumpRefused: it is no moment with a time zone.
    """
    __tracebackhide__ = True
    path = dump.with_name(dump.name + SIDECAR)
    try:
        text = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise DumpRefused(f"{path} can't be read: {error}") from None
    try:
        if text.startswith("{"):
            text = str(json.loads(text)["recovery_point"])
        moment = datetime.fromisoformat(text)
    except (ValueError, KeyError, TypeError):
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise DumpRefused(
            f"{path} holds {one_line(text, 80)!r}, which is no moment with a time zone, such as "
            "2026-03-01T02:00:00Z"
        )
    return moment
