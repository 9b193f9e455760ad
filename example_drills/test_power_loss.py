"""The power fails under the database: what it acknowledged is on the disk, or it is gone.

Simulated, since nobody pulls the plug for a test. The death of a process costs no byte of what it
wrote, so a drill with ``kill -9`` passes whether or not the database fsyncs. Here the host itself
stops dead, and its disk keeps what was fsynced and, as disks do, an accidental part of the rest.
"""

import pytest

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("critical")]


class Database:
    """Appends each order to a journal, and answers once that is on the disk."""

    def __init__(self, endpoint, disk):
        self.endpoint, self.disk = endpoint, disk

    async def write(self, key, value):
        """Take an order, as soon as somebody hears it."""
        await self.endpoint.request(lambda: self._append(f"{key} {value}\n".encode()))

    def _append(self, line):
        self.disk.write("journal", line)
        self.disk.fsync("journal")

    def read_all(self):
        """Every order that the journal has to the end of its line."""
        lines = self.disk.read("journal").decode().split("\n")[:-1]
        return dict(line.split(" ", 1) for line in lines)


@pytest.mark.disaster("technical")
@pytest.mark.rto("1m")
@pytest.mark.rpo("0s")
async def test_confirmed_orders_outlive_the_power(simulated_world, canary, drill, rto_timer):
    (host,) = simulated_world.hosts("db-1", boot_time="40s")
    (endpoint,) = simulated_world.endpoints("database", place=host, service_time="3ms")
    simulated_world.network.everywhere(latency="2ms")
    database = Database(endpoint, host.disk)

    async with canary(
        write=database.write, read_all=database.read_all, interval="100ms", timeout="1s"
    ) as customer:
        await drill.clock.sleep(10)
        with rto_timer.outage("the power fails"):
            host.lose_power(keep="prefix")
            await drill.clock.sleep(5)
            host.restart()
            await rto_timer.until(lambda: host.is_up, interval="100ms", hold="2s")

    found = await customer.verify()
    assert not found.corrupted
    assert host.disk.losses == 1
