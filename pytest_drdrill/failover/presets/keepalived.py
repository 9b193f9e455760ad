"""Keepalived: VRRP adverts that stop, and scripts that fail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.failover import settings
from pytest_drdrill.failover.presets.base import Fault, Preset, Span
from pytest_drdrill.failover.presets.polled import NOW

_PRIORITIES = 256
_HIGHEST = 254
_MOST_ADVERTS = 100


@dataclass(frozen=True)
class KeepalivedPreset(Preset):
    """A virtual address that VRRP moves to a backup when the master's adverts stop.

    VRRP watches the host and Keepalived on it, not the service: that the service is dead or hangs
    is noticed by a ``vrrp_script`` alone. One that fails puts the master into FAULT, and its last
    advert, of priority 0, lets the backup take over after the skew time.

    Attributes:
        advert_int: time from an advert of the master to the next one.
        priority: that of the backup, from 1 to 254, of which its skew time is made.
        down_timer_adverts: adverts missed until the master is taken for dead.
        version: of VRRP, 2 or 3; with 2 the skew time is a share of a second, with 3 a share of
            ``advert_int``.
        script_interval: ``interval`` of a ``vrrp_script`` of weight 0, from start to start; None:
            there is no script.
        script_timeout: its ``timeout``; by default its interval.
        script_fall: its ``fall``, failures in a row until the master is in FAULT.

    Source: RFC 3768 and RFC 5798, section 6.1 (Skew_Time, Master_Down_Interval), section 6.4;
    keepalived.conf(5), sections VRRP script(s) and VRRP instance(s).

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a number or a duration out of its range.
    """

    tool: ClassVar[str] = "Keepalived 2.4"
    failover: ClassVar[str] = "MASTER"
    formula: ClassVar[str] = (
        "silent: the backup is MASTER after down_timer_adverts x advert_int + skew since the last "
        "advert, which came 0 … advert_int before the disaster. skew is (256 - priority) / 256 "
        "seconds, or with VRRP version 3 that share of advert_int. refused and hung: only with a "
        "script, else never; FAULT: 0 … interval, then (fall - 1) x interval if refused; hung: "
        "(fall - 1) x d + timeout, with d the first multiple of interval after timeout. MASTER: "
        "skew later."
    )
    source: ClassVar[str] = (
        "Keepalived 2.4.3, keepalived.conf(5), sections VRRP script(s) and VRRP instance(s); "
        "RFC 3768 and RFC 5798, section 6.1; keepalived/include/vrrp.h (VRRP_TIMER_SKEW) and "
        "keepalived/vrrp/vrrp_scheduler.c (vrrp_script_thread)"
    )
    differs: ClassVar[str] = "waits for adverts of its master"

    advert_int: timedelta = timedelta(seconds=1)
    priority: int = 100
    down_timer_adverts: int = 3
    version: int = 2
    script_interval: timedelta | None = None
    script_timeout: timedelta | None = None
    script_fall: int = 1

    if TYPE_CHECKING:

        def __init__(  # noqa: PLR0913, PLR0917 - the tool's own settings
            self,
            advert_int: str | timedelta = "1s",
            priority: int = 100,
            down_timer_adverts: int = 3,
            version: int = 2,
            script_interval: str | timedelta | None = None,
            script_timeout: str | timedelta | None = None,
            script_fall: int = 1,
        ) -> None: ...

    def __post_init__(self) -> None:
        self._parse_durations("advert_int", "script_interval", "script_timeout")
        settings.threshold("priority", self.priority, of="points")
        if self.priority > _HIGHEST:
            raise ValueError(f"priority of a backup is at most {_HIGHEST}, not {self.priority}")
        settings.threshold("down_timer_adverts", self.down_timer_adverts, of="adverts")
        if self.down_timer_adverts > _MOST_ADVERTS:
            raise ValueError(
                f"down_timer_adverts is at most {_MOST_ADVERTS}, not {self.down_timer_adverts}"
            )
        if type(self.version) is not int or self.version not in (2, 3):
            raise ValueError(f"version of VRRP is 2 or 3, not {self.version!r}")
        settings.threshold("script_fall", self.script_fall)
        if self.script_timeout is not None and self.script_interval is None:
            raise ValueError("script_timeout has no meaning without a script_interval")

    @property
    def skew(self) -> timedelta:
        """How long a backup waits more than its betters, so that the best one is first."""
        unit = timedelta(seconds=1) if self.version == 2 else self.advert_int  # noqa: PLR2004 - VRRP's
        return unit * (_PRIORITIES - self.priority) / _PRIORITIES

    @property
    def down_timer(self) -> timedelta:
        """How long after the last advert a backup becomes the master."""
        return self.down_timer_adverts * self.advert_int + self.skew

    def script_takes(self, fault: Fault) -> timedelta:
        """How long the script takes to fail."""
        if fault == "refused" or self.script_interval is None:
            return NOW
        return self.script_timeout or self.script_interval

    def _milestones(self, fault: Fault) -> dict[str, Span]:
        if fault == "silent":
            return {"MASTER": Span(self.down_timer - self.advert_int, self.down_timer)}
        interval = self.script_interval
        if interval is None:
            return {}
        takes = self.script_takes(fault)
        # A script that still runs when it is due again is not started; the next one is on the grid.
        apart = interval * (takes // interval + 1)
        least = (self.script_fall - 1) * apart + takes
        return {
            "FAULT": Span(least, least + interval),
            "MASTER": Span(least + self.skew, least + interval + self.skew),
        }
