"""HAProxy: health checks of a server line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.failover import settings
from pytest_drdrill.failover.presets.polled import NOW, PolledPreset, Polling

if TYPE_CHECKING:
    from pytest_drdrill.failover.presets.base import Fault, Span


@dataclass(frozen=True)
class HAProxyPreset(PolledPreset):
    """The health checks of HAProxy: ``check inter 2s fall 3 rise 2`` on a server line.

    Attributes:
        inter: from the end of a check to the start of the next one.
        fall: failed checks in a row until the server is DOWN.
        rise: successful ones until it is UP again.
        fastinter: the interval while it is about to change; by default ``inter``.
        downinter: the interval while it is DOWN; by default ``inter``.
        timeout_check: ``timeout check``, for the answer once connected; by default a whole check
            may take ``inter``.
        timeout_connect: ``timeout connect``; with ``timeout check`` set it bounds the connect of
            a check, where it is below ``inter``.

    Source: HAProxy Configuration Manual, ``inter`` in section 5.2 and ``timeout check`` in
    section 4.2.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a number below one, or no duration above zero.
    """

    tool: ClassVar[str] = "HAProxy 3.5"
    failover: ClassVar[str] = "DOWN"
    formula: ClassVar[str] = (
        "DOWN: 0 … inter, then fall x c + (fall - 1) x fastinter, for the interval runs from the "
        "end of a check. A failing check takes c: nothing if refused; hung: timeout check, else "
        "inter; silent: with a timeout check min(timeout connect, inter), else inter. "
        "UP again: 0 … downinter, then (rise - 1) x fastinter."
    )
    source: ClassVar[str] = (
        "HAProxy 3.5-dev5, Configuration Manual, section 5.2 (inter, fastinter, downinter, fall, "
        "rise) and section 4.2 (timeout check); that the interval runs from the end of a check: "
        "src/check.c, process_chk_conn(). spread-checks is 0, its default"
    )

    inter: timedelta = timedelta(seconds=2)
    fall: int = 3
    rise: int = 2
    fastinter: timedelta | None = None
    downinter: timedelta | None = None
    timeout_check: timedelta | None = None
    timeout_connect: timedelta | None = None

    if TYPE_CHECKING:
        # What a caller may pass; the fields above say what is kept.
        def __init__(  # noqa: PLR0913, PLR0917 - the tool's own settings
            self,
            inter: str | timedelta = "2s",
            fall: int = 3,
            rise: int = 2,
            fastinter: str | timedelta | None = None,
            downinter: str | timedelta | None = None,
            timeout_check: str | timedelta | None = None,
            timeout_connect: str | timedelta | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        self._parse_durations("inter", "fastinter", "downinter", "timeout_check", "timeout_connect")
        settings.threshold("fall", self.fall)
        settings.threshold("rise", self.rise)

    @property
    def polling(self) -> Polling:
        """How it polls."""
        fast, down = self.fastinter or self.inter, self.downinter or self.inter
        return Polling(self.inter, fast, down, self.fall, self.rise)

    @property
    def check_timeout(self) -> timedelta:
        """How long a check of a process that hangs takes; what an endpoint's timeout should be."""
        return self.check_takes("hung")

    def check_takes(self, fault: Fault) -> timedelta:
        """How long a check takes to fail."""
        if fault == "refused":
            return NOW
        if self.timeout_check is None:
            return self.inter
        if fault == "hung":
            return self.timeout_check
        return self.inter if self.timeout_connect is None else min(self.inter, self.timeout_connect)

    def _milestones(self, fault: Fault) -> dict[str, Span]:
        return {"DOWN": self._goes_down(fault), "UP again": self._comes_back()}
