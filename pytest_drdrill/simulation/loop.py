"""The virtual event loop: its clock jumps to the next timer when nothing is ready."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
from asyncio import events
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from pytest_drdrill.durations import format_duration
from pytest_drdrill.simulation.errors import DeadlockError, HorizonError, LivelockError
from pytest_drdrill.simulation.lull import Lulls
from pytest_drdrill.simulation.refusals import REFUSED, refusal, refused
from pytest_drdrill.simulation.waiting import list_tasks

if TYPE_CHECKING:
    import collections
    import weakref
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from contextvars import Context

    from pytest_drdrill.simulation.errors import RealIOError

_Result = TypeVar("_Result")
_Args = TypeVarTuple("_Args")

TURNS = 100_000
"""Turns of the loop without the clock moving that are taken for an endless one."""
DEFAULT_HORIZON = timedelta(days=366)
"""Virtual time after which a simulation is taken for an endless one."""
_MICROSECOND = timedelta(microseconds=1)
_FEW_CANCELLED = 100


class _NumberedTask(asyncio.Task[Any]):
    """A task that sets and the garbage of other tests can't reorder: its hash is its number.

    asyncio keeps tasks in sets, and cancels them in the order of those (``TaskGroup``, the end of a
    run); by default that is the order of addresses, which differs from process to process.
    """

    def __init__(self, number: int, coro: Any, **settings: Any) -> None:
        self.number = number
        super().__init__(coro, **settings)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without a socket, a thread or a system call: time is what its timers say.

    Timers lie on a grid of microseconds; those of one instant run in the order in which they were
    set. A wait above zero takes a microsecond at least, so that what is left of a sum of floats
    does not stop time. ``run_in_executor``, and with it ``asyncio.to_thread``, calls the function
    in this thread, outside of any loop, and takes no virtual time.

    The same program does the same in the same order, whatever ``PYTHONHASHSEED``, addresses and
    Python: tasks are numbered in the order of their creation, where a program sets no task factory
    of its own. What a program itself puts in an order by addresses stays so: it iterates a set of
    other objects, or hands coroutines to ``asyncio.as_completed``, which does that; hand it tasks.

    A loop with nothing left to wait for, one that never lets time pass and one that never ends
    raise a ``SimulationError``; so does what asks for real I/O.

    Args:
        horizon: virtual time that all of it may take at most.

    Attributes:
        escaped: the first refusal of real I/O, kept in case that somebody swallows it, or None.
        now_us: virtual microseconds since the loop was made.
    """

    if TYPE_CHECKING:  # what asyncio's own loop keeps, and neither documents nor declares
        _ready: collections.deque[asyncio.Handle]
        _scheduled: list[tuple[int, int, int, asyncio.TimerHandle]]
        _stopping: bool
        _debug: bool
        _thread_id: int | None
        _timer_cancelled_count: int
        _current_handle: asyncio.Handle | None
        _task_factory: object
        _asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]]

        def _check_closed(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...

    def __init__(self, horizon: timedelta = DEFAULT_HORIZON) -> None:
        super().__init__()
        self.escaped: RealIOError | None = None
        self._lulls: Lulls | None = None
        self._horizon = horizon // _MICROSECOND
        self.now_us = 0
        self._now = 0.0
        self._timers = itertools.count()
        self._tasks = itertools.count(1)
        self._turns = 0
        self._home = threading.get_ident()
        self._inline = False  # whether it calls what was meant for another thread

    @property
    def lulls(self) -> Lulls:
        """The waits for checks that need not be made; most loops have none."""
        if self._lulls is None:
            self._lulls = Lulls(self)
        return self._lulls

    # Time.

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass while the loop stands, as a program that blocks does.

        Raises:
            RuntimeError: it runs; asynchronous code awaits what takes time.
        """
        if self.is_running():
            raise RuntimeError("a running loop passes time itself: await clock.sleep(seconds)")
        if self.is_closed():  # nobody is left whom time could concern
            self._jump_to(self.after(seconds))
        else:
            self.run_until_complete(asyncio.sleep(seconds))

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function after so many virtual seconds."""
        return self._schedule("call_later", delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function at a virtual second."""
        return self._schedule("call_at", when - self._now, callback, args, context)

    def after(self, delay: float) -> int:
        """The microsecond that lies so many seconds ahead: the nearest, but none of the past."""
        if delay <= 0:
            return self.now_us
        return self.now_us + max(1, round(delay * 1e6))

    def _schedule(
        self,
        method: str,
        delay: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> asyncio.TimerHandle:
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, method)
        if delay == math.inf:  # never; so nobody waits for it
            return asyncio.TimerHandle(delay, callback, args, self, context)
        return self.schedule_as(
            self.after(delay), self.next_place(), callback, *args, context=context
        )

    def next_place(self) -> tuple[int, int]:
        """The place, among the timers of any one instant, of one that is set now.

        They run in the order in which they were set: by the microsecond of that, then by number.
        """
        return self.now_us, next(self._timers)

    def schedule_as(
        self,
        when: int,
        place: tuple[int, int],
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function at a microsecond, at a place of its own in the order of that instant."""
        handle = asyncio.TimerHandle(when / 1e6, callback, args, self, context)
        heapq.heappush(self._scheduled, (when, *place, handle))
        handle._scheduled = True  # type: ignore[attr-defined] # noqa: SLF001 - asyncio's own mark
        return handle

    # Turns.

    def _run_once(self) -> None:
        """One turn, in place of asyncio's own, which would ask a selector and the real clock."""
        ready, heap = self._ready, self._scheduled
        if not (ready or self._stopping):
            self._jump()
        self._turns += 1
        if self._turns > TURNS:
            self._turns = 0  # or what ends the tasks could not run either
            raise LivelockError(
                f"the clock stands still {self._moment()} while tasks go on, {TURNS:,} turns by "
                f"now; let them sleep in between:\n{self._list_tasks()}"
            )
        while heap and heap[0][0] <= self.now_us:
            handle: asyncio.Handle = self._pop()
            if not handle.cancelled():
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            if self._debug:  # then errors say where their handle came from
                self._current_handle = handle
            try:
                handle._run()  # noqa: SLF001 - a loop's part of asyncio
            finally:
                self._current_handle = None

    def _jump(self) -> None:
        """Move the clock to the next timer, which may be one of this instant."""
        heap = self._scheduled
        if self._timer_cancelled_count > max(_FEW_CANCELLED, len(heap) // 2):
            self._drop_cancelled()
        while heap and heap[0][3].cancelled():
            self._pop()
        lulls = self._lulls if self._lulls is not None and self._lulls.count else None
        if not heap and lulls is None:
            raise DeadlockError(
                f"waiting for what can never come, {self._moment()}: no timer is set, and every "
                f"task waits:\n{self._list_tasks()}"
            )
        beyond = self._horizon + 1
        now = min(heap[0][0], beyond) if heap else beyond
        if now <= self.now_us:
            return
        if lulls is not None:
            now = lulls.halt_before(now)
            if now < beyond:
                lulls.arrive(now)
            else:
                self._jump_to(max(self.now_us, lulls.last_before(beyond)))
        if now == beyond:
            horizon = format_duration(self._horizon * _MICROSECOND)
            self._horizon *= 2  # or what ends the tasks could not wait
            raise HorizonError(
                f"still going on {self._moment()}: what comes next lies beyond the horizon of "
                f"{horizon}; does something wait for what never comes?\n{self._list_tasks()}"
            )
        self._jump_to(now)

    def _jump_to(self, now_us: int) -> None:
        self.now_us, self._now, self._turns = now_us, now_us / 1e6, 0

    def _pop(self) -> asyncio.TimerHandle:
        handle = heapq.heappop(self._scheduled)[3]
        handle._scheduled = False  # type: ignore[attr-defined] # noqa: SLF001 - asyncio's own mark
        if handle.cancelled():
            self._timer_cancelled_count -= 1
        return handle

    def _drop_cancelled(self) -> None:
        """Let go of cancelled timers that lie ahead: of each check's timeout there is one."""
        kept = [entry for entry in self._scheduled if not entry[3].cancelled()]
        for _, _, _, handle in self._scheduled:
            handle._scheduled = not handle.cancelled()  # type: ignore[attr-defined] # noqa: SLF001
        heapq.heapify(kept)
        self._scheduled[:] = kept
        self._timer_cancelled_count = 0

    def _moment(self) -> str:
        return f"at {format_duration(self.now_us * _MICROSECOND)} of virtual time"

    def _list_tasks(self) -> str:
        quiet = set() if self._lulls is None else self._lulls.tasks()
        tasks = [each for each in asyncio.all_tasks(self) if each not in quiet]
        listed = list_tasks(sorted(tasks, key=lambda task: getattr(task, "number", 0)))
        if quiet:
            listed += f"\n  and the checks of {len(quiet)} endpoints, which find the same for ever"
        return listed

    @property
    def has_asyncgens(self) -> bool:
        """Whether an asynchronous generator has begun in it and not ended."""
        return bool(self._asyncgens)

    # Tasks and threads.

    def create_task(
        self,
        coro: Generator[Any, None, _Result] | Coroutine[Any, Any, _Result],
        *,
        name: object = None,
        context: Context | None = None,
        **more: Any,  # what later Pythons add
    ) -> asyncio.Task[_Result]:
        """Run a coroutine as a task, numbered, and named by its number if not otherwise."""
        self._check_closed()
        if self._task_factory is not None:
            return super().create_task(coro, name=name, context=context, **more)
        number = next(self._tasks)
        name = f"Task-{number}" if name is None else str(name)
        return _NumberedTask(number, coro, loop=self, name=name, context=context, **more)

    def run_in_executor(
        self,
        executor: object,  # noqa: ARG002 - there is but one thread
        func: Callable[[*_Args], _Result],
        *args: *_Args,
    ) -> asyncio.Future[_Result]:
        """Call a function in this thread, in no virtual time, whichever executor was meant."""
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        future: asyncio.Future[_Result] = self.create_future()
        self.call_soon(self._call_inline, future, func, args)
        return future

    def _call_inline(
        self,
        future: asyncio.Future[_Result],
        func: Callable[[*_Args], _Result],
        args: tuple[*_Args],
    ) -> None:
        if future.cancelled():
            return
        events._set_running_loop(None)  # noqa: SLF001 - as in a thread of its own, no loop runs
        self._inline = True
        try:
            result = func(*args)
        except KeyboardInterrupt:
            future.cancel()
            raise
        except StopIteration as error:  # which a future can't hold
            late = RuntimeError(f"{func!r:.200} raised StopIteration")
            late.__cause__ = error
            future.set_exception(late)
        except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._inline = False
            events._set_running_loop(self)  # noqa: SLF001 - likewise

    def set_default_executor(self, executor: object) -> None:
        """Takes any executor, and never uses it."""

    def call_soon_threadsafe(
        self,
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call a function in the next turn; refused to every other thread.

        Raises:
            RealIOError: called from a thread that is not the loop's.
        """
        if self._inline or threading.get_ident() != (self._thread_id or self._home):
            error = refusal("a call from another thread")
            self.escaped = self.escaped or error
            raise error
        return self.call_soon(callback, *args, context=context)

    # What was never added.

    def remove_reader(self, fd: object) -> bool:  # noqa: ARG002 - whatever it is
        """Says that there was none."""
        return False

    def remove_writer(self, fd: object) -> bool:  # noqa: ARG002 - likewise
        """Says that there was none."""
        return False

    def remove_signal_handler(self, sig: object) -> bool:  # noqa: ARG002 - whatever it is
        """Says that there was none."""
        return False


for _name, _what in REFUSED.items():
    setattr(VirtualLoop, _name, refused(_name, _what))
