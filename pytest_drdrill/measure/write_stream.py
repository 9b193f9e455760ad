"""Writes at a fixed rate, each of which ends as acknowledged, failed or indeterminate."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.measure.calls import DaemonThreads, call, is_async
from pytest_drdrill.measure.pulse import Pulse
from pytest_drdrill.measure.verdicts import DrillUsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.measure.canary_settings import CanarySettings

WRITE_LIMIT = 1_000_000
"""Writes after which a drill is taken for one that never ends: in virtual time, where the next
write is always something to wait for, nothing else would end one that waits for ever."""
_TIMERS_S = 0.002
"""Seconds by which timers of an event loop are late at best, whose resolution is a millisecond."""
HANGING_LIMIT = 32
"""Threads that may hang in plain writes that were given up; then the next write waits for one."""


class Ended(NamedTuple):
    """One write that has ended.

    Attributes:
        number: its place among those that were sent, from 0.
        key: its key.
        at: monotonic seconds at which it ended.
        acknowledged: whether the system confirmed it.
        error: what it raised, or None.
        answered: whether the system gave any answer, be it an error; False where none came in time.
        hidden: whether one may have come in time and not have been seen, since the event loop stood
            still.
    """

    number: int
    key: str
    at: float
    acknowledged: bool
    error: BaseException | None
    answered: bool
    hidden: bool


class WriteStream:
    """Sends writes until it is halted, and keeps how each of them ended.

    One is due at every interval from the start on, whatever the ones before took. Where as many as
    may be are under way still, it is skipped: they neither pile up nor come in a burst afterwards.
    Of an interval that is shorter than what a timer can tell, those go out at once that are due.

    Args:
        settings: what to write, and how.
        clock: where its time comes from.
        prefix: of its keys.
        on_sent: told of each write before it is sent: its number, and the moment.
        on_ended: told of each one when it has ended.
        on_stood_still: told when the event loop has stood still, and for how many seconds.

    Attributes:
        settings: as given.
        sent: how many writes were sent.
        acknowledged: keys of confirmed writes, and the monotonic seconds of each confirmation.
        failed: keys of refused writes.
        indeterminate: keys of writes whose outcome is not known.
        skipped: how many writes were due and not sent.
        streak: how many of the last writes were acknowledged, with none that was not in between.
        broken: what ended the stream against its will, or None.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        settings: CanarySettings,
        clock: Clock,
        prefix: str,
        *,
        on_sent: Callable[[int, float], object],
        on_ended: Callable[[Ended], object],
        on_stood_still: Callable[[float], object],
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._prefix = prefix
        self._on_sent = on_sent
        self._on_ended = on_ended
        self._on_stood_still = on_stood_still
        self._pulse = Pulse(max(settings.interval, _TIMERS_S))
        self._threads = DaemonThreads(settings.name)
        self._writes_in_loop = is_async(settings.write)
        self.sent = 0
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._schedule: asyncio.Task[None] | None = None
        self.acknowledged: dict[str, float] = {}
        self.failed: dict[str, None] = {}
        self.indeterminate: dict[str, None] = {}
        self.skipped = self.streak = 0
        self._error: BaseException | None = None
        self.broken: BaseException | None = None
        self._changed = asyncio.Event()

    def value_of(self, key: str) -> str | None:
        """The value that was sent with a key, or None for one that was never sent."""
        if key in self.acknowledged or key in self.failed or key in self.indeterminate:
            return _value(key)
        return None

    def start(self) -> None:
        """Begin to send, or go on after a halt."""
        self._schedule = asyncio.create_task(self._send_all(), name=f"{self.settings.name} sends")
        self._schedule.add_done_callback(self._told_all_sent)

    async def halt(self, *, cancel: bool = False) -> None:
        """Send nothing more, and wait until all that was sent has ended, which its timeout sees to.

        Args:
            cancel: do not wait for answers: what is under way is indeterminate.
        """
        sender, self._schedule = self._schedule, None
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender])
        self._pulse.stop()
        tasks = list(self._under_way.values())
        if cancel:
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def next_end(self) -> None:
        """Wait until a write ends, or the stream breaks."""
        self._changed.clear()
        await self._changed.wait()

    async def wait_until(self, is_so: Callable[[], bool], limit: Callable[[], float]) -> None:
        """Wait for what the end of a write can bring about, until the stream breaks at most.

        Args:
            is_so: whether it has come about.
            limit: gives the moment of the clock up to which to wait.
        """
        while not is_so() and self.broken is None:
            left = limit() - self._clock.monotonic()
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with self._clock.timeout(left):
                    await self.next_end()

    async def read_all(self) -> Any:
        """Read everything back.

        Raises:
            TimeoutError: there was no answer in time.
            Exception: whatever the function raised.
        """
        seconds = self.settings.read_timeout
        try:
            async with self._clock.timeout(seconds) as limit:
                if is_async(self.settings.read_all):
                    return await self.settings.read_all()
                return await call(self._threads, self._read)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"{self.settings.name}: read_all() gave no answer within {seconds:g} s; give it "
                "longer with read_timeout"
            ) from error

    def _read(self) -> Any:
        found = self.settings.read_all()
        # Where it was made: a cursor may belong to its thread, and may take its time.
        return list(found) if isinstance(found, Iterator) else found

    async def _send_all(self) -> None:
        clock, interval = self._clock, self.settings.interval
        began, due = clock.monotonic(), 0
        while self.sent < WRITE_LIMIT:
            if self._may_send():
                self._send()
            else:
                self.skipped += 1
            # Counted from the begin, so that it does not drift; what is past by now is not made up.
            late = clock.monotonic() - began
            following = max(due + 1, math.floor(late / interval) + 1)
            self._catch_up(following - due - 1)
            due = following
            self._pulse.rest(began + due * interval)
            await clock.sleep(max(0.0, began + due * interval - clock.monotonic()))
            if stood_still := self._pulse.beat(clock.monotonic()):
                self._on_stood_still(stood_still)
        self._break(
            DrillUsageError(
                f"{self.settings.name} has sent {WRITE_LIMIT:,} writes and was still not told to "
                "end: does the drill wait for what never comes? Else give it a longer interval"
            )
        )

    def _catch_up(self, missed: int) -> None:
        """Send of those that came due meanwhile what a timer could not have been on time for."""
        for _ in range(min(missed, math.floor(_TIMERS_S / self.settings.interval))):
            # A thread counts once it has begun: several at once must not pass the limit of those.
            if self._threads.alive >= HANGING_LIMIT or not self._may_send():
                break
            self._send()
            missed -= 1
        self.skipped += missed

    def _told_all_sent(self, sender: asyncio.Task[None]) -> None:
        if not sender.cancelled() and (error := sender.exception()) is not None:
            self._break(error)  # such as a clock that waits no more

    def _may_send(self) -> bool:
        return len(self._under_way) < self.settings.concurrency and not self._is_clogged

    @property
    def _is_clogged(self) -> bool:
        """Whether so many plain writes hang that no thread is to be started for another."""
        return self._threads.alive >= self.settings.concurrency + HANGING_LIMIT

    @property
    def last_error(self) -> BaseException | None:
        """Why the last write went wrong, or why none is sent any more; None where all is well."""
        if not self._is_clogged:
            return self._error
        return TimeoutError(
            f"{self._threads.alive} writes hang in their threads, which nobody can end, so no "
            "further one is sent until one of them returns: have write give up by itself, or make "
            "it asynchronous"
        )

    def _send(self) -> None:
        number = self.sent
        self.sent += 1
        name = f"{self.settings.name} write {number}"
        task = asyncio.create_task(self._write(number, f"{self._prefix}{number}"), name=name)
        self._under_way[number] = task
        # However it ends, one that was cancelled before it began among them.
        task.add_done_callback(lambda _: self._under_way.pop(number))

    async def _write(self, number: int, key: str) -> None:
        settings, clock = self.settings, self._clock
        self._on_sent(number, clock.monotonic())
        answer: Any = None
        error: BaseException | None = None
        home = self.indeterminate
        begun, answered = clock.monotonic(), list[tuple[Any, float]]()
        try:
            async with clock.timeout(settings.timeout) as limit:
                answer = await self._ask(key, answered)
            home = self.failed
        except asyncio.CancelledError as stopped:  # with it this task ends, one way or the other
            error = stopped
        except Exception as problem:  # noqa: BLE001 - in an outage a write may raise anything
            error = problem
            if not (limit.expired() or self._leaves_open(problem)):
                home = self.failed
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as verdict:  # noqa: BLE001 - as of pytest.fail(), for whoever waits
            error = verdict
            self._break(verdict)
        at = clock.monotonic()
        if answered and answered[0][1] - begun < settings.timeout:
            # The loop may have been held up, by a fault or a restore, and have seen it late.
            (answer, at), error, home = answered[0], None, self.failed
        hidden = False
        if error is not None and limit.expired():
            hidden = self._was_hidden(begun + settings.timeout, at)
            error = error if error.args else TimeoutError(self._no_answer())
        ended = Ended(
            number,
            key,
            at,
            acknowledged=error is None and answer is not False,
            error=error,
            answered=not isinstance(error, TimeoutError | asyncio.CancelledError),
            hidden=hidden,
        )
        self._keep(ended, home)

    async def _ask(self, key: str, answered: list[tuple[Any, float]]) -> Any:
        write = self.settings.write
        if self._writes_in_loop:
            return await write(key, _value(key))

        def write_in_thread() -> Any:  # the answer counts from when it came there
            found = write(key, _value(key))
            if not inspect.isawaitable(found):
                answered.append((found, self._clock.monotonic()))
            return found

        return await call(self._threads, write_in_thread)

    def _was_hidden(self, deadline: float, now: float) -> bool:
        """Whether an answer may have come in time and not have been seen."""
        if not self._writes_in_loop:
            return False  # its thread goes on whatever the loop does
        # A little blindness at the end leaves no doubt that it hung; more of it does.
        return self._pulse.hid(deadline, now, least=self.settings.timeout / 2)

    def _no_answer(self) -> str:
        return f"no answer within {format_seconds(self.settings.timeout)}"

    def _leaves_open(self, problem: Exception) -> bool:
        """Whether an error leaves open whether the write was done."""
        return isinstance(problem, self.settings.indeterminate) or (
            getattr(problem, "leaves_open", False) is True
        )

    def _keep(self, ended: Ended, home: dict[str, None]) -> None:
        if ended.acknowledged:
            self.acknowledged[ended.key] = ended.at
            self.streak += 1
        else:
            home[ended.key] = None
            self.streak, self._error = 0, ended.error
        self._on_ended(ended)
        self._changed.set()

    def _break(self, error: BaseException) -> None:
        if self.broken is None:
            self.broken = error
        if self._schedule is not None:
            self._schedule.cancel()
        self._changed.set()


def _value(key: str) -> str:
    """A value that only this key has, and that is long enough to be damaged."""
    return hashlib.sha256(key.encode()).hexdigest()
