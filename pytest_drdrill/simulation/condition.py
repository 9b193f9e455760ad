"""What is wrong with an endpoint, as a function of time: nothing needs to happen for it to change.

Times are whole microseconds since the simulation began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from pytest_drdrill.simulation.steps import Steps, earliest

Failure: TypeAlias = Literal["refused", "silent"]
SHOWN: dict[Failure, str] = {
    "refused": "it refuses connections",
    "silent": "it is silent",
}
"""What the trace says of each."""

State: TypeAlias = Literal["well", "refused", "silent", "gone"]
"""How a place meets what reaches it. The silent one has it lie there, and may answer late; of what
reaches one that is gone, nobody will ever know, however soon it is back."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """How something fails, and from when on; with a period it does so in the first half of each."""

    failure: Failure
    since: int
    period: int = 0

    def holds(self, moment: int) -> bool:
        return not self.period or (moment - self.since) % self.period * 2 < self.period

    def turns_after(self, moment: int) -> int | None:
        """The next moment at which it comes or goes by itself."""
        if not self.period:
            return None
        begun = moment - (moment - self.since) % self.period
        # The first microsecond of which holds() says otherwise.
        half = begun + (self.period + 1) // 2
        return half if moment < half else begun + self.period


class Condition:
    """How one endpoint fares: whether and how it fails, and by how much it is slow.

    Args:
        usual: how long a request takes while it is well.
    """

    __slots__ = ("_delay", "_trouble", "_usual")

    def __init__(self, usual: int = 0) -> None:
        self._usual = usual
        self._trouble: Steps[_Trouble | None] = Steps(None)
        self._delay: Steps[int] = Steps(usual)

    def fail(self, since: int, failure: Failure, period: int = 0) -> None:
        """Have it fail from a moment on; with a period, in the first half of each period."""
        self._trouble.set(since, _Trouble(failure, since, period))

    def slow(self, since: int, delay: int) -> None:
        """Have requests that begin from a moment on take so long."""
        self._delay.set(since, delay)

    def recover(self, since: int) -> None:
        """Have it be well, and as fast as ever, from a moment on."""
        self._trouble.set(since, None)
        self._delay.set(since, self._usual)

    def failure(self, moment: int) -> Failure | None:
        """How it fails at a moment; None where it does not."""
        trouble = self._trouble.at(moment)
        return trouble.failure if trouble is not None and trouble.holds(moment) else None

    def delay(self, moment: int) -> int:
        """How long a request that begins at a moment takes."""
        return self._delay.at(moment)

    def changes_after(self, moment: int) -> int | None:
        """The next moment after which it may fail otherwise, as far as is known; None: none."""
        trouble = self._trouble.at(moment)
        own = None if trouble is None else trouble.turns_after(moment)
        return earliest(own, self._trouble.after(moment))

    def constant_until(self, moment: int) -> int | None:
        """The next moment from which anything may be otherwise; None: none is known."""
        return earliest(self.changes_after(moment), self._delay.after(moment))


def checked(how: Failure) -> Failure:
    """A way to fail, as somebody wrote it.

    Raises:
        ValueError: no such way.
    """
    if how not in get_args(Failure):
        known = " or ".join(repr(each) for each in get_args(Failure))
        raise ValueError(f"an endpoint can fail in the ways {known}, not {how!r}")
    return how
