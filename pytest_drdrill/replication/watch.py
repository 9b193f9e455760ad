"""Heartbeats between every two regions, and the lag of every secondary, with their alerts."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.replication.events import ReplicationAlert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_drdrill.replication.leadership import Leadership, Parts
    from pytest_drdrill.replication.tasks import Tasks


_TRIES = 3
"""Heartbeats that go unanswered, one after the other, before a connection counts as lost."""


class Watch:
    """Knows which regions reach each other, and tells who asked when that or the lag changes.

    Args:
        names: of all regions.
        parts: what it shares with everybody else.
        leadership: gives the current one.
        alert: told of each alert.
    """

    def __init__(
        self,
        names: Sequence[str],
        parts: Parts,
        leadership: Callable[[], Leadership],
        alert: Callable[[ReplicationAlert], None],
    ) -> None:
        self._pairs = tuple(combinations(names, 2))
        self._parts = parts
        self._leadership = leadership
        self._alert = alert
        self._answered: dict[tuple[str, str], float] = {}
        self._lost: set[tuple[str, str]] = set()
        self._lagging: set[str] = set()

    def start(self, tasks: Tasks) -> None:
        """Watch from now on, in the background."""
        now = self._parts.clock.monotonic()
        self._lost.clear()
        self._lagging.clear()
        for pair in self._pairs:
            self._answered[pair] = now
            tasks.start(self._beat_forever(pair), f"heartbeats of {' and '.join(pair)}")

    def is_connected(self, one: str, other: str) -> bool:
        """Whether heartbeats between two regions are answered."""
        return (one, other) not in self._lost and (other, one) not in self._lost

    async def _beat_forever(self, pair: tuple[str, str]) -> None:
        settings, clock = self._parts.settings, self._parts.clock
        # One that is lost without a sign must leave time for others before the connection is.
        patience = min(settings.lost_after, max(settings.heartbeat, settings.lost_after / _TRIES))
        due = clock.monotonic()
        while True:
            try:
                async with clock.timeout(patience):
                    await self._beat(pair)
            except (TimeoutError, ConnectionError):
                self._missed(pair)
            else:
                self._heard(pair)
            self._judge_lag(pair)
            now = clock.monotonic()
            due = max(due + settings.heartbeat, now)
            await clock.sleep(due - now)

    async def _beat(self, pair: tuple[str, str]) -> None:
        leadership = self._leadership()
        for one, other in (pair, pair[::-1]):
            if one == leadership.primary.name and other in leadership.shippers:
                await leadership.shippers[other].heartbeat()
                return
        one, other = pair
        await self._parts.network.carry(one, other)
        await self._parts.network.carry(other, one)

    def _heard(self, pair: tuple[str, str]) -> None:
        self._answered[pair] = self._parts.clock.monotonic()
        if pair in self._lost:
            self._lost.discard(pair)
            self._parts.record("connection_restored", pair[0], other=pair[1])

    def _missed(self, pair: tuple[str, str]) -> None:
        silent = self._parts.clock.monotonic() - self._answered[pair]
        if pair in self._lost or silent < self._parts.settings.lost_after:
            return
        self._lost.add(pair)
        why = f"no heartbeat was answered for {format_seconds(silent)}"
        self._parts.record("connection_lost", pair[0], other=pair[1], reason=why)
        text = f"{pair[0]} and {pair[1]} do not reach each other: {why}"
        self._alert(ReplicationAlert("connection_lost", *pair, text))

    def _judge_lag(self, pair: tuple[str, str]) -> None:
        most, leadership = self._parts.settings.max_lag, self._leadership()
        primary = leadership.primary.name
        name = pair[0] if pair[1] == primary else pair[1]
        if most is None or primary not in pair or name not in leadership.shippers:
            return
        lag = leadership.lag(name, connected=self.is_connected(*pair)).time.total_seconds()
        if lag <= most:
            if name in self._lagging:
                self._lagging.discard(name)
                self._parts.record("lag_recovered", name, other=primary)
        elif name not in self._lagging:
            self._lagging.add(name)
            why = f"{format_seconds(lag)} behind, {format_seconds(most)} are allowed"
            self._parts.record("lag_exceeded", name, other=primary, reason=why)
            text = f"{name} is {why.replace(', ', f' {primary}, ')}"
            self._alert(ReplicationAlert("lag_exceeded", name, primary, text))
