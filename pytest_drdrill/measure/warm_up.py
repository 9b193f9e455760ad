"""The warm-up of a canary: a system has to be seen to work before a disaster counts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.measure.write_stream import WriteStream


async def warm_up(
    stream: WriteStream, clock: Clock, survivors: Callable[[object], Iterable[str]]
) -> str | None:
    """Wait until enough writes in a row were acknowledged, and were read back.

    Args:
        stream: one that has started.
        clock: where its time comes from.
        survivors: the keys that came through, of what was read; raises for what is no reading.

    Returns:
        In one clause why the system was not seen to work in time, or None when it was; also where
        the stream broke, which says so itself.
    """
    settings = stream.settings
    in_time = f"within {format_seconds(settings.warm_up_timeout)}"
    reading = False
    problem: BaseException | None = None
    with suppress(TimeoutError):
        async with clock.timeout(settings.warm_up_timeout):
            while stream.streak < settings.warm_up and stream.broken is None:
                await stream.next_end()
            written, reading = list(stream.acknowledged), True
            while stream.broken is None:
                try:
                    found = await stream.read_all()
                except Exception as error:  # noqa: BLE001 - it may not work yet
                    problem = error
                else:
                    problem = None
                    if set(survivors(found)).issuperset(written):
                        return None
                await clock.sleep(settings.interval)
    if stream.broken is not None:
        return None
    if reading:
        what = f"read_all() did not give back what was written {in_time}"
    else:
        problem = stream.last_error
        what = (
            f"the system did not acknowledge {settings.warm_up} writes in a row {in_time}, but "
            f"{len(stream.acknowledged)} of {stream.sent}"
        )
    if problem is None:
        return what
    return f"{what}; the last attempt raised {type(problem).__name__}: {storable(problem)}"
