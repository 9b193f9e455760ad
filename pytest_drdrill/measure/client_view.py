"""What a client's writes say about one outage: a pure account, which knows no clock."""

from __future__ import annotations

from pytest_drdrill.measure.outage import Recovery


class ClientView:
    """One outage as a client sees it that may have several writes under way at once.

    A run consists of acknowledged writes that were sent after the disaster, and after the last one
    that ended badly was sent: a write that hung through the outage and fails late says nothing
    against those that were sent, and acknowledged, since. With a hold, the first run that lasted so
    long counts, and only once every write sent in that time has been answered; without one, the run
    that went on to the end.

    Args:
        since: monotonic seconds of the disaster.
        hold: seconds that a run has to last, or 0.
    """

    def __init__(self, since: float, hold: float) -> None:
        self._hold = hold
        self._pending: dict[int, float] = {}
        self._last_bad = -1
        self._suspect = self._looked = since
        self._since = since
        self._run: list[tuple[int, float]] = []
        self._held: Recovery | None = None
        self._standstill = 0.0
        self.blind = 0.0
        """Seconds of the longest time in which nobody looked, as of ``Watch``."""

    def send(self, number: int, at: float) -> None:
        """A write is sent; numbers only grow."""
        self._pending[number] = at

    def forget(self, number: int) -> None:
        """A write ended, and how is not known: that says nothing."""
        self._pending.pop(number, None)

    def stood_still(self, seconds: float) -> None:
        """Nobody could look for so long: no figure is finer than that."""
        self._standstill = max(self._standstill, seconds)

    def enter(self, number: int, at: float, *, acknowledged: bool, answered: bool = True) -> bool:
        """A write ended.

        Returns:
            Whether that says anything of the service since the disaster. Of a write that was sent
            before, neither its acknowledgement does nor that it never had an answer: it may have
            hung by then.
        """
        sent = self._pending.pop(number, None)
        if sent is None and (acknowledged or not answered):
            return False
        begun = self._since if sent is None else sent
        self.blind = max(self.blind, at - self._looked)
        self._looked = max(self._looked, begun)
        if acknowledged:
            if number > self._last_bad:
                self._run.append((number, at))
        elif number > self._last_bad:
            self._last_bad, self._suspect = number, begun
            self._run = [each for each in self._run if each[0] > number]
        if self._hold and self._held is None and self._run:
            recovery = self._present(at)
            if recovery.held >= self._hold:
                self._held = recovery
        return True

    @property
    def saw_failure(self) -> bool:
        """Whether any write has ended badly since the disaster."""
        return self._last_bad >= 0

    @property
    def run_began(self) -> float | None:
        """Monotonic seconds of the first acknowledgement of the present run, or None."""
        return self._run[0][1] if self._run else None

    @property
    def is_back(self) -> bool:
        """Whether the service has recovered, and for as long as it has to hold."""
        return self._held is not None if self._hold else bool(self._run)

    def recovery(self) -> Recovery | None:
        """The recovery, as known by now; None where there is none."""
        found = self._held
        if self._run and not self._hold:
            found = self._present(self._run[-1][1])
        if found is None:
            return None
        return found._replace(resolution=max(found.resolution or 0.0, self._standstill))

    def _present(self, now: float) -> Recovery:
        """The present run, as far as every write that was sent in it has been answered."""
        first, began = self._run[0]
        unanswered = (at for number, at in self._pending.items() if number > first)
        known = min(unanswered, default=now)
        return Recovery(began, began - self._suspect, max(0.0, min(known, now) - began))
