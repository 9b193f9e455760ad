"""Who leads: leases, fencing and epochs, so that never two regions acknowledge writes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_drdrill.replication.errors import PromotionFailed, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_drdrill.replication.changes import History
    from pytest_drdrill.replication.leadership import Parts
    from pytest_drdrill.replication.region import Replica

_RENEWALS = 3
"""Renewals of a lease in its time: one that is lost costs nothing yet."""


class Control:
    """Gives one region at a time the right to acknowledge writes, from outside of all of them.

    Args:
        replicas: the regions, by name.
        parts: what it shares with everybody else.

    Attributes:
        epoch: the highest that was ever asked for.
    """

    def __init__(self, replicas: Mapping[str, Replica], parts: Parts) -> None:
        self._replicas = replicas
        self._parts = parts
        self.epoch = 0
        self._holder: tuple[Replica, int] | None = None
        self._lease_until = 0.0  # no region has one beyond this moment

    async def reach(self, name: str) -> None:
        """Ask a region whether it is there.

        Raises:
            ConnectionError: no answer.
        """
        await self._parts.network.carry(None, name)
        await self._parts.network.carry(name, None)

    def next_epoch(self) -> int:
        """An epoch later than all that anybody has promised."""
        promised = (each.store.epoch for each in self._replicas.values())
        self.epoch = max(self.epoch, *promised) + 1
        return self.epoch

    async def survey(self, names: Iterable[str], epoch: int) -> dict[str, History]:
        """Have regions promise an epoch; returns how far those go that did.

        Raises:
            PromotionFailed: one has promised a later epoch: somebody else promotes too.
        """
        found = {}
        for name in names:
            try:
                await self._parts.network.carry(None, name)
                history = self._replicas[name].promise(epoch)
                await self._parts.network.carry(name, None)
            except OSError:  # it can't be reached, or can't write the promise down
                continue
            except StaleEpochError as error:
                raise PromotionFailed(f"{name} is promoted by somebody else: {error}") from None
            found[name] = history
        return found

    async def grant(self, replica: Replica, epoch: int) -> None:
        """Let a region take writes for the time of a lease, and again and again from then on.

        Raises:
            ConnectionError: it does not answer; it may have the lease all the same.
            StaleEpochError: it has promised a later epoch.
        """
        self._holder = (replica, epoch)
        await self.renew()

    async def renew(self) -> None:
        """Prolong the lease of whoever has it.

        Raises:
            ConnectionError: it does not answer; its lease may be longer all the same.
            StaleEpochError: it has promised a later epoch.
        """
        if self._holder is None:
            return
        replica, epoch = self._holder
        clock = self._parts.clock
        until = clock.monotonic() + self._parts.settings.lease
        self._lease_until = until  # before it is sent: whether it arrives may never be known
        await self._parts.network.carry(None, replica.name)
        if self._holder == (replica, epoch):
            replica.lead(epoch, until, clock.monotonic())
        await self._parts.network.carry(replica.name, None)

    async def renew_forever(self) -> None:
        """Prolong the lease, several times in its time, until cancelled."""
        clock, every = self._parts.clock, self._parts.settings.lease / _RENEWALS
        wait = every
        while True:
            await clock.sleep(wait)
            began = clock.monotonic()
            with suppress(OSError, StaleEpochError):  # then it ends by itself
                # One that is not answered must not hold up the next one.
                async with clock.timeout(every):
                    await self.renew()
            wait = max(0.0, every - (clock.monotonic() - began))

    async def fence(self, replica: Replica, epoch: int) -> None:
        """Make sure that a region acknowledges nothing more of an earlier epoch.

        One that answers promises the epoch; of one that can't, the lease is waited for.

        Raises:
            PromotionFailed: it has promised a later epoch.
        """
        self._holder = None
        if await self.survey([replica.name], epoch):
            proof = f"it has promised epoch {epoch}"
        else:
            clock, margin = self._parts.clock, self._parts.settings.lease_margin
            while (left := self._lease_until + margin - clock.monotonic()) > 0:
                if self._holder is not None:
                    raise PromotionFailed("the replication was stopped and started again meanwhile")
                await clock.sleep(left)
            proof = "it promises nothing, and its lease has ended"
        self._parts.record("fenced", replica.name, reason=proof)

    def give_up(self) -> None:
        """Prolong no lease any more."""
        self._holder = None
