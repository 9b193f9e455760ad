"""Changes of the primary: in an emergency with what has arrived, or planned without loss."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.replication.errors import (
    PromotionFailed,
    ReplicationError,
    StaleEpochError,
)
from pytest_drdrill.replication.events import ALONE, Promotion
from pytest_drdrill.replication.leadership import Owed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.replication.acknowledged import Loss
    from pytest_drdrill.replication.changes import Change, History
    from pytest_drdrill.replication.control import Control
    from pytest_drdrill.replication.leadership import Leadership, Parts
    from pytest_drdrill.replication.region import Region, Replica


class Host(Protocol):
    """The replication whose primary changes."""

    @property
    def regions(self) -> tuple[Region, ...]:
        """All of them."""
        ...

    @property
    def leadership(self) -> Leadership:
        """The current one."""
        ...

    @property
    def current(self) -> Leadership | None:
        """The current one, or None where nobody leads."""
        ...

    def replica(self, name: str) -> Replica:
        """One of them, as it acts."""
        ...

    def install(self, name: str, epoch: int, followers: Iterable[str], owed: Owed) -> Leadership:
        """Begin an epoch."""
        ...


class Switchover:
    """One change of the primary. Nobody takes writes between its fence and the new one's lease."""

    def __init__(self, host: Host, control: Control, parts: Parts) -> None:
        self._host = host
        self._control = control
        self._parts = parts
        self._granted: Replica | None = None

    async def promote(self, name: str | None) -> Promotion:
        """Have a secondary take over with what it has.

        Raises:
            PromotionFailed: it can't; the primary is as it was, in a new epoch if it was fenced.
        """
        was = self._host.leadership
        old = was.primary.name
        others = [each.name for each in self._host.regions if each.name != old]
        try:
            await self._check_candidates(name, old, list(was.shippers))
        except PromotionFailed as error:
            self._parts.record("promotion_failed", name, other=old, reason=str(error))
            raise
        epoch = self._control.next_epoch()
        try:
            await self._control.fence(was.primary, epoch)
            # From here on nobody obeys the old primary, so what they hold stays as it is.
            found = await self._control.survey(others, epoch)
            new = self._chosen(name, found, was)
            followers = [each for each in was.shippers if each != new]
            position, loss = await self._begin(was, new, epoch, followers)
        except PromotionFailed as error:
            await self._reinstate(was, name, error)
            raise
        self._parts.record("promotion", new, other=old, reason=_told(loss, epoch))
        if not followers:
            self._parts.record("unprotected", new, reason=ALONE)
        return Promotion(old, new, epoch, position, loss.changes, unlisted=loss.unlisted)

    async def _check_candidates(self, name: str | None, old: str, following: list[str]) -> None:
        if name == old:
            raise PromotionFailed(f"{name} is the primary already")
        answers = [] if following else [f"none follows {old}; one that was left behind has a name"]
        for each in following if name is None else [name]:
            try:
                await self._control.reach(each)
            except ConnectionError as error:
                answers.append(f"{each}: {error}")
            else:
                return
        raise PromotionFailed(f"no region that could take over answers ({'; '.join(answers)})")

    def _chosen(self, name: str | None, found: dict[str, History], was: Leadership) -> str:
        if name is not None:
            if name not in found:
                raise PromotionFailed(f"{name} does not answer any more")
            return name
        # Who was left behind may hold more, but of an epoch that was given up.
        following = [each for each in found if each in was.shippers]
        if not following:
            raise PromotionFailed("no region that follows the primary answers any more")
        return max(following, key=lambda each: found[each].last)

    def _check_complete(self, name: str, found: History, was: Leadership) -> None:
        if found.position < was.position:  # whatever it has said that it flushed
            raise PromotionFailed(
                f"{name} has lost changes: it holds {found.position} of {was.position}"
            )

    def _check_current(self, was: Leadership) -> None:
        if self._host.current is not was:
            raise PromotionFailed("the replication was stopped meanwhile")

    async def _begin(
        self, was: Leadership, new: str, epoch: int, followers: list[str]
    ) -> tuple[int, Loss]:
        """Let a region lead; returns its position, and the acknowledged writes that it lacks."""
        self._check_current(was)
        self._granted = self._host.replica(new)
        try:
            await self._control.grant(self._granted, epoch)
        except (OSError, StaleEpochError) as error:
            raise PromotionFailed(f"{new} does not answer any more: {error}") from None
        # It has the lease, and acknowledges nothing before it is installed: what the old one
        # acknowledged is complete here.
        await was.end(f"{new} took over from {was.primary.name}")
        self._check_current(was)
        history = self._granted.store.history  # by now: it may have lost some since the survey
        loss = was.writes.part_with(history)
        self._host.install(new, epoch, followers, Owed(was.writes))
        return history.position, loss

    async def fail_back(self, name: str, limit: float, discarded: tuple[Change, ...]) -> Promotion:
        """Have a region that has caught up take over, with everything.

        Raises:
            PromotionFailed: it can't; the primary goes on in a new epoch.
        """
        was = self._host.leadership
        old = was.primary.name
        try:
            await self._check_both(name, was)
        except (PromotionFailed, ConnectionError) as error:
            self._parts.record("promotion_failed", name, other=old, reason=str(error))
            raise PromotionFailed(f"no failback to {name}: {error}") from None
        epoch = self._control.next_epoch()
        try:
            await self._control.fence(was.primary, epoch)
            await self._drain(was, name, limit)
            others = [each for each in was.shippers if each != name]
            found = await self._control.survey([name, *others], epoch)
            self._chosen(name, found, was)
            self._check_complete(name, found[name], was)
            position, loss = await self._begin(was, name, epoch, [old, *others])
        except PromotionFailed as error:
            await self._reinstate(was, name, error)
            raise PromotionFailed(f"the failback to {name} failed: {error}") from None
        except asyncio.CancelledError:
            # Who does not wait any longer must not leave behind nobody who takes writes.
            with contextlib.suppress(PromotionFailed):  # which may not hide the cancellation
                await self._reinstate(was, name, PromotionFailed("the failback was cancelled"))
            raise
        self._parts.record("failback", name, other=old, reason=_told(loss, epoch))
        return Promotion(old, name, epoch, position, loss.changes, discarded, loss.unlisted)

    async def _check_both(self, name: str, was: Leadership) -> None:
        old = was.primary.name
        if name == old:
            raise PromotionFailed(f"{name} is the primary already")
        if name not in was.shippers:
            raise PromotionFailed(f"{old} has become the primary meanwhile, and {name} is behind")
        for each in (old, name):
            await self._control.reach(each)

    async def _drain(self, was: Leadership, name: str, limit: float) -> None:
        shipper = was.shippers[name]
        try:
            async with self._parts.clock.timeout(limit):
                while shipper.acked < was.position and shipper.following:
                    await was.progress()
        except (TimeoutError, ReplicationError) as error:
            raise PromotionFailed(
                f"{name} did not take the last {was.position - shipper.acked} changes: "
                f"{error or 'no answer'}"
            ) from None
        if shipper.acked < was.position:
            raise PromotionFailed(
                f"{name} did not take the last {was.position - shipper.acked} changes: their way "
                "was interrupted"
            )

    async def _reinstate(self, was: Leadership, name: str | None, error: Exception) -> None:
        """The primary that was goes on, in an epoch of its own, as soon as it can be reached."""
        old, followers = was.primary.name, list(was.shippers)
        self._parts.record("promotion_failed", name, other=old, reason=str(error))
        if self._host.current is not was:
            return
        epoch = self._control.next_epoch()
        if self._granted is not None:  # it may have the lease, and never have been able to say so
            await self._control.fence(self._granted, epoch)
        await was.end(f"the promotion failed: {error}")
        leadership = self._host.install(old, epoch, followers, was.owed)
        with contextlib.suppress(OSError, StaleEpochError):  # the renewals go on to try
            await self._control.grant(leadership.primary, epoch)


def _told(loss: Loss, epoch: int) -> str:
    told = [f"epoch {epoch}"]
    if loss.unlisted:
        told.append(f"{loss.unlisted} positions are gone whose changes are no longer kept")
    if lost := loss.changes:
        first, last = lost[0].position, lost[-1].position
        told.append(f"{len(lost)} acknowledged writes are lost, positions {first} to {last}")
    elif not loss.unlisted:
        told.append("no acknowledged write is lost")
    return "; ".join(told)
