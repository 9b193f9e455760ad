"""One outage: a disaster and the recovery from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_duration, format_seconds
from pytest_drdrill.measure.verdicts import NotRecovered, RTOExceeded

if TYPE_CHECKING:
    from pytest_drdrill.measure.timeline import Moment


@dataclass(slots=True)
class Outage:
    """One disaster and the recovery from it.

    Attributes:
        name: as given, or ``""``.
        disaster: when it struck; the clock starts here, not at detection.
        target: its own objective, as of a failback, or None for the drill's.
        expect_downtime: whether a watched check has to fail after the disaster.
        detected_at: monotonic seconds at which something noticed, or None.
        recovered_at: monotonic seconds at which the success run that held began, or None.
        resolution: seconds between the last failed look and the first good one, or None.
        held: seconds for which the recovery was watched to hold, or None.
        down_seen: whether a watched check failed; None when nothing watched.
        watches: how many watches were begun.
        watching: how many of them have not ended.
        gave_up: how many had been begun when one lost patience; 0 where none did, or one that was
            begun after that held.
        real_work: what was done in it that takes real time while the clock is virtual, or ``""``.
    """

    name: str
    disaster: Moment
    target: timedelta | None = None
    expect_downtime: bool = True
    detected_at: float | None = None
    recovered_at: float | None = None
    resolution: float | None = None
    held: float | None = None
    down_seen: bool | None = None
    watches: int = field(default=0, repr=False)
    watching: int = field(default=0, repr=False)
    gave_up: int = field(default=0, repr=False)
    real_work: str = field(default="", repr=False)

    @property
    def actual(self) -> timedelta | None:
        """The measured outage, without assumed time; None while it was not recovered.

        Every watch that was begun has a say: while one has not ended, or gave up and none that
        began later held, nobody has seen all of the service usable.
        """
        if self.recovered_at is None or self.watching or self.gave_up:
            return None
        return timedelta(seconds=max(0.0, self.recovered_at - self.disaster.at))


class Recovery(NamedTuple):
    """The success run that counts, as one who watched saw it.

    Attributes:
        began: monotonic seconds of its first good look.
        resolution: seconds from the begin of the last bad look (else the disaster) to ``began``:
            the service came back somewhere in there.
        held: seconds that the run was seen to last.
    """

    began: float
    resolution: float | None
    held: float


def not_recovered(
    elapsed: timedelta, assumed: timedelta, target: timedelta | None, last: str
) -> RTOExceeded | NotRecovered:
    """The verdict on an outage that did not end while somebody watched.

    Args:
        elapsed: since the disaster.
        assumed: what people would need on top of that.
        target: the recovery time objective, or None.
        last: what the last look raised, as the end of the sentence, or ``""``.
    """
    since = f"not recovered {format_seconds(elapsed.total_seconds())} after the disaster, "
    if target is not None and elapsed + assumed >= target:
        return RTOExceeded(f"{since}past the RTO of {format_duration(target)}{last}", target=target)
    return NotRecovered(f"{since}when its timeout ended{last}", target=target)
