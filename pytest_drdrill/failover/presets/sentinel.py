"""Redis Sentinel: pings that stay unanswered, a quorum that agrees, a leader that promotes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.failover import settings
from pytest_drdrill.failover.presets.base import Fault, Preset, Span

TICK_LEAST, TICK_MOST = timedelta(milliseconds=52), timedelta(milliseconds=100)
"""How often a Sentinel acts: at a rate of 10 to 19 Hz, drawn anew each time."""
INFO_PERIOD = timedelta(seconds=1)
"""How often it asks replicas who they are, while their master is down."""
DESYNC = timedelta(seconds=1)
"""By how much at most the beginning of a failover is taken to be later than it was."""
STEPS = 3
"""Ticks from the agreement to the promotion: elected, replica selected, told to be the master."""
_LONGEST_PING = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class SentinelPreset(Preset):
    """Redis Sentinel, which promotes a replica when a quorum agrees that the master is down.

    The master is a Redis whose Sentinels reach it and each other; a majority of them votes.

    Attributes:
        down_after_milliseconds: without a valid answer to a ping until a Sentinel takes the master
            to be down.
        quorum: Sentinels that must agree.
        sentinels: how many there are.
        failover_timeout: milliseconds of the setting ``failover-timeout``; an election without a
            winner is followed by the next one after twice that time.

    Both times are whole milliseconds, as in the configuration file, or durations.

    Source: Redis documentation, High availability with Redis Sentinel, and ``src/sentinel.c``.

    Raises:
        TypeError: an argument of another type.
        ValueError: a number below one, or a quorum that can't be reached.
    """

    tool: ClassVar[str] = "Redis Sentinel 7.4"
    failover: ClassVar[str] = "+promoted-slave"
    formula: ClassVar[str] = (
        "With ticks of 52 … 100ms and p = min(1s, down-after-milliseconds), the next ping is sent "
        "after 0 … p + 100ms if silent or hung; if refused the link breaks, and the next tick "
        "counts. +odown: down-after-milliseconds later, at the next tick, and with a quorum above "
        "1 one tick more, in which the others are asked. +promoted-slave: 3 ticks later the "
        "replica is told, and an INFO shows that it is the master, 0 … 1s + 100ms later. With the "
        "first vote lost the next one comes 2 x failover-timeout + 0 … 1s after the +odown, at the "
        "next tick."
    )
    source: ClassVar[str] = (
        "Redis after 7.4 (development branch of October 2024), sentinel.conf (sentinel monitor, "
        "down-after-milliseconds, failover-timeout) and src/sentinel.c (sentinelTimer, "
        "sentinelSendPeriodicCommands, sentinelCheckSubjectivelyDown, "
        "sentinelStartFailoverIfNeeded, sentinelFailoverStateMachine)"
    )
    differs: ClassVar[str] = "is a quorum of watchers"

    down_after_milliseconds: int = 30_000
    quorum: int = 2
    sentinels: int = 3
    failover_timeout: int = 180_000

    if TYPE_CHECKING:

        def __init__(
            self,
            down_after_milliseconds: int | str | timedelta = 30_000,
            quorum: int = 2,
            sentinels: int = 3,
            failover_timeout: int | str | timedelta = 180_000,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("down_after_milliseconds", "failover_timeout"):
            value = getattr(self, name)
            if isinstance(value, str | timedelta):
                value = settings.duration(name, value) // _MILLISECOND
                object.__setattr__(self, name, value)
            settings.threshold(name, value, of="milliseconds")
        settings.threshold("quorum", self.quorum, of="Sentinels")
        settings.threshold("sentinels", self.sentinels, of="Sentinels")
        if self.quorum > self.sentinels:
            raise ValueError(
                f"quorum of {self.quorum} can't be reached by {self.sentinels} sentinels: "
                "nothing would ever be promoted"
            )

    @property
    def down_after(self) -> timedelta:
        """Without an answer until a Sentinel takes the master to be down."""
        return self.down_after_milliseconds * _MILLISECOND

    @property
    def retry_after(self) -> timedelta:
        """From the beginning of a failover that came to nothing to that of the next one."""
        return 2 * self.failover_timeout * _MILLISECOND

    @property
    def ping_period(self) -> timedelta:
        """How often the master is pinged, but for ticks."""
        return min(_LONGEST_PING, self.down_after)

    def _milestones(self, fault: Fault) -> dict[str, Span]:
        unanswered = TICK_MOST if fault == "refused" else self.ping_period + TICK_MOST
        asked = self.quorum > 1
        down = Span(
            self.down_after + asked * TICK_LEAST,
            unanswered + self.down_after + TICK_MOST + asked * TICK_MOST,
        )
        promotion = Span(STEPS * TICK_LEAST, STEPS * TICK_MOST + INFO_PERIOD + TICK_MOST)
        again = Span(self.retry_after, self.retry_after + DESYNC + TICK_MOST)
        return {
            "+odown": down,
            "+promoted-slave": _after(down, promotion),
            "+promoted-slave, first vote lost": _after(down, again, promotion),
        }


def _after(*spans: Span) -> Span:
    zero = timedelta(0)
    return Span(
        sum((each.shortest for each in spans), zero), sum((each.longest for each in spans), zero)
    )
