"""Drills that ask for the simulated world itself: hosts, disks, clocks and the network."""

from __future__ import annotations

DRILL = """
@pytest.mark.rto("2m")
{kind}def test_it(simulated_world, rto_timer, drill):
    (host,) = simulated_world.hosts("db-1", boot_time="40s")
    (database,) = simulated_world.endpoints("database", place=host)
    simulated_world.network.everywhere(latency=Latency.exponential("20ms"), loss=0.05)
    host.disk.write("journal", b"not fsynced")
    with rto_timer.outage():
        host.lose_power(keep="prefix")
        host.restart_at("5s")
        {wait}
    drill.note(host.disk.read("journal").decode())
"""
ASYNC = DRILL.format(
    kind="async ",
    wait='await rto_timer.until(lambda: host.is_up, interval="100ms")',
)
SYNC = DRILL.format(kind="", wait='rto_timer.wait_until(lambda: host.is_up, interval="100ms")')


def test_who_asks_for_the_world_runs_in_virtual_time(drills):
    for source in (ASYNC, SYNC):
        outcome = drills(source)
        outcome.result.assert_outcomes(passed=1)
        (drill,) = outcome.drills.values()
        assert (drill["mode"], drill["rto"]["actual_s"]) == ("simulated", 45)
        events = [event["event"] for event in drill["timeline"]]
        for event in ("network changes", "db-1 loses power", "db-1 boots"):
            assert events.count(event) == 1
        again = drills(source).drills["test_it"]
        assert (again["timeline"], again["notes"]) == (drill["timeline"], drill["notes"])


def test_a_replay_goes_the_same_way_and_another_seed_does_not(drills):
    drills(ASYNC, "--dr-check-replay").result.assert_outcomes(passed=2)
    runs = [drills(ASYNC, f"--dr-seed={seed}").drills["test_it"] for seed in (1, 2, 3)]
    assert len({str(run["notes"]) for run in runs}) > 1


def test_each_example_has_the_hosts_of_the_set_up_as_they_were(drills):
    source = """
from hypothesis import HealthCheck, given, settings, strategies as st
@pytest.fixture
def host(simulated_world):
    (host,) = simulated_world.hosts("db", boot_time="1s")
    host.disk.replace("journal", b"of the set-up")
    return host
quick = settings(
    max_examples=5, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@quick
@given(n=st.integers(1, 9))
@pytest.mark.dr_service("orders")
async def test_drill(simulated_world, host, n):
    assert host.is_up and host.disk.read("journal") == b"of the set-up"
    simulated_world.network.partition("db")
    host.disk.write("journal", b"x" * n)
    host.lose_power()
    simulated_world.hosts("passing")
"""
    drills(source).result.assert_outcomes(passed=1)
