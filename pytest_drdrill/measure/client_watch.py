"""A client watches the outages of a drill: what it sees goes to the recovery timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.measure.client_view import ClientView
from pytest_drdrill.text import one_line, storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.measure.rto import RTOTimer
    from pytest_drdrill.measure.verdicts import DrillFailure
    from pytest_drdrill.measure.write_stream import Ended


class Watched(NamedTuple):
    """One outage, the place of this watch among those of it, and what the client sees of it."""

    outage: Outage
    place: int
    view: ClientView


_TURNS_SHOWN = 50
"""How often the timeline shows that a client's calls began to fail, or succeeded again."""


class ClientOutages:
    """The outages of a drill as one client sees them, the latest of which takes what comes in.

    Args:
        fails: what is told when its calls begin to fail.
        works: what is told when they succeed again.
        tell: told so, a limited number of times, with the detail.

    Attributes:
        outages: those that began while it watched, in order.
    """

    def __init__(self, fails: str, works: str, tell: Callable[[str, str], object]) -> None:
        self.outages: list[Watched] = []
        self._fails, self._works, self._tell = fails, works, tell
        self._passed, self._turns = True, 0

    def begin(self, outage: Outage, hold: float) -> None:
        """An outage has begun; its end has to hold for so many seconds."""
        self._begin(outage, 0, hold)

    def _begin(self, outage: Outage, place: int, hold: float) -> None:
        self.outages.append(Watched(outage, place, ClientView(outage.disaster.at, hold)))

    @property
    def latest(self) -> Watched | None:
        """The latest outage, or None before the first."""
        return self.outages[-1] if self.outages else None

    def sent(self, number: int, at: float) -> None:
        """A call is about to be sent."""
        if (latest := self.latest) is not None:
            latest.view.send(number, at)

    def stood_still(self, seconds: float) -> None:
        """The event loop has stood still, so that what came meanwhile was seen late."""
        if (latest := self.latest) is not None:
            latest.view.stood_still(seconds)

    def ended(self, ended: Ended) -> None:
        """A call has ended: enter what it says of the latest outage, and tell where that turns."""
        if (latest := self.latest) is None:
            return
        passed = ended.acknowledged
        if ended.hidden:
            latest.view.forget(ended.number)
            return
        if not latest.view.enter(
            ended.number, ended.at, acknowledged=passed, answered=ended.answered
        ):
            return
        why = "it was refused"
        if ended.error is not None:
            why = one_line(f"{type(ended.error).__name__}: {storable(ended.error)}")
        self._looked(latest, passed=passed, why=why)
        if passed is self._passed:
            return
        self._passed, self._turns = passed, self._turns + 1
        if self._turns > _TURNS_SHOWN:
            return
        if passed:
            after = format_seconds(ended.at - latest.outage.disaster.at)
            self._tell(self._works, f"{after} after the disaster")
        else:
            self._tell(self._fails, why)

    def _looked(self, watched: Watched, *, passed: bool, why: str) -> None:
        """For whoever is to know of each call, and why it did not pass."""

    def longest(self) -> float | None:
        """Seconds of the longest outage, or None where one did not end."""
        spans = []
        for outage, _, view in self.outages:
            recovery = view.recovery()
            if recovery is None:
                return None
            down = view.saw_failure or self._goes_down(outage)
            spans.append(recovery.began - outage.disaster.at if down else 0.0)
        return max(spans, default=None)

    def _goes_down(self, outage: Outage) -> bool:
        """Whether there is an outage although no call failed."""
        del outage
        return False


class ClientWatch(ClientOutages):
    """The same, entered into the recovery timer.

    Args:
        timer: of the drill.
        name: of the client.
        tell: see ``ClientOutages``.
    """

    def __init__(self, timer: RTOTimer, name: str, tell: Callable[[str, str], object]) -> None:
        super().__init__("writes fail", "writes are acknowledged again", tell)
        self._timer = timer
        self._name = name
        self._settled = 0

    def begin(self, outage: Outage, hold: float) -> None:
        """An outage has begun, which is not measured before this client has said what it saw."""
        self._begin(outage, self._timer.watches.attend(outage), hold)

    def _goes_down(self, outage: Outage) -> bool:
        """Whether it was to; that no write failed then, the verdict on the drill says."""
        return outage.expect_downtime

    def _looked(self, watched: Watched, *, passed: bool, why: str) -> None:
        text = f"a write of {self._name} failed: {why}"
        self._timer.watches.looked(watched.outage, passed=passed, why=text)

    def settle(self, halted_at: float, error: BaseException | None) -> DrillFailure | None:
        """Say what was seen of each outage, once; the verdict on the first without a recovery.

        Args:
            halted_at: monotonic seconds at which the last write was sent.
            error: what the last bad write raised, or None.
        """
        timer = self._timer
        verdict: DrillFailure | None = None
        unsettled, self._settled = self.outages[self._settled :], len(self.outages)
        for outage, place, view in unsettled:
            recovery = view.recovery()
            if recovery is not None:
                timer.watches.settle(outage, place, recovery, view.blind)
            else:
                gave_up = timer.watches.gave_up(outage, halted_at, error)
                verdict = verdict or gave_up
            timer.close(outage)
        return verdict
