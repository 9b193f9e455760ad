"""HAProxy moves the traffic off a server that dies, or hangs, and not one request fails.

Two web servers run behind an HAProxy, whose own checks are off: the manager checks, and switches
its servers through the runtime API. Clients keep requesting. What the dying server had taken, or
would have got, HAProxy asks the standby for (``option redispatch``, ``retry-on``): the outage costs
them time, and no request. Without these lines requests fail, as they do with most load balancers.
"""

import asyncio
import time

import aiohttp
import pytest

pytestmark = [pytest.mark.dr_service("web"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("5s", hold="200ms")
@pytest.mark.parametrize("how", ["kill_process", "pause_process"])
async def test_no_request_fails_while_traffic_moves(
    web_servers, haproxy, active_passive_cluster, faults, drill, rto_timer, rpo_timer, how
):
    rpo_timer.not_applicable("the web tier holds no data")
    primary, standby = web_servers("primary", "standby")
    balancer = haproxy([primary.endpoint, standby.endpoint])
    cluster = active_passive_cluster(
        primary.endpoint, standby.endpoint, switch=balancer.traffic, check_interval="200ms"
    )
    answers, failures, took = [], [], []

    async def request(session):
        begun = time.monotonic()
        try:
            async with session.get(balancer.url) as answer:
                text = await answer.text()
                (answers if answer.status == 200 else failures).append(text)
        except aiohttp.ClientError as error:
            failures.append(repr(error))
        took.append(time.monotonic() - begun)

    async def keep_requesting(session):
        while not ended.is_set():
            await request(session)
            await asyncio.sleep(0.002)

    ended = asyncio.Event()
    async with cluster, aiohttp.ClientSession() as session, asyncio.TaskGroup() as clients:
        for _ in range(8):
            clients.create_task(keep_requesting(session))
        await asyncio.sleep(0.3)
        drill.require("the primary serves", set(answers) == {"primary"} and not failures)
        with rto_timer.outage(expect_downtime=False):
            getattr(faults, how)(primary.process)
            await rto_timer.until(lambda: answers[-1] == "standby", interval="5ms")
        ended.set()

    drill.metric("requests", len(took))
    drill.metric("slowest request", max(took), "s")
    drill.metric("failed requests", len(failures))
    assert not failures
