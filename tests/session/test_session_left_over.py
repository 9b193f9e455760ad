"""What a drill leaves in a loop of its own: if it had broken, that is told."""

from __future__ import annotations

SOURCE = """
pytestmark = pytest.mark.dr_service("orders")
class Prober:
    def __init__(self, breaks): self.breaks, self.asked = breaks, 0
    async def open(self): pass
    async def close(self): pass
    async def probe(self, endpoint):
        self.asked += 1
        if self.breaks and self.asked > 1: raise LookupError("a bug of the prober")
        return ProbeResult(True)
def watch(failover_manager, breaks):
    prober = Prober(breaks)
    manager = failover_manager(
        [ServiceEndpoint("web", "http://127.0.0.1:9")], prober=prober, check_interval="1ms"
    )
    async def main():
        await manager.start_monitoring()
        while manager.is_monitoring and prober.asked < 5: await asyncio.sleep(0)
    asyncio.run(main())
def replicate(replication, breaks):
    def broken(changes): raise LookupError("a bug of the store")
    regions = [Region("a", is_primary=True), Region("b")]
    if breaks: regions[1].store.apply = broken
    data = replication(regions)
    async def main():
        await data.start_replication()
        await data.write("a", 1)
        while breaks and data.is_replicating: await asyncio.sleep(0)
    asyncio.run(main())
def test_sound_monitor(failover_manager): watch(failover_manager, False)
def test_broken_monitor(failover_manager): watch(failover_manager, True)
def test_sound_replication(replication): replicate(replication, False)
def test_broken_replication(replication): replicate(replication, True)
"""


def test_what_had_broken_in_a_loop_that_is_gone_is_told(drills):
    outcome = drills(SOURCE)
    assert outcome.verdicts == {
        "test_sound_monitor": "passed",
        "test_broken_monitor": "failed",
        "test_sound_replication": "passed",
        "test_broken_replication": "failed",
    }
    told = "the failover monitor broke: LookupError('a bug of the prober')"
    assert told in outcome.drills["test_broken_monitor"]["error"]
    told = "the replication broke: LookupError('a bug of the store')"
    assert told in outcome.drills["test_broken_replication"]["error"]
