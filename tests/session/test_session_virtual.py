"""Drills in virtual time: who runs in it, what they measure there, and who is left alone."""

from __future__ import annotations

import pytest

DRILL = """
@pytest.mark.rto("2m")
async def test_it(simulated_endpoints, failover_manager, rto_timer, drill):
    primary, standby = simulated_endpoints("primary", "standby")
    async with failover_manager([primary, standby]) as manager:
        with rto_timer.outage():
            primary.fail()
            await manager.wait_until_active(standby)
"""


def test_a_drill_measures_virtual_time_and_says_that_it_is_simulated(drills, mode):
    outcome = drills(DRILL, mode=mode)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.drills.values()
    assert drill["mode"] == "simulated"
    assert drill["rto"]["actual_s"] == 90
    assert drill["rto"]["outages"][0]["detected_s"] == 90
    # Nothing of the wall's clock, whichever day it is.
    assert drill["started"] == "2000-01-01T00:00:00.000Z"
    assert drill["finished"] == "2000-01-01T00:01:30.000Z"
    assert drill["duration_s"] == 90
    events = [(event["at_s"], event["event"], event["detail"]) for event in drill["timeline"]]
    assert (0, "primary fails", "it refuses connections") in events
    assert (90, "failover", "primary to standby: primary is unhealthy") in events
    assert outcome.record["run"]["seed"] == 0
    assert "seed: 0 (--dr-seed=0 replays what was simulated)" in outcome.text
    assert outcome.record["tiers"][0]["mode"] == "simulated"


SHAPES = """
from hypothesis import HealthCheck, given, settings, strategies as st
def virtual(): return type(asyncio.get_running_loop()) is VirtualLoop
quick = settings(
    max_examples=5, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
pytestmark = pytest.mark.dr_service("orders")

async def test_plain(simulated_endpoints):
    began = time.monotonic()
    await asyncio.sleep(86_400)
    assert virtual() and time.monotonic() - began < 60
@pytest.mark.asyncio
async def test_marked(simulated_endpoints): assert virtual()
@pytest.fixture
def pair(simulated_endpoints): return simulated_endpoints("a", "b")
@pytest.mark.parametrize("n", [1, 2])
async def test_through_a_fixture(pair, n): assert virtual() and pair[n - 1].is_up
@pytest.mark.usefixtures("simulated_endpoints")
class TestClass:
    y = 3
    @pytest.fixture(autouse=True)
    def own(self): self.z = 4
    async def test_method(self, tmp_path): assert virtual() and self.y + self.z == 7
    @staticmethod
    async def test_static(): assert virtual()
class TestInherited(TestClass): pass
class TestGiven:
    y = 3
    @quick
    @given(n=st.integers())
    async def test_method(self, simulated_endpoints, n): assert virtual() and self.y == 3
@quick
@given(n=st.integers())
@pytest.mark.parametrize("p", "xy")
async def test_given(simulated_endpoints, drill, p, n):
    simulated_endpoints("a", "b")  # their names are free in each example
    assert virtual() and asyncio.get_running_loop().time() == 0 == drill.clock.monotonic()
    await asyncio.sleep(3)
@quick
@given(n=st.integers())
def test_given_sync(pair, drill, n):
    assert drill.clock.monotonic() == 0 and pair[0].is_up
    pair[0].fail()
    drill.sleep("3m")
def test_sync(pair, drill):
    pair[0].fail_at("1h")
    drill.sleep("1h")
    assert drill.clock.monotonic() == 3600 and not pair[0].is_up
"""
HOW = {
    "strict": (),
    "auto": ("-o", "asyncio_mode=auto"),
    "without": ("-p", "no:asyncio", "-o", "markers=asyncio: known"),
    "n2": ("-n2",),
}


@pytest.mark.parametrize("how", HOW)
def test_every_shape_of_test_runs_in_virtual_time(drills, how):
    outcome = drills(SHAPES, *HOW[how], mode="n0", subprocess=True)
    outcome.result.assert_outcomes(passed=13)
    assert {drill["mode"] for drill in outcome.drills.values()} == {"simulated"}
    assert {drill["started"][:10] for drill in outcome.drills.values()} == {"2000-01-01"}
    assert outcome.drills["test_sync"]["duration_s"] == 3600


