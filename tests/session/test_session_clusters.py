"""Clusters as drills get them: on the clock and timeline of the drill, and stopped with it."""

from __future__ import annotations

SOURCE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
left = []

@pytest.mark.rto("2m")
async def test_one_takes_over(simulated_endpoints, active_passive_cluster, rto_timer):
    primary, standby = simulated_endpoints("primary", "standby")
    async with active_passive_cluster(primary, standby, check_interval="20s") as cluster:
        async def client():
            await cluster.route().request()
            return True
        await asyncio.sleep(25)
        with rto_timer.outage():
            primary.fail()
            await rto_timer.until(client, interval="1s")

@pytest.mark.rto("2m")
async def test_the_others_go_on(simulated_endpoints, active_active_cluster, rto_timer):
    endpoints = simulated_endpoints(*"abc", timeout="2s")
    cluster = active_active_cluster(
        endpoints, check_interval="10s", fast_interval="1s", drain_time="0s"
    )
    await cluster.start_monitoring()
    left.append(cluster)
    await cluster.drain("c")
    with rto_timer.outage():
        endpoints[2].fail()  # which nobody notices
        endpoints[0].fail("silent")
        await cluster.wait_until_out_of_rotation("a")

@pytest.mark.rto("2m")
async def test_it_is_watched(simulated_endpoints, failover_manager, rto_timer):
    primary, standby = simulated_endpoints("primary", "standby")
    async with failover_manager(
        [primary, standby], check_interval="10m", fast_interval="1s", watch=True
    ) as manager:
        await asyncio.sleep(77)
        with rto_timer.outage():
            primary.fail()
            await manager.wait_until_active(standby)

@pytest.mark.rto("2m")
async def test_it_hangs_and_then_dies(simulated_endpoints, failover_manager, rto_timer):
    primary, standby = simulated_endpoints("primary", "standby")
    async with failover_manager(
        [primary, standby], check_interval="30s", fast_interval="1s", watch=True
    ) as manager:
        await asyncio.sleep(31)
        with rto_timer.outage():
            primary.fail("silent")
            await asyncio.sleep(20)
            primary.fail()  # a supervisor ends what hangs, which breaks the connection
            await manager.wait_until_active(standby)

@pytest.mark.rto("30s")
async def test_in_real_time(active_passive_cluster, rto_timer):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        def log_message(self, *args): pass
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    a, b = (
        ServiceEndpoint(name, f"http://127.0.0.1:{server.server_port}")
        for name, server in zip("ab", servers)
    )
    cluster = active_passive_cluster(a, b, failure_threshold=2, check_interval="100ms")
    await cluster.start_monitoring()
    left.append(cluster)
    with rto_timer.outage():
        servers[0].shutdown()
        servers[0].server_close()
        await cluster.wait_until_active(b)
        assert cluster.route() is b
    servers[1].shutdown()
    servers[1].server_close()

def test_after():
    assert [cluster.events[-1].kind for cluster in left] == ["monitoring_stopped"] * 2
"""


def test_clusters_live_on_the_drills_clock_and_end_with_it(drills):
    outcome = drills(SOURCE)
    outcome.result.assert_outcomes(passed=6)
    found = outcome.drills

    takes_over = found["test_one_takes_over"]
    assert (takes_over["mode"], takes_over["kinds"]) == ("simulated", ["failover", "rto"])
    assert takes_over["rto"]["outages"][0]["detected_s"] == 55
    assert takes_over["rto"]["actual_s"] == 56  # the client looks once a second
    told = {event["event"]: event["detail"] for event in takes_over["timeline"]}
    assert told["endpoint unhealthy"] == (
        "primary: 3 failed checks in a row: primary refuses connections; "
        "55s after the disaster, as predicted: 40s to 1m5s"
    )
    assert told["monitoring started"].endswith("it is noticed after 40s to 1m5s")

    goes_on = found["test_the_others_go_on"]
    (outage,) = goes_on["rto"]["outages"]
    # Checks are due at 10 s. c is down after two more, a second apart each, but gets no traffic;
    # a is asked again after each timeout, of 2 s.
    assert outage["detected_s"] == outage["actual_s"] == 16
    events = [(event["event"], event["detail"]) for event in goes_on["timeline"]]
    assert ("endpoint removed", "a: it is unhealthy") in events
    noticed = [detail for event, detail in events if event == "endpoint unhealthy"]
    assert noticed[0] == "c: 3 failed checks in a row: c refuses connections"
    assert noticed[1].endswith("; 16s after the disaster, as predicted: 2s to 16s")

    watched = found["test_it_is_watched"]
    assert watched["rto"]["actual_s"] == watched["rto"]["outages"][0]["detected_s"] == 2
    told = {event["event"]: event["detail"] for event in watched["timeline"]}
    assert told["monitoring started"].endswith(
        "it is noticed after 2s to 10m15s, or 2s to 15s where that breaks its connection"
    )
    assert told["connection lost"] == (
        "primary: the connection broke, 1m17s after it was made; checked at once"
    )
    assert told["endpoint unhealthy"].endswith(
        "; 2s after the disaster, as predicted: 2s to 15s by its lost connection"
    )

    late = found["test_it_hangs_and_then_dies"]
    told = {event["event"]: event["detail"] for event in late["timeline"]}
    assert told["endpoint unhealthy"].endswith("; 22s after the disaster, as predicted: 2s to 45s")

    assert found["test_in_real_time"]["mode"] == "local"
    assert 0.1 <= found["test_in_real_time"]["rto"]["outages"][0]["detected_s"] < 30
