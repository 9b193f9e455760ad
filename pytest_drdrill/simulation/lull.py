"""Lulls: the time in which checks would find the same again, so that they need not be made.

A loop runs the timers of one instant in the order in which they were set, and each check sets the
timer of the next one. So a check that is left out has to keep its place in that order, or what
happens at its instant would come before it in one run and after it in another. It does so without
being made:

- Waits for the same instants, again and again at the same interval, make up a rhythm, and keep
  their order among themselves. In it they lie in blocks: neighbours, between which no other timer
  was set.
- Where nothing else happens at an instant, nobody can tell: it is passed over, and its blocks are
  one from then on, set at that instant and thus after whatever was set before.
- Where anything else happens, each block has its turn, as the timer and the tasks of its checks
  would have had theirs, and is set anew.
- A wait that is ended leaves its block in that very turn, and its check is made there and then.
- A check that takes time is passed over only where nothing else happens while it is under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context

    from pytest_drdrill.simulation.loop import VirtualLoop

_FIRST = (-1, 0)
"""The place of a timer that only has to be there: it comes before all others of its instant."""
_MOST_SLOW = 16
"""Rhythms of checks that take time; more of them are under way most of the time."""


class Lull(asyncio.Future[None]):
    """One wait of a task for the next check that must be made; whoever awaits it goes on then.

    Args:
        lulls: all of them.
        rhythm: that of the checks.
        first: microsecond of the first of them.

    Attributes:
        passed: the checks that were passed over, once it is done.
        task: who waits.
    """

    def __init__(self, lulls: Lulls, rhythm: _Rhythm, first: int) -> None:
        super().__init__(loop=lulls.loop)
        self.passed = 0
        self.task = asyncio.current_task(lulls.loop)
        self._lulls = lulls
        self._rhythm = rhythm
        self._first = first
        self._planned: asyncio.TimerHandle | None = None
        self._waker: tuple[Callable[[Lull], object], Context | None] | None = None

    def plan_end(self, moment: int) -> None:
        """Have it end with the check of a moment that is still to come."""
        self._planned = self._lulls.loop.schedule_as(moment, _FIRST, self.end)

    def end(self) -> None:
        """Have its next check be made, as it may find something else."""
        rhythm = self._rhythm
        if self.done() or self in rhythm.called:
            return
        rhythm.called.add(self)
        if any(self in block.members for block in rhythm.turn):
            return
        upcoming = rhythm.upcoming
        if rhythm.rung != upcoming:
            # Something has to happen then, or the instant would be passed over.
            rhythm.rung = upcoming
            self._lulls.loop.schedule_as(upcoming, _FIRST, _happen)

    def check_now(self) -> None:
        """Have its task, which has left its block, make the check in this very turn of the loop."""
        self._over(self._lulls.loop.now_us)
        waker, self._waker = self._waker, None
        self.set_result(None)  # which by itself would wake the task a turn too late
        if waker is not None:
            wake, context = waker
            if context is None:
                wake(self)
            else:
                context.run(wake, self)

    # What a task does with the future that it awaits.

    def add_done_callback(
        self, fn: Callable[[Lull], object], /, *, context: Context | None = None
    ) -> None:
        """Keeps what wakes the task that waits; there is one, and nobody else."""
        self._waker = (fn, context)

    def cancel(self, msg: Any | None = None) -> bool:
        """End it by a cancellation; too late, as of any wait, when its timer has fired."""
        if self.done():
            return False
        if any(block.due and self in block.members for block in self._rhythm.turn):
            self.end()
            return False
        self._leave()
        return super().cancel(msg)

    def _leave(self) -> None:
        rhythm = self._rhythm
        for block in chain(rhythm.turn, rhythm.blocks):
            if self in block.members:
                block.members.remove(self)
                in_turn = block in rhythm.turn
                self._over(self._lulls.loop.now_us if in_turn else rhythm.upcoming)
                break
        if self._waker is not None:  # from now on it is a future like any other
            wake, context = self._waker
            super().add_done_callback(wake, context=context)

    def _over(self, check: int) -> None:
        """It is over with the check of a moment, which is not passed over any more."""
        self._rhythm.called.discard(self)
        self.passed = (check - self._first) // self._rhythm.every
        if self._planned is not None:
            self._planned.cancel()
        self._lulls.count -= 1
        self._lulls.forget_if_over(self._rhythm)


class _Block:
    """Neighbours of a rhythm.

    Attributes:
        members: they, in order.
        place: of their timer in the order of its instant.
        last: the last number that stands for them there.
        due: whether their timer has fired, so that their checks are about to begin.
    """

    __slots__ = ("due", "last", "members", "place")

    def __init__(self, members: Iterable[Lull], place: tuple[int, int]) -> None:
        self.members = deque(members)
        self.place = place
        self.last = place[1]
        self.due = False


class _Rhythm:
    """The instants of checks at one interval, in microseconds.

    Attributes:
        every: the interval.
        takes: how long each of the checks takes.
        next: the start of the first check since its blocks were set.
        blocks: who waits for the next check, in order.
        turn: who waits for the check of the present instant and has not had his turn.
        called: those whose next check must be made.
        rung: the last instant at which something was made to happen.
    """

    __slots__ = ("_loop", "blocks", "called", "every", "next", "rung", "takes", "turn")

    def __init__(self, loop: VirtualLoop, first: int, every: int, takes: int) -> None:
        self._loop = loop
        self.every = every
        self.takes = takes
        self.next = first
        self.blocks: list[_Block] = []
        self.turn: list[_Block] = []
        self.called: set[Lull] = set()
        self.rung = 0

    @property
    def is_over(self) -> bool:
        """Whether nobody waits."""
        return not any(block.members for block in chain(self.blocks, self.turn))

    @property
    def upcoming(self) -> int:
        """The start of the first check after the present instant."""
        now = self._loop.now_us
        return now + self.every - (now - self.next) % self.every

    def start_around(self, moment: int) -> int:
        """The start of the first check, of those to come, that is not over before a moment."""
        upcoming = self.upcoming
        over = (moment - 1 - self.takes - upcoming) // self.every + 1
        return upcoming + max(over, 0) * self.every

    def set(self, members: Iterable[Lull]) -> None:
        """Have them wait for the next check, after all whose timers were set before."""
        now, number = self._loop.next_place()
        before = self.blocks[-1] if self.blocks else None
        if before is not None and before.last == number - 1:
            before.members.extend(members)
            before.last = number
        else:
            self.blocks.append(_Block(members, (now, number)))

    def catch_up(self, start: int) -> None:
        """Pass over all checks before that which starts at a moment, the next of all."""
        if start == self.next:
            return
        self.next = start
        # They set their timers when nothing else happened, or they would have had their turn then:
        # nothing but another rhythm, whose own timers of that moment were set at another one.
        place = (start - self.every + self.takes, -(self.takes or self.every))
        self.blocks = [_Block(chain.from_iterable(each.members for each in self.blocks), place)]

    def take_turn(self, start: int) -> None:
        """Have those who wait for the check that starts at a moment be about to have their turn."""
        self.catch_up(start)
        self.turn, self.blocks = self.blocks, []
        self.next += self.every


class Lulls:
    """All lulls of a loop.

    Args:
        loop: the loop.

    Attributes:
        loop: as given.
        count: of those that are going on.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.count = 0
        # By interval and what a check takes, then by the start of a check within the interval.
        self._rhythms: dict[tuple[int, int], dict[int, _Rhythm]] = {}

    def begin(self, first: int, every: int, takes: int, until: int | None) -> Lull | None:
        """A lull of the current task, in place of the timer of its next check; to be awaited.

        Args:
            first: microsecond of that check.
            every: microseconds from the start of one check to that of the next.
            takes: microseconds that each takes.
            until: microsecond from which on a check may find something else; None: none may.

        Returns:
            None where there is nothing to pass over.
        """
        if until is not None and until - takes <= first:
            return None
        found = self._rhythms.get((every, takes), {})
        rhythm = found.get(first % every)
        if rhythm is None:
            # With halves of the interval the order of rhythms would hang on all of their past.
            if takes and (takes >= every or 2 * takes == every or len(found) >= _MOST_SLOW):
                return None
            rhythm = _Rhythm(self.loop, first, every, takes)
        if rhythm.upcoming != first:
            return None
        rhythm.catch_up(first)
        self._rhythms.setdefault((every, takes), {})[first % every] = rhythm
        lull = Lull(self, rhythm, first)
        rhythm.set([lull])
        self.count += 1
        if until is not None:
            lull.plan_end(until - takes + (first - until + takes) % every)
        return lull

    def forget_if_over(self, rhythm: _Rhythm) -> None:
        """Let go of a rhythm for which nobody waits."""
        found = self._rhythms.get((rhythm.every, rhythm.takes), {})
        phase = rhythm.next % rhythm.every
        if rhythm.is_over and found.get(phase) is rhythm:
            del found[phase]
            if not found:
                del self._rhythms[rhythm.every, rhythm.takes]

    def halt_before(self, moment: int) -> int:
        """The first check that must be made before a moment, as else it would be under way there.

        Returns:
            When it starts; the moment where there is no such check.
        """
        slow = [
            rhythm
            for (_, takes), found in self._rhythms.items()
            if takes
            for rhythm in found.values()
        ]
        # No other one need be made for the sake of that: nobody else does anything when it starts,
        # and what was to happen at the moment comes after the end of all that are under way then.
        return min((moment, *(each.start_around(moment) for each in slow)))

    def last_before(self, moment: int) -> int:
        """When the last check before a moment is over, where all are; 0 where there is none."""
        rhythms = chain.from_iterable(found.values() for found in self._rhythms.values())
        ends = (each.start_around(moment) - each.every + each.takes for each in rhythms)
        return max((each for each in ends if each > self.loop.now_us), default=0)

    def arrive(self, moment: int) -> None:
        """Let those that have a check at a moment, the next of all, have their turns there."""
        for (every, _), found in self._rhythms.items():
            rhythm = found.get(moment % every)
            if rhythm is None:
                continue
            rhythm.take_turn(moment)
            for block in rhythm.turn:
                self.loop.schedule_as(moment, block.place, self._fire, rhythm, block)

    def tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks that wait in a lull."""
        rhythms = chain.from_iterable(found.values() for found in self._rhythms.values())
        blocks = chain.from_iterable(chain(each.blocks, each.turn) for each in rhythms)
        lulls = chain.from_iterable(block.members for block in blocks)
        return {each.task for each in lulls if each.task is not None}

    def _fire(self, rhythm: _Rhythm, block: _Block) -> None:
        """What the timers of a block do: have the tasks go on in the next turn of the loop."""
        block.due = True
        self.loop.call_soon(self._take_turn, rhythm, block)

    def _take_turn(self, rhythm: _Rhythm, block: _Block) -> None:
        """What the tasks of a block do: check, and set their timers anew."""
        quiet: list[Lull] = []
        try:
            # Each check that is made may end further lulls, of this block too.
            while block.members and (rhythm.called or rhythm.takes):
                lull = block.members.popleft()
                if not rhythm.takes and lull not in rhythm.called:
                    quiet.append(lull)
                    continue
                if quiet:
                    rhythm.set(quiet)
                    quiet = []
                lull.check_now()
        finally:
            rhythm.turn.remove(block)
            if quiet or block.members:
                rhythm.set([*quiet, *block.members])


def _happen() -> None:
    """Nothing, but at its time."""