def test_ordinary_tests_have_a_world_too(drills):
    source = """
from hypothesis import HealthCheck, given, settings, strategies as st
async def test_it(simulated_endpoints, failover_manager):
    a, b = simulated_endpoints("a", "b")
    manager = failover_manager([a, b])
    await manager.start_monitoring()  # and nobody stops it
    a.fail()
    await manager.wait_until_active(b)
    loops.append(asyncio.get_running_loop())
    assert loops[0].time() == 90
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers())
def test_given(simulated_endpoints, n):
    a, = simulated_endpoints("a")
    a.fail()
loops = []
def test_gone(): assert loops[0].is_closed()
"""
    outcome = drills(source, "--dr-tier=critical", "--dr-seed=3")
    assert outcome.record["run"]["selection"]["deselected"] == 3
    outcome = drills(source, report=False, subprocess=True)
    outcome.result.assert_outcomes(passed=3)
    assert "disaster recovery" not in outcome.text


def test_module_wide_asyncio_marks_do_no_harm(drills):
    source = """
pytestmark = [pytest.mark.asyncio, pytest.mark.dr_service("x")]
async def test_simulated(simulated_endpoints):
    assert type(asyncio.get_running_loop()) is VirtualLoop
async def test_local():
    assert type(asyncio.get_running_loop()) is not VirtualLoop
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(passed=2)
    assert [drill["mode"] for drill in outcome.drills.values()] == ["simulated", "local"]


def test_timers_of_synchronous_drills_take_virtual_time_too(drills):
    source = """
@pytest.mark.rto("10m", hold="1m")
@pytest.mark.rpo("1h")
def test_it(simulated_endpoints, rto_timer, rpo_timer, drill):
    service, = simulated_endpoints("service")
    rpo_timer.acknowledged("early")
    drill.sleep("30m")
    rpo_timer.acknowledged("late")
    with rto_timer.outage():
        service.fail()
        service.recover_at("34m")
        rto_timer.wait_until(lambda: service.is_up, interval="10s")
    rpo_timer.survived(["early"])
"""
    outcome = drills(source)
    drill = outcome.drills["test_it"]
    assert drill["verdict"] == "passed"
    assert drill["rto"]["actual_s"] == 240
    assert drill["rto"]["outages"][0]["held_s"] == 60
    assert drill["rpo"]["actual_s"] == 0
    assert drill["duration_s"] == 1800 + 240 + 60


@pytest.mark.parametrize("how", ["promise", "assertion"])
def test_what_fails_shrinks_in_virtual_time(drills, how):
    source = """
from hypothesis import HealthCheck, given, settings, strategies as st
@pytest.mark.rto("2m")
@settings(
    max_examples=50, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(threshold=st.integers(1, 9))
async def test_it(simulated_endpoints, failover_manager, rto_timer, threshold):
    primary, standby = simulated_endpoints("primary", "standby")
    manager = failover_manager([primary, standby], threshold)
    await manager.start_monitoring()  # and nobody stops it
    with rto_timer.outage():
        primary.fail()
        await manager.wait_until_active(standby)
    assert threshold < LIMIT
"""
    outcome = drills(source.replace("LIMIT", "5" if how == "assertion" else "99"))
    outcome.result.assert_outcomes(failed=1)
    drill = outcome.drills["test_it"]
    error = {
        "promise": "RTOExceeded: RTO of 2m exceeded: recovered after 2m30s",
        "assertion": "assert 5 < 5",
    }
    assert drill["error"].startswith(error[how])
    assert drill["rto"]["actual_s"] == 150
    assert "threshold=5," in outcome.text
    events = [event["event"] for event in drill["timeline"]]
    assert events.count("monitoring started") == events.count("monitoring stopped") == 1


def test_the_seed_decides_and_runs_of_a_repeat_have_one_each(drills, mode):
    source = """
@pytest.mark.dr_service("x")
async def test_it(simulated_endpoints, failover_manager, drill):
    a, b = simulated_endpoints("a", "b")
    async with failover_manager([a, b], jitter="9s") as manager:
        await drill.clock.sleep(1)
        drill.metric("first round ended", manager.events[-1].monotonic)
"""

    def found(*args):
        outcome = drills(source, *args, mode=mode)
        assert outcome.ret == 0
        metrics = [drill["metrics"][0]["value"] for drill in outcome.drills.values()]
        return outcome.record["run"]["seed"], metrics

    seed, first = found()
    assert seed == 0
    assert found("--dr-seed=7") == found("-o", "dr_seed=7")
    assert found("--dr-seed=7") != (7, first)
    seed, repeated = found("--dr-repeat=3", "--dr-seed=0")
    assert repeated[:1] == first
    assert len(set(repeated)) == 3
    assert found("--dr-seed=2")[1] == repeated[2:]


def test_a_seed_is_shown_where_it_was_given_and_recorded_where_it_mattered(drills):
    local = '@pytest.mark.dr_service("x")\ndef test_it(): pass\n'
    outcome = drills(local, "--dr-seed=5")
    assert "drdrill: seed: 5" in outcome.text
    assert outcome.record["run"]["seed"] is None
    for wrong in ("x", "-1", "1.5", ""):
        outcome = drills(local, f"--dr-seed={wrong}", report=False)
        assert outcome.ret == pytest.ExitCode.USAGE_ERROR
        outcome.result.stderr.fnmatch_lines(
            [f"ERROR: --dr-seed: '{wrong}' is no whole number from 0 on"]
        )
    outcome = drills(local, "-o", "dr_seed=x", report=False)
    outcome.result.stderr.fnmatch_lines(["ERROR: dr_seed: 'x' is no whole number from 0 on"])


# What goes wrong.


def test_nothing_left_to_wait_for_fails_the_drill_with_who_waits(drills):
    source = """
@pytest.mark.rto("2m")
async def test_it(simulated_endpoints, rto_timer):
    a, = simulated_endpoints("a")
    with rto_timer.outage():
        a.fail("silent")
        await a.request()
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1)
    outcome.result.stdout.fnmatch_lines(
        [
            "E   *DeadlockError: waiting for what can never come, at 0s of virtual time:*",
            "* Task-1: test_it (test_it.py:*) > request (endpoint.py:*",
            "*NotRecovered: still open when the drill ended*",
        ]
    )
    assert "base_events.py" not in outcome.text
    assert "virtual.py" not in outcome.text


