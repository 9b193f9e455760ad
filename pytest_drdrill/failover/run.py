"""One run of the monitoring: what lives from a start to its stop, in one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.failover.crew import Crew
from pytest_drdrill.failover.errors import FailoverError, MonitoringFailed, NotMonitoringError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.announcer import Announcer
    from pytest_drdrill.failover.prober import Prober


class Conductor(Protocol):
    """Who decides what the health of endpoints means for the traffic."""

    def begin(self) -> None:
        """Get ready for a new event loop."""
        ...

    def reconsider(self) -> None:
        """Say that the health of an endpoint has changed."""
        ...

    def release(self, error: Callable[[], Exception]) -> None:
        """Let everyone who waits go, each with an error of its own."""
        ...

    async def decide_forever(self, first_done: Callable[[], None]) -> None:
        """Make every change that is needed, until cancelled.

        Args:
            first_done: called when all that was needed at first was done, or could not be.
        """
        ...


class Run:
    """The tasks of one run, and its end, wanted or not.

    Args:
        endpoints: how many endpoints must be checked for the first round to be complete.
        conductor: whose waiters are let go at the end.
        announcer: who has ``patience`` seconds at the end to tell what is still untold.
        patience: that time.
        prober: closed at the end.
        clock: the clock.
        on_broken: told, once, that a task has failed.

    Attributes:
        loop: the event loop that it runs in.
        workers: the tasks that check and decide.
        announcers: the task that calls the callbacks.
        first_round: done when every endpoint has been checked once.
        first_decision: done when the first decision was made, and acted upon.
        error: what broke the monitor, or None.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        *,
        endpoints: int,
        conductor: Conductor,
        announcer: Announcer,
        patience: float,
        prober: Prober,
        clock: Clock,
        on_broken: Callable[[BaseException], None],
    ) -> None:
        self.loop = running_loop("be started")
        self._unchecked = endpoints
        self._conductor = conductor
        self._announcer = announcer
        self._patience = patience
        self._prober = prober
        self._on_broken = on_broken
        self.workers = Crew(self._broken, clock)
        self.announcers = Crew(self._broken, clock)
        self.first_round: asyncio.Future[None] = self.loop.create_future()
        self.first_decision: asyncio.Future[None] = self.loop.create_future()
        self.error: BaseException | None = None
        self._over: asyncio.Future[None] | None = None
        conductor.begin()
        announcer.begin()

    @property
    def is_alive(self) -> bool:
        """Whether it is neither broken nor ended nor about to be."""
        return self.error is None and self._over is None

    def checked_once(self) -> None:
        """Count the first check of an endpoint."""
        self._unchecked -= 1
        if not self._unchecked and not self.first_round.done():
            self.first_round.set_result(None)

    def decided_once(self) -> None:
        """Say that the first decision was made."""
        if not self.first_decision.done():
            self.first_decision.set_result(None)

    def check_loop(self, purpose: str) -> None:
        """Make sure that the caller runs in the loop of this run.

        Raises:
            NotMonitoringError: it runs in another one, or in none.
        """
        if running_loop(purpose) is not self.loop:
            raise NotMonitoringError(
                "the monitoring runs in another event loop; use the manager in the one it began in"
            )

    async def end(self) -> None:
        """End every task and close the prober; a second call waits for the first."""
        if self._over is not None:
            await asyncio.shield(self._over)
            return
        self._over = self.loop.create_future()
        self._let_go(lambda: NotMonitoringError("the monitoring was stopped meanwhile"))
        try:
            await self.workers.end()
            if self.error is None:
                await self._announcer.told(self._patience)
        finally:
            try:
                await self.announcers.end()
            finally:
                try:
                    await self._prober.close()
                finally:
                    self._over.set_result(None)

    def _broken(self, error: BaseException) -> None:
        if self.error is not None:
            return
        self.error = error
        self._on_broken(error)
        self._let_go(lambda: monitoring_failed(error))
        self.workers.cancel()

    def _let_go(self, error: Callable[[], Exception]) -> None:
        self._conductor.release(error)
        for first in (self.first_round, self.first_decision):
            if not first.done():
                first.set_exception(error())
                first.exception()  # whoever started may be gone: this marks it as seen


def running_loop(purpose: str) -> asyncio.AbstractEventLoop:
    """The running event loop.

    Raises:
        NotMonitoringError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NotMonitoringError(
            f"without a running asyncio event loop a failover manager can't {purpose}"
        ) from None


def monitoring_failed(error: BaseException) -> MonitoringFailed:
    """The error that says what broke the monitor, new for each who is told."""
    failure = MonitoringFailed(f"the failover monitor broke: {shown_failure(error)}")
    failure.__cause__ = error
    return failure


def shown_failure(error: BaseException) -> str:
    """What broke the monitor, for a reader: this room's own errors are sentences already."""
    return str(error) if isinstance(error, FailoverError) else repr(error)
