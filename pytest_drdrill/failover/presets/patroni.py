"""Patroni: a leader key that expires, or is given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import settings
from pytest_drdrill.failover.presets.base import Fault, Preset, Span
from pytest_drdrill.failover.presets.polled import NOW

REQUEST_TIMEOUT = timedelta(seconds=2)
"""How long a candidate waits for the answers of the others; no setting of Patroni's."""
_LEAST = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}


@dataclass(frozen=True)
class PatroniPreset(Preset):
    """Patroni, whose leader holds a key with a time to live in a distributed store.

    The store notices at once that a key has expired, and tells the replicas; what etcd, Consul or
    ZooKeeper add to that, and what the promotion of PostgreSQL takes, is not in the prediction.

    Attributes:
        ttl: for which the leader key is held, from its last renewal.
        loop_wait: time from a cycle of the leader, which renews the key, to the next one.
        retry_timeout: for which the store may fail; ``loop_wait + 2 x retry_timeout`` is at most
            the ttl, or Patroni would change them.
        primary_start_timeout: for which the leader tries to start a PostgreSQL that has died,
            before it gives up the key; ``"0s"`` gives it up at once.

    Source: Patroni documentation, Dynamic Configuration Settings, and the FAQ on the difference
    between ``loop_wait``, ``retry_timeout`` and ``ttl``.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a duration below the least, or ones that do not fit each other.
    """

    tool: ClassVar[str] = "Patroni 4.1"
    failover: ClassVar[str] = "new leader"
    faults: ClassVar[tuple[Fault, ...]] = ("refused", "silent")
    formula: ClassVar[str] = (
        "silent: the leader key is gone ttl after its last renewal, which was 0 … loop_wait before "
        "the disaster; new leader: 0 … 2s later, for candidates wait so long for an answer of the "
        "dead one. refused (PostgreSQL dies, and does not come up again): seen at the next cycle, "
        "after 0 … loop_wait; the key is given up as soon as a start fails, or at the first cycle "
        "after primary_start_timeout, and the next leader follows at once."
    )
    source: ClassVar[str] = (
        "Patroni 4.1.4, Dynamic Configuration Settings (ttl, loop_wait, retry_timeout, "
        "primary_start_timeout) and FAQ, section DCS; patroni/ha.py (recover, post_recover, "
        "handle_starting_instance, fetch_node_status)"
    )
    differs: ClassVar[str] = "holds a lease"

    ttl: timedelta = timedelta(seconds=30)
    loop_wait: timedelta = timedelta(seconds=10)
    retry_timeout: timedelta = timedelta(seconds=10)
    primary_start_timeout: timedelta = timedelta(seconds=300)

    if TYPE_CHECKING:

        def __init__(
            self,
            ttl: str | timedelta = "30s",
            loop_wait: str | timedelta = "10s",
            retry_timeout: str | timedelta = "10s",
            primary_start_timeout: str | timedelta = "5m",
        ) -> None: ...

    def __post_init__(self) -> None:
        self._parse_durations(*_LEAST)
        start = settings.duration("primary_start_timeout", self.primary_start_timeout, zero=True)
        object.__setattr__(self, "primary_start_timeout", start)
        for name, least in _LEAST.items():
            value: timedelta = getattr(self, name)
            if value < timedelta(seconds=least):
                raise ValueError(
                    f"{name} must be at least {least}s, not {format_duration(value)}: Patroni "
                    "would raise it"
                )
        needed = self.loop_wait + 2 * self.retry_timeout
        if needed > self.ttl:
            raise ValueError(
                f"loop_wait + 2 x retry_timeout is {format_duration(needed)}, which is above the "
                f"ttl of {format_duration(self.ttl)}: Patroni would lower them"
            )

    @property
    def longest_start(self) -> timedelta:
        """From the cycle that starts PostgreSQL to the one that gives it up."""
        return -(-self.primary_start_timeout // self.loop_wait) * self.loop_wait

    def _milestones(self, fault: Fault) -> dict[str, Span]:
        if fault == "silent":
            gone = Span(self.ttl - self.loop_wait, self.ttl)
            led = Span(gone.shortest, gone.longest + REQUEST_TIMEOUT)
            return {"leader key gone": gone, "new leader": led}
        gone = Span(NOW, self.loop_wait + self.longest_start)
        return {"leader key gone": gone, "new leader": gone}
