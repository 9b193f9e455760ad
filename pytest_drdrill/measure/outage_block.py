"""The ``with`` block of an outage: the disaster strikes on entry, recovery is seen on exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.measure.rto import RTOTimer


class OutageBlock:
    """What ``outage()`` gives; no generator, whose frames would show in a drill's errors."""

    def __init__(
        self, timer: RTOTimer, name: str, rto: str | timedelta | None, *, expect_downtime: bool
    ) -> None:
        self._timer = timer
        self._asked = (name, rto, expect_downtime)
        self._outage: Outage | None = None

    def __enter__(self) -> Outage:
        __tracebackhide__ = True
        name, rto, expect_downtime = self._asked
        self._outage = self._timer.disaster(name, rto=rto, expect_downtime=expect_downtime)
        return self._outage

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._outage is not None
        self._timer.end_block(self._outage, failed=error is not None)