def test_real_io_fails_the_drill_even_where_a_check_swallows_it(drills):
    source = """
@pytest.mark.rto("2m")
async def test_it(simulated_endpoints, rto_timer):
    async def client():
        await asyncio.open_connection("127.0.0.1", 9)
    async def up_at_last():
        try: await client()
        except Exception: return asyncio.get_running_loop().time() > 60
    with rto_timer.outage():
        await rto_timer.until(up_at_last)
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1)
    outcome.result.stdout.fnmatch_lines(
        ["*RealIOError: a network connection was asked for in virtual time, *local or live drill*"]
    )


REFUSED = {
    "an async fixture": (
        """
import pytest_asyncio
@pytest_asyncio.fixture
async def database(): yield 1
@pytest.fixture
def orders(database): return 1
@pytest.mark.dr_service("x")
async def test_it(simulated_endpoints, orders): pass
""",
        "*test_it runs in virtual time, and its fixture 'database' is asynchronous, *: make that *",
    ),
    "an async fixture that would be set up first": (
        """
import pytest_asyncio
@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def database(): assert 0, "set up"
@pytest.mark.dr_service("x")
async def test_it(simulated_endpoints): pass
""",
        "*test_it runs in virtual time, and its fixture 'database' is asynchronous, *: make that *",
    ),
    "an async fixture of an ordinary test": (
        """
@pytest.fixture(autouse=True)
async def database(): return 1
def test_it(simulated_endpoints): pass
""",
        "*test_it runs in virtual time, and its fixture 'database' is asynchronous*",
    ),
    "a late request": (
        """
@pytest.mark.dr_service("x")
def test_it(request): request.getfixturevalue("simulated_endpoints")
""",
        "*test_it asks for a simulated fixture while it runs already, too late for virtual time:*",
    ),
    "a loop of its own": (
        """
@pytest.mark.dr_service("x")
@pytest.mark.usefixtures("simulated_endpoints")
class TestIt(unittest.IsolatedAsyncioTestCase):
    async def test_it(self): pass
""",
        "*test_it asks for a simulated fixture, and another plugin or its own class runs it on a *",
    ),
    "a live one": (
        """
@pytest.mark.dr_live
async def test_it(simulated_endpoints): pass
""",
        "*dr_live(): a drill that asks for a simulated fixture touches nothing live; write *",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_leave_virtual_time_is_refused(drills, what):
    source, message = REFUSED[what]
    more = ("-o", "asyncio_mode=auto") if "ordinary" in what else ()
    outcome = drills(source, *more)
    late = what == "a late request"
    outcome.result.assert_outcomes(**{"failed" if late else "errors": 1})
    outcome.result.stdout.fnmatch_lines([message])


def test_a_drill_that_never_came_to_its_body_leaves_nothing_open(drills):
    source = """
