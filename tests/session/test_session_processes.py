from __future__ import annotations

import pytest

BYSTANDERS = """
@pytest.mark.dr_service("bystander")
@pytest.mark.parametrize("n", range(4))
def test_bystander(n): pass
def test_ordinary(): pass
"""
CRASHES = {
    "body": """
@pytest.mark.dr_tier("critical")
def test_crash(rto_timer, rpo_timer):
    rpo_timer.not_applicable("stateless")
    with rto_timer.outage(): os.kill(os.getpid(), signal.SIGKILL)
""",
    "set-up": """
@pytest.fixture
def deadly(): os.kill(os.getpid(), signal.SIGKILL)
@pytest.mark.dr_tier("critical")
def test_crash(deadly): pass
""",
    "undo": """
@pytest.fixture
def deadly():
    yield
    os.kill(os.getpid(), signal.SIGKILL)
@pytest.mark.dr_tier("critical")
def test_crash(deadly, rto_timer, rpo_timer):
    rpo_timer.not_applicable("stateless")
    with rto_timer.outage(): pass
""",
}


@pytest.mark.parametrize("phase", CRASHES)
def test_killed_worker_leaves_a_failed_drill(drills, phase):
    outcome = drills(CRASHES[phase] + BYSTANDERS, mode="n2")
    assert outcome.verdicts == {
        "test_crash": "failed",
        **{f"test_bystander[{n}]": "passed" for n in range(4)},
    }
    assert len(outcome.record["drills"]) == 5
    crash = outcome.drills["test_crash"]
    assert "crashed while running" in crash["error"]
    assert crash["tier"] == "critical"
    assert crash["rto"]["target_s"] == 900
    assert outcome.record["tiers"][0]["failed"] == 1
    assert outcome.ret == 1


def test_drill_whose_death_leaves_nobody_to_tell_of_it(drills):
    source = CRASHES["set-up"]
    outcome = drills(source, "-n1", "--max-worker-restart=0", "--dr-tier=critical", mode="n2")
    assert outcome.verdicts == {"test_crash": "failed"}
    assert "crashed while running" in outcome.drills["test_crash"]["error"]
    assert outcome.drills["test_crash"]["tier"] == "critical"
    more = source + BYSTANDERS.replace(
        "def test_bystander", "@pytest.mark.dr_tier('critical')\ndef test_bystander"
    )
    outcome = drills(more, "-n1", "--max-worker-restart=0", "--dr-tier=critical", mode="n2")
    assert outcome.verdicts["test_crash"] == "failed"
    assert [outcome.verdicts[f"test_bystander[{n}]"] for n in range(4)] == ["not_verified"] * 4
    # Without a selection nobody knows whether what died was a drill: it is told, never green.
    outcome = drills(source, "-n1", "--max-worker-restart=0", mode="n2")
    assert outcome.record["run"]["not_collected"] == ["test_it.py::test_crash"]


def test_drills_that_no_worker_came_to_are_not_verified(drills):
    source = """
def drill(rto_timer):
    with rto_timer.outage(): pass
@pytest.mark.rto("1m")
def test_first(rto_timer): drill(rto_timer)
def test_ordinary(): os._exit(1)
@pytest.mark.rto("1m")
def test_last(rto_timer): drill(rto_timer)
"""
    outcome = drills(source, "-n1", "--max-worker-restart=0", mode="n2")
    assert outcome.verdicts == {"test_first": "passed", "test_last": "not_verified"}
    assert outcome.drills["test_last"]["rto"]["target_s"] == 60
    assert outcome.record["run"]["selection"]["selected"] == 2


def test_enum_members_are_names_like_any(drills, mode):
    source = """
import enum
class Name(enum.StrEnum):
    TIER = "critical"
    SERVICE = "orders"
    DISASTER = "security"
class Old(str, enum.Enum):
    NOTE = "old"
@pytest.mark.dr_tier(Name.TIER)
@pytest.mark.dr_service(Name.SERVICE)
@pytest.mark.disaster(Name.DISASTER)
@pytest.mark.runbook(Name.SERVICE)
def test_it(rto_timer, rpo_timer, drill):
    drill.note(Name.SERVICE); drill.event(Old.NOTE, Name.TIER); drill.metric(Name.TIER, 1)
    drill.participant(Name.SERVICE, Name.TIER); drill.finding(Name.TIER, owner=Name.SERVICE)
    with drill.step(Name.SERVICE, owner=Name.TIER), rto_timer.outage(Name.SERVICE): pass
    rto_timer.assume(Name.TIER, "1s")
    rpo_timer.not_applicable(Name.SERVICE)
"""
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.drills.values()
    assert (drill["tier"], drill["service"], drill["disaster"]) == (
        "critical",
        "orders",
        "security",
    )
    assert drill["notes"] == ["orders"]
    assert drill["timeline"][0]["event"] == "old"


