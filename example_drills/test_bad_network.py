"""Orders go through a network that is slow, breaks off, and then lets no answer come back.

The shop is a web server of its own process, and the network to it is real: a proxy that delays
everything, then resets every connection, then lets requests through and holds their answers back
for a second. A request that was carried out and never answered looks to its client like one that
never arrived. So the client gives each 300 ms and tries again, and an order is a PUT under its own
number, which does no harm twice.

The canary is that client, with an order every 20 ms. No order fails, none is lost; what users
notice is a wait of little more than the second for which the answers were held back.
"""

import asyncio

import aiohttp
import pytest

pytestmark = [pytest.mark.dr_service("shop"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("5s")
@pytest.mark.rpo("0s")
async def test_orders_get_through_a_bad_network(web_servers, fault_proxy, canary, drill, rto_timer):
    (server,) = web_servers("shop")
    proxy = fault_proxy(server.address)
    shop = f"http://{proxy.address}/orders"
    tries = 0

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as client:

        async def order(number, what):
            nonlocal tries
            while True:  # the canary's own timeout says how long a user would wait
                tries += 1
                try:
                    async with client.put(f"{shop}/{number}", data=what) as answer:
                        return answer.status == 200
                except (aiohttp.ClientConnectionError, TimeoutError):
                    await asyncio.sleep(0.02)

        async def orders():
            async with client.get(shop) as answer:
                return await answer.json()

        async with canary(write=order, read_all=orders, interval="20ms", timeout="5s") as customer:
            with rto_timer.outage(expect_downtime=False):  # the retries are there to prevent it
                with proxy.latency("40ms", jitter="20ms"):
                    await asyncio.sleep(0.5)
                proxy.reset()
                await asyncio.sleep(0.1)
                with proxy.blackhole(direction="to_client"):
                    await asyncio.sleep(1)
        found = await customer.verify()

    assert (found.failed, found.indeterminate) == (0, 0)
    assert 1 <= found.longest_gap.total_seconds() < 5  # the network was as bad as it was meant to
    drill.metric("tries beyond the first", tries - found.acknowledged)