@pytest.fixture
def broken(): 1 / 0
@pytest.mark.dr_service("x")
async def test_set_up(broken, simulated_endpoints): pass
@pytest.mark.dr_service("x")
async def test_skipped(simulated_endpoints): pytest.skip("today")
@pytest.fixture
def slow(drill):
    yield
    drill.sleep("5s")
@pytest.mark.dr_service("x")
async def test_torn_down(simulated_endpoints, slow, drill):
    left.append(asyncio.create_task(asyncio.Event().wait()))
    await asyncio.sleep(1)
left = []
def test_gone():
    import gc
    gc.collect()
    assert left[0].cancelled()
@pytest.mark.dr_service("x")
async def test_endless(simulated_endpoints):
    async def endless():
        try: await asyncio.Event().wait()
        finally: await asyncio.Event().wait()
    left.append(asyncio.create_task(endless()))
    await asyncio.sleep(1)
"""
    outcome = drills(source, subprocess=True)
    outcome.result.assert_outcomes(errors=1, skipped=1, passed=2, failed=1)
    assert (
        "DeadlockError: waiting for what can never come" in outcome.drills["test_endless"]["error"]
    )
    assert outcome.verdicts == {
        "test_endless": "failed",
        "test_set_up": "failed",
        "test_skipped": "not_verified",
        "test_torn_down": "passed",
    }
    assert outcome.drills["test_torn_down"]["duration_s"] == 6


# Who is left alone.


def test_an_override_leaves_virtual_time_by_itself_or_stays_by_asking_for_it(drills):
    source = """
pytestmark = pytest.mark.dr_service("x")
class TestLive:
    @pytest.fixture
    def simulated_endpoints(self): return lambda *names: ["real"]
    async def test_it(self, simulated_endpoints):
        assert type(asyncio.get_running_loop()) is not VirtualLoop
class TestStill:
    @pytest.fixture
    def simulated_endpoints(self, simulated_endpoints): return simulated_endpoints
    async def test_it(self, simulated_endpoints):
        assert simulated_endpoints("a")[0].is_up
        assert type(asyncio.get_running_loop()) is VirtualLoop
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(passed=2)
    assert [drill["mode"] for drill in outcome.drills.values()] == ["local", "simulated"]


SUITE = """
import pytest_asyncio
@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool():
    loop = asyncio.get_running_loop()
    made.append(loop)
    yield loop
    assert asyncio.get_running_loop() is loop
made = []
@pytest.mark.asyncio(loop_scope="session")
async def test_first(pool): assert asyncio.get_running_loop() is pool
SIMULATED
@pytest.mark.asyncio(loop_scope="session")
async def test_second(pool): assert asyncio.get_running_loop() is pool
@pytest.mark.asyncio
async def test_own_loop(pool): assert asyncio.get_running_loop() is not pool
def test_made_once(pool): assert made == [pool]
"""


@pytest.mark.parametrize("how", ["strict", "auto"])
def test_the_rest_of_a_suite_keeps_its_loops_and_the_scopes_of_its_fixtures(drills, how):
    simulated = DRILL + "def test_simulated_sync(simulated_endpoints): pass\n"
    without = drills(SUITE.replace("SIMULATED", ""), *HOW[how], report=False, subprocess=True)
    without.result.assert_outcomes(passed=4)
    outcome = drills(
        SUITE.replace("SIMULATED", simulated), *HOW[how], "--setup-show", subprocess=True
    )
    outcome.result.assert_outcomes(passed=6)
    assert outcome.text.count("SETUP    S pool") == outcome.text.count("TEARDOWN S pool") == 1


def test_an_rto_over_real_work_is_not_measured(drills):
    outcome = drills(
        """
@pytest.mark.rto("1h")
def test_restore(simulated_endpoints, full_backup, rto_timer, tmp_path):
    simulated_endpoints("store")
    (tmp_path / "data").mkdir()
    job = full_backup.create_backup(tmp_path / "data", tmp_path / "vault")
    with rto_timer.outage():
        full_backup.restore_backup(job, tmp_path / "restored")
"""
    )
    assert outcome.verdicts == {"test_restore": "failed"}
    assert "'restore completed' is real work, which takes no virtual time" in outcome.text
    (drill,) = outcome.record["drills"]
    assert not drill["rto"]["met"]
