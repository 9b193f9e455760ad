"""A web server is killed with ``kill -9``; its standby takes over; a client says how long it took.

Two servers run as processes of their own. A client requests over and over from whichever one the
failover manager names. What the client could not get is the outage: the RTO is measured where users
would feel it, not where the manager believes that it has switched.

With a check every 200 ms and three failures to go down, detection takes 0.4 to 0.6 s; the report
shows when the manager noticed beside when the client was served again.
"""

import aiohttp
import pytest

pytestmark = [pytest.mark.dr_service("web"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("10s", hold="500ms")
async def test_standby_serves_after_kill_9(
    web_servers, failover_manager, faults, drill, rto_timer, rpo_timer
):
    rpo_timer.not_applicable("the web tier holds no data")  # the tier's RPO, answered for
    primary, standby = web_servers("primary", "standby")
    endpoints = [primary.endpoint, standby.endpoint]
    answers = []

    async with (
        failover_manager(endpoints, failure_threshold=3, check_interval="200ms") as manager,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as client,
    ):

        async def request():
            active = manager.get_active_endpoint()
            if active is None:
                return False
            async with client.get(active.url) as answer:
                answers.append(await answer.text())
                return answer.status == 200

        drill.require("the primary serves", await request() and answers == ["primary"])
        with rto_timer.outage():
            faults.kill_process(primary.process)
            await rto_timer.until(request, interval="20ms")  # the client keeps requesting

    assert set(answers[1:]) == {"standby"}
    drill.metric("requests answered by the standby", len(answers) - 1)