def test_drills_never_reached_are_not_verified(drills, mode):
    source = """
@pytest.mark.dr_service("x")
def test_1(): assert False
@pytest.mark.dr_service("x")
@pytest.mark.parametrize("n", range(20))
def test_2(n): time.sleep(0.02)
"""
    outcome = drills(source, "-x", mode=mode)
    assert len(outcome.record["drills"]) == 21
    assert outcome.verdicts["test_1"] == "failed"
    last = outcome.drills["test_2[19]"]
    assert last["verdict"] == "not_verified"
    assert last["reason"] == "never ran: the session ended before it"
    assert last["started"] is None


def test_interrupted_session_keeps_its_evidence(drills):
    source = """
@pytest.mark.dr_service("x")
def test_1(): pass
@pytest.mark.dr_service("x")
def test_2(faults, drill):
    faults.stack.push("the fault", lambda: print("UNDONE") or drill.note("undone"))
    raise KeyboardInterrupt
@pytest.mark.dr_service("x")
def test_3(): pass
"""
    outcome = drills(source, "-s", subprocess=True)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert outcome.verdicts["test_1"] == "passed"
    assert outcome.verdicts["test_2"] == "failed"
    assert outcome.verdicts["test_3"] == "not_verified"
    assert outcome.text.count("UNDONE") == 1


def test_reruns_keep_every_attempt(drills, mode):
    source = """
import pathlib
@pytest.mark.rto("10m")
def test_flaky(rto_timer):
    tries = pathlib.Path("tries")
    count = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("x" * (count + 1))
    with rto_timer.outage():
        if count < 2: rto_timer.assume("somebody sleeps", "1h")
"""
    outcome = drills(source, "--reruns=3", mode=mode)
    outcome.result.assert_outcomes(passed=1)
    flaky = outcome.drills["test_flaky"]
    assert flaky["verdict"] == "passed"
    assert [attempt["verdict"] for attempt in flaky["attempts"]] == ["failed", "failed"]
    for attempt in flaky["attempts"]:
        assert attempt["rto_s"] > 3600
        assert "RTOExceeded" in attempt["error"]
    assert flaky["rto"]["actual_s"] < 600


@pytest.mark.parametrize(
    "options",
    [
        ["-p", "no:html"],
        ["-p", "no:xdist"],
        ["-p", "no:cacheprovider"],
        ["-p", "no:rerunfailures"],
        ["-p", "no:terminal"],
        ["-p", "no:junitxml"],
        ["-p", "no:hypothesispytest"],
    ],
    ids=lambda options: options[1],
)
def test_optional_plugins_may_be_absent(drills, options):
    source = """
@pytest.mark.rto("1m")
async def test_async(rto_timer):
    with rto_timer.outage(): await asyncio.sleep(0)
@pytest.mark.rto("1m")
def test_sync(rto_timer):
    with rto_timer.outage(): pass
"""
    outcome = drills(source, *options)
    assert outcome.verdicts == {"test_async": "passed", "test_sync": "passed"}
    assert outcome.ret == 0


