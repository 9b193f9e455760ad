"""A site in memory that a takeover works on: who accepts writes, who gets traffic, what fails."""

from __future__ import annotations

import asyncio
import contextlib

from failover_world import MemoryProber, VirtualClock, endpoint

from pytest_drdrill.failover import FailoverManager, FencingProof


class Site:
    """Fencer, promoter and switch in one, and the truth about its nodes.

    ``faults[step]`` are words for the next calls of ``fence``, ``promote``, ``activate`` and
    ``deactivate``: ``ok``, ``fails``, ``fails late`` (it raises, but took effect), ``hangs``,
    ``hangs late`` (it took effect), ``late`` (it answers too late) and, of a fence, ``unproven``.
    """

    def __init__(self, *names, takes=0.0, **faults):
        self.accepting = {names[0]}
        self.served = set()
        self.takes = takes
        self.faults = {step: list(words) for step, words in faults.items()}
        self.log = []
        self.most_accepting = 1

    async def _do(self, step, name, effect):
        self.log.append((step, name))
        words = self.faults.get(step, [])
        word = words.pop(0) if words else "ok"
        if self.takes:
            await asyncio.sleep(self.takes)
        if word in ("ok", "fails late", "hangs late", "late", "unproven"):
            effect(name)
            self.most_accepting = max(self.most_accepting, len(self.accepting))
        if word.startswith("fails"):
            raise OSError(f"{step} of {name} broke")
        if word.startswith("hangs"):
            await asyncio.get_running_loop().create_future()
        if word == "late":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
        return None if word == "unproven" else FencingProof("write_refused", "it said no")

    async def fence(self, endpoint):
        return await self._do("fence", endpoint.name, self.accepting.discard)

    async def promote(self, endpoint):
        await self._do("promote", endpoint.name, self.accepting.add)

    async def activate(self, endpoint):
        await self._do("activate", endpoint.name, self.served.add)

    async def deactivate(self, endpoint):
        await self._do("deactivate", endpoint.name, self.served.discard)

    def manager(self, names="ab", **settings):
        fates = {key: settings.pop(key) for key in tuple(settings) if len(key) == 1}
        settings.setdefault("check_interval", "10s")
        settings.setdefault("step_timeout", "3s")
        return FailoverManager(
            [endpoint(name) for name in names],
            **{"fencer": self, "promoter": self, "switch": self} | settings,
            prober=MemoryProber(**fates),
            clock=VirtualClock(),
        )


def told(manager, *kinds):
    """The events of these kinds, in short."""
    return [
        (each.monotonic, each.kind, each.endpoint or (each.old, each.new))
        for each in manager.events
        if each.kind in kinds
    ]