def test_no_autoload(drills, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    source = """
@pytest.mark.rto("1m")
async def test_async(rto_timer):
    with rto_timer.outage(): await asyncio.sleep(0)
"""
    outcome = drills(
        source, "-p", "pytest_drdrill.plugin", "-p", "pytest_asyncio.plugin", subprocess=True
    )
    assert outcome.verdicts == {"test_async": "passed"}


def test_switched_off(drills):
    # pytest-asyncio stays, and warns where nobody has chosen a scope.
    off = ("-p", "no:drdrill", "-o", "asyncio_default_fixture_loop_scope=function")
    outcome = drills("def test_ordinary(): pass", *off, report=False)
    outcome.result.assert_outcomes(passed=1)
    outcome = drills("def test_ordinary(): pass", *off, "--dr-tier=x", report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR


def test_suite_whose_warnings_are_errors_needs_no_setting_of_pytest_asyncios(drills):
    """It comes along with this plugin, unasked, and its advice would end every such suite."""
    source = "def test_ordinary(): pass"
    alone = drills(source, "-p", "no:drdrill", report=False, subprocess=True)
    if alone.ret:  # a pytest that heeds the filter while plugins are configured
        assert "asyncio_default_fixture_loop_scope" in alone.result.stderr.str()
    outcome = drills(source, "-W", "error", report=False, subprocess=True)
    outcome.result.assert_outcomes(passed=1)
    assert 'asyncio_default_fixture_loop_scope" is unset' not in outcome.result.stderr.str()


@pytest.mark.parametrize("asyncio_mode", ["strict", "auto"])
def test_async_drills_run_on_the_loops_of_pytest_asyncio(drills, asyncio_mode, mode):
    source = """
pytestmark = pytest.mark.rto("1m")
async def test_plain(rto_timer):
    with rto_timer.outage(): await rto_timer.until(flapping(), interval="1ms")
@pytest.mark.asyncio(loop_scope="module")
async def test_marked(rto_timer):
    with rto_timer.outage(): await asyncio.sleep(0)
@pytest.mark.parametrize("n", [1, 2])
class TestClass:
    async def test_method(self, n, rto_timer):
        with rto_timer.outage(): await asyncio.sleep(0)
def flapping():
    answers = iter([False, True])
    return lambda: next(answers)
async def test_blocking(rto_timer):
    with rto_timer.outage():
        with pytest.raises(DrillUsageError, match="await rto_timer.until"):
            rto_timer.wait_until(flapping())
"""
    outcome = drills(source, "-o", f"asyncio_mode={asyncio_mode}", mode=mode)
    outcome.result.assert_outcomes(passed=5)


def test_async_drill_without_pytest_asyncio_is_pytests_own_failure(drills, pytester):
    pytester.makeini("[pytest]\naddopts = --strict-markers")
    source = '@pytest.mark.rto("1m")\nasync def test_async(rto_timer): pass\n'
    outcome = drills(source, "-p", "no:asyncio")
    outcome.result.assert_outcomes(failed=1)
    assert "async def functions are not natively supported" in outcome.text


def test_other_async_tests_keep_their_loops(drills):
    source = """
import pytest_asyncio
@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(): return asyncio.get_running_loop()
@pytest.mark.asyncio(loop_scope="session")
async def test_before(shared): assert asyncio.get_running_loop() is shared
@pytest.mark.rto("1m")
async def test_drill(rto_timer):
    with rto_timer.outage(): pass
@pytest.mark.asyncio(loop_scope="session")
async def test_after(shared): assert asyncio.get_running_loop() is shared
"""
    drills(source).result.assert_outcomes(passed=3)


def test_manager_left_running_is_stopped_with_the_drill(drills):
    source = """
@pytest.mark.dr_service("x")
async def test_left(failover_manager):
    test_left.manager = failover_manager(
        [ServiceEndpoint("gone", "http://127.0.0.1:9")], check_interval="50ms"
    )
    await test_left.manager.start_monitoring()
def test_after():
    assert not test_left.manager.is_monitoring
"""
    drills(source).result.assert_outcomes(passed=2)


def test_manager_that_broke_or_came_from_a_fixture_ends_with_the_drill(drills):
    source = """
class Broken:
    def __init__(self): self.asked = self.closed = 0
    async def open(self): pass
    async def close(self): self.closed += 1
    async def probe(self, endpoint):
        self.asked += 1
        if self.asked > 2: raise RuntimeError("out of order")
        return ProbeResult(healthy=True)
probers = [Broken(), Broken()]
ENDPOINTS = [ServiceEndpoint("a", "http://127.0.0.1:9")]
@pytest.fixture
def manager(failover_manager):  # no event loop runs yet
    return failover_manager(ENDPOINTS, check_interval="10ms", prober=probers[0])
@pytest.mark.dr_service("x")
async def test_broken(manager, failover_manager):
    other = failover_manager(ENDPOINTS, check_interval="10ms", prober=probers[1])
    await manager.start_monitoring()
    await other.start_monitoring()
    while manager.is_monitoring or other.is_monitoring: await asyncio.sleep(0.001)
def test_after(): assert [prober.closed for prober in probers] == [1, 1]
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1, passed=1)
    assert "MonitoringFailed" in outcome.drills["test_broken"]["error"]


def test_detection_is_that_of_the_endpoint_that_was_active(drills):
    source = """
seen = []
@pytest.mark.rto("10m")
async def test_it(failover_manager, rto_timer):
    up = {"primary": True, "spare": False, "third": True}
    class Memory:
        async def open(self): pass
        async def close(self): pass
        async def probe(self, endpoint): return ProbeResult(healthy=up[endpoint.name])
    endpoints = [ServiceEndpoint(name, "http://127.0.0.1:9") for name in up]
    manager = failover_manager(
        endpoints, 1, "10ms", prober=Memory(), on_event=lambda event: seen.append(event.kind)
    )
    with rto_timer.outage(expect_downtime=False) as outage:
        async with manager:
            while manager.get_endpoint_status("spare") is not HealthStatus.UNHEALTHY:
                await asyncio.sleep(0.001)
            assert outage.detected_at is None
            up["primary"] = False
            await manager.wait_until_active("third")
            assert outage.detected_at is not None
def test_own_listener_hears_too(): assert "failover" in seen
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(passed=2)
    (drill,) = outcome.drills.values()
    started = next(each for each in drill["timeline"] if each["event"] == "monitoring started")
    assert "it is noticed after 0s to 20ms" in started["detail"]


@pytest.mark.parametrize("told", ["before anything of it was told", "after its set-up was told"])
def test_crashed_attempt_is_kept_beside_the_one_that_passed(drills, pytester, told):
    """As where a plugin for reruns has another worker take over; whether it does is a race of its
    own, so the report of the crash is put in here."""
    hook = "logstart(self, nodeid)" if "before" in told else "logreport(self, report)"
    pytester.makeconftest(
        f"""
import pytest
class Crash:
    def __init__(self, config): self.config, self.due = config, True
    def pytest_runtest_{hook}:
        if self.due and {"True" if "before" in told else "report.when == 'setup'"}:
            self.due = False
            nodeid = {"nodeid" if "before" in told else "report.nodeid"}
            crash = pytest.TestReport(
                nodeid, ("test_it.py", 0, ""), {{}}, "failed", "worker 'gw0' crashed", "???"
            )
            self.config.hook.pytest_runtest_logreport(report=crash)
def pytest_collection_finish(session):
    session.config.pluginmanager.register(Crash(session.config))
"""
    )
    source = """
@pytest.mark.rto("10m")
def test_once(rto_timer):
    with rto_timer.outage(): pass
"""
    # With a page of pytest-html the evidence comes along with each phase, as from a worker.
    drill = drills(source, "--html=page.html").drills["test_once"]
    assert (drill["verdict"], drill["error"], drill["rto"]["met"]) == ("passed", None, True)
    (attempt,) = drill["attempts"]
    assert (attempt["verdict"], attempt["error"]) == ("failed", "worker 'gw0' crashed")


def test_fixtures_can_be_set_up_alone(drills, mode):
    source = """
@pytest.mark.rto("1m")
def test_it(rto_timer, drill, full_backup, failover_manager, faults): assert False
"""
    outcome = drills(source, "--setup-only", mode=mode, report=False)
    assert "is no drill" not in outcome.text
    assert "error" not in outcome.result.parseoutcomes()


def test_second_collection_of_a_session_is_taken(drills, pytester):
    pytester.makeconftest(
        """
def pytest_collection_finish(session):
    if not hasattr(session, "_once"):
        session._once = True
        session.perform_collect()
"""
    )
    outcome = drills('@pytest.mark.dr_service("x")\ndef test_it(): pass\n')
    outcome.result.assert_outcomes(passed=1)
    assert outcome.verdicts == {"test_it": "passed"}


def test_module_skipped_as_a_whole_is_not_verified(drills, pytester, mode):
    pytester.makepyfile(
        test_needy="""
import pytest
pytest.importorskip("no_such_database_driver")
@pytest.mark.dr_tier("critical")
def test_restore(): pass
""",
        test_plain="import pytest\npytest.importorskip('no_such_module')\ndef test_plain(): pass\n",
    )
    source = '@pytest.mark.dr_service("x")\ndef test_it(): pass\n'
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(passed=1, skipped=2)
    assert outcome.record["run"]["not_collected"] == ["test_needy.py"]
    assert "NOT COLLECTED: the drills in it, if any, could not be verified" in outcome.text
    assert drills(source, "--dr-fail-unverified", mode=mode).ret == pytest.ExitCode.TESTS_FAILED


def test_fault_is_undone_before_the_fixture_that_ends_its_process(drills):
    source = """
import subprocess, sys
@pytest.fixture
def server():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.terminate()
@pytest.mark.dr_service("x")
def test_frozen(faults, server): faults.pause_process(server)
"""
    outcome = drills(source)
    assert outcome.verdicts == {"test_frozen": "passed"}


IN_A_FORK = """
import os, pickle, pytest
from _pytest.runner import runtestprotocol

def in_a_fork(item):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        reports = runtestprotocol(item, log=False)
        with open(writing, "wb") as pipe:
            pickle.dump([plain(item.config, report) for report in reports], pipe)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pickle.load(pipe)
    os.waitpid(child, 0)
    hook = item.config.hook
    return [hook.pytest_report_from_serializable(config=item.config, data=each) for each in told]

def plain(config, report):
    return config.hook.pytest_report_to_serializable(config=config, report=report)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    for report in in_a_fork(item):
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_evidence_comes_from_a_fork(drills, pytester):
    """As where a plugin forks for each test: the parent has their reports only."""
    pytester.makeconftest(IN_A_FORK)
    outcome = drills(
        """
@pytest.mark.rto("1s")
def test_held(rto_timer):
    with rto_timer.outage():
        pass

@pytest.mark.rto("0s")
def test_missed(rto_timer):
    with rto_timer.outage():
        pass
""",
        subprocess=True,
    )
    assert outcome.ret == 1
    assert outcome.verdicts == {"test_held": "passed", "test_missed": "failed"}
    assert "RTOExceeded" in outcome.drills["test_missed"]["error"]
    assert outcome.drills["test_held"]["rto"]["met"]
