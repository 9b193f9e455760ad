from __future__ import annotations

import pytest

SLOW = {
    "sync": """
@pytest.mark.rto("200ms")
def test_slow(rto_timer):
    with rto_timer.outage(): time.sleep(0.3)
""",
    "async": """
@pytest.mark.rto("200ms")
async def test_slow(rto_timer):
    with rto_timer.outage(): await asyncio.sleep(0.3)
""",
    "class": """
@pytest.mark.rto("200ms")
class TestSlow:
    def test_slow(self, rto_timer):
        with rto_timer.outage(): time.sleep(0.3)
    async def test_slow_async(self, rto_timer):
        with rto_timer.outage(): await asyncio.sleep(0.3)
    @staticmethod
    async def test_slow_static(rto_timer):
        with rto_timer.outage(): await asyncio.sleep(0.3)
""",
    "unittest": """
@pytest.mark.rto("200ms")
class TestSlow(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def timers(self, rto_timer): self.rto_timer = rto_timer
    def test_slow(self):
        with self.rto_timer.outage(): time.sleep(0.3)
""",
    "unittest-async": """
@pytest.mark.rto("200ms")
class TestSlow(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def timers(self, rto_timer): self.rto_timer = rto_timer
    async def test_slow(self):
        with self.rto_timer.outage(): await asyncio.sleep(0.3)
""",
    "until": """
@pytest.mark.rto("200ms")
def test_slow(rto_timer):
    back = time.monotonic() + 0.3
    with rto_timer.outage():
        rto_timer.wait_until(lambda: time.monotonic() > back, interval="10ms")
""",
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_recovery_fails_with_target_actual_and_timeline(drills, mode, kind):
    outcome = drills(SLOW[kind], mode=mode)
    count = len(outcome.drills)
    outcome.result.assert_outcomes(failed=count)
    for drill in outcome.drills.values():
        assert drill["verdict"] == "failed"
        assert drill["error"].startswith("RTOExceeded: RTO of 200ms exceeded: recovered after ")
        assert drill["rto"]["target_s"] == 0.2
        assert drill["rto"]["actual_s"] >= 0.3
        assert drill["rto"]["met"] is False
        assert [event["event"] for event in drill["timeline"] if event["event"] != "down"] == [
            "disaster",
            "recovered",
        ]
    outcome.result.stdout.fnmatch_lines(
        ["RTO of 200ms exceeded: recovered after *", "timeline", "* disaster*", "* recovered*"]
    )
    outcome.result.stdout.fnmatch_lines(["FAILED *RTOExceeded: RTO of 200ms exceeded: *"])
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize("kind", SLOW)
def test_known_breach_is_xfailed(drills, mode, kind):
    source = SLOW[kind].replace(
        "@pytest.mark.rto",
        "@pytest.mark.xfail(raises=RTOExceeded, strict=True)\n@pytest.mark.rto",
        1,
    )
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(xfailed=len(outcome.drills))
    for drill in outcome.drills.values():
        assert drill["verdict"] == "known_broken"
        assert "RTO of 200ms exceeded" in drill["reason"]
        assert drill["error"] is None


@pytest.mark.parametrize("kind", ["sync", "async", "unittest"])
def test_breach_opens_the_debugger(drills, pytester, kind, monkeypatch):
    pytester.makeconftest(
        """
        import pdb
        class Debugger:
            def __init__(self, *args, **kwargs): pass
            def reset(self): pass
            def interaction(self, frame, traceback): print("DEBUGGER OPENED")
            quitting = False
            def set_trace(self, *args): pass
        """
    )
    outcome = drills(SLOW[kind], "--pdb", "--pdbcls=conftest:Debugger", report=False)
    outcome.result.assert_outcomes(failed=1)
    assert "entering PDB" in outcome.text
    assert "DEBUGGER OPENED" in outcome.text


def test_wrong_expectation_of_a_breach_fails(drills):
    source = SLOW["sync"].replace(
        "@pytest.mark.rto",
        "@pytest.mark.xfail(raises=RPOExceeded, strict=True)\n@pytest.mark.rto",
        1,
    )
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1)
    assert outcome.verdicts == {"test_slow": "failed"}


def test_breach_beside_a_failed_body_is_noted(drills):
    source = """
@pytest.mark.rto("10ms")
@pytest.mark.rpo("0s")
def test_both(rto_timer):
    with rto_timer.outage(): time.sleep(0.03)
    assert "body" == "wrong"
@pytest.mark.rto("10ms")
def test_open(rto_timer):
    rto_timer.disaster()
    raise KeyError("body")
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=2)
    both, left_open = outcome.drills["test_both"], outcome.drills["test_open"]
    assert "assert 'body' == 'wrong'" in both["error"]
    assert both["rto"]["met"] is False
    outcome.result.stdout.fnmatch_lines(["E *RTOExceeded: RTO of 10ms exceeded*"])
    outcome.result.stdout.fnmatch_lines(["E *ObjectiveNotMeasured: an RPO of 0s is promised*"])
    outcome.result.stdout.fnmatch_lines(["E *NotRecovered: still open when the drill ended*"])
    assert left_open["rto"]["actual_s"] is None
    assert left_open["rto"]["met"] is False


TIER = """
@pytest.mark.dr_tier("critical")
def test_tier(rto_timer, rpo_timer):
    with rto_timer.outage(): pass
    {line}
"""


def test_tier_drill_has_to_measure_both(drills, mode):
    outcome = drills(TIER.format(line=""), mode=mode)
    outcome.result.assert_outcomes(failed=1)
    assert outcome.drills["test_tier"]["error"].startswith(
        "ObjectiveNotMeasured: an RPO of 5m is promised and nothing measured it"
    )


def test_tier_drill_without_timers_fails(drills):
    outcome = drills('@pytest.mark.dr_tier("critical")\ndef test_nothing(): pass\n')
    outcome.result.assert_outcomes(failed=1)
    error = outcome.drills["test_nothing"]["error"]
    assert "an RTO of 15m is promised" in error
    assert "an RPO of 5m is promised" in error


def test_reason_for_not_measuring_is_in_every_rendering(drills, mode, pytester):
    reason = "stateless by design"
    outcome = drills(
        TIER.format(line=f"rpo_timer.not_applicable({reason!r})"),
        "--dr-report=evidence.md",
        "--html=page.html",
        "--self-contained-html",
        "--junitxml=junit.xml",
        mode=mode,
    )
    outcome.result.assert_outcomes(passed=1)
    assert reason in outcome.text
    assert outcome.drills["test_tier"]["rpo"]["not_applicable"] == reason
    for name in ("evidence.md", "page.html", "junit.xml"):
        assert reason in (pytester.path / name).read_text(encoding="utf-8"), name


def test_every_other_verdict_of_the_table(drills, mode):
    source = """
@pytest.mark.rpo("0s")
def test_lost(rto_timer, rpo_timer):
    for key in range(3): rpo_timer.acknowledged(key)
    with rto_timer.outage(): pass
    rpo_timer.survived([0, 2])
@pytest.mark.rpo("1h")
def test_all_lost(rto_timer, rpo_timer):
    rpo_timer.acknowledged(1)
    with rto_timer.outage(): pass
    rpo_timer.survived([])
@pytest.mark.rto("1m")
def test_missed(rto_timer):
    with rto_timer.outage(): rto_timer.wait_until(lambda: True)
@pytest.mark.rto("1m")
def test_never_down(rto_timer):
    with rto_timer.outage(expect_downtime=False): rto_timer.wait_until(lambda: True)
@pytest.mark.rto("1m")
def test_open(rto_timer):
    rto_timer.disaster()
@pytest.mark.rto("1m", hold="1s")
def test_not_held(rto_timer):
    with rto_timer.outage(): pass
@pytest.mark.dr_service("x")
def test_required(drill): drill.require("standby attached", lambda: False)
@pytest.mark.dr_service("x")
def test_skipped(): pytest.skip("no license")
@pytest.mark.dr_service("x")
@pytest.mark.skip(reason="never")
def test_skip_marked(): pass
@pytest.mark.dr_service("x")
@pytest.mark.dr_live
def test_live(): raise AssertionError("must not run")
@pytest.mark.dr_service("x")
@pytest.mark.xfail(run=False, reason="not yet")
def test_not_run(): raise AssertionError
@pytest.mark.dr_service("x")
def test_imperative(): pytest.xfail("known since May")
@pytest.mark.dr_service("x")
@pytest.mark.xfail(strict=True)
def test_strict_pass(): pass
@pytest.fixture
def broken_setup(): raise OSError("no database")
@pytest.fixture
def broken_undo():
    yield
    raise OSError("still down")
@pytest.fixture
def demanding(drill): drill.require("two nodes", False)
@pytest.mark.dr_service("x")
def test_setup(broken_setup): pass
@pytest.mark.dr_service("x")
def test_undo(broken_undo): pass
@pytest.mark.dr_service("x")
def test_demanding(demanding): pass
@pytest.mark.dr_service("x")
class TestUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def drilled(self, drill): self.drill = drill
    def test_body(self): self.fail("body")
    def test_skips(self): self.skipTest("unit skip")
    def test_requires(self): self.drill.require("peer", False)
    def test_exits(self): raise SystemExit(3)
@pytest.mark.rto("1ms")
class TestSlowUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def timers(self, rto_timer): self.rto_timer = rto_timer
    def test_both(self):
        with self.rto_timer.outage(): time.sleep(0.01)
        self.fail("slow and wrong")
"""
    outcome = drills(source, mode=mode)
    expected = {
        "test_lost": ("failed", "RPOExceeded: RPO of 0s exceeded"),
        "test_all_lost": ("failed", "RPOExceeded: RPO of 1h exceeded: none of 1 acknowledged"),
        "test_missed": ("failed", "DisasterNotObserved: the watched check never failed"),
        "test_never_down": ("passed", None),
        "test_open": ("failed", "NotRecovered: still open when the drill ended"),
        "test_not_held": ("failed", "ObjectiveNotMeasured: the recovery has to hold for 1s"),
        "test_required": ("not_verified", "precondition not met: standby attached"),
        "test_skipped": ("not_verified", "no license"),
        "test_skip_marked": ("not_verified", "never"),
        "test_live": ("not_verified", "live drill"),
        "test_not_run": ("known_broken", "not yet"),
        "test_imperative": ("known_broken", "known since May"),
        "test_strict_pass": ("failed", "XPASS(strict)"),
        "test_setup": ("failed", "OSError: no database"),
        "test_undo": ("failed", "OSError: still down"),
        "test_demanding": ("not_verified", "precondition not met: two nodes"),
        "TestUnit::test_body": ("failed", "body"),
        "TestUnit::test_skips": ("not_verified", "unit skip"),
        "TestUnit::test_requires": ("not_verified", "precondition not met: peer"),
        "TestUnit::test_exits": ("failed", "SystemExit"),
        "TestSlowUnit::test_both": ("failed", "slow and wrong"),
    }
    assert outcome.verdicts == {name: verdict for name, (verdict, _) in expected.items()}
    for name, (_, text) in expected.items():
        drill = outcome.drills[name]
        if text is not None:
            assert text in (drill["error"] or drill["reason"]), name
    assert "RTOExceeded" in outcome.drills["TestSlowUnit::test_both"]["error"]
    live = outcome.drills["test_live"]
    assert live["mode"] == "live"


def test_record_is_the_same_in_every_mode(drills):
    source = "".join(part for name, part in SLOW.items() if name == "class") + TIER.format(line="")
    records = [drills(source, mode=mode).drills for mode in ("no-xdist", "n0", "n2")]

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if not key.endswith("_s")}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value

    for record in records:
        for drill in record.values():
            for varying in ("started", "finished", "error"):
                del drill[varying]
    first, *others = [plain(record) for record in records]
    assert list(first) == [
        "TestSlow::test_slow",
        "TestSlow::test_slow_async",
        "TestSlow::test_slow_static",
        "test_tier",
    ]
    for other in others:
        assert other == first
        assert list(other) == list(first)


def test_unverified_can_fail_the_run(drills, mode):
    source = '@pytest.mark.dr_service("x")\ndef test_it(drill): drill.require("peer", False)\n'
    assert drills(source, mode=mode).ret == pytest.ExitCode.OK
    outcome = drills(source, "--dr-fail-unverified", mode=mode)
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    assert "1 not verified, which fails a run with --dr-fail-unverified" in outcome.text
    assert drills(source, "-o", "dr_fail_unverified=true", mode=mode).ret == 1
    assert drills(source, "--dr-live", mode=mode).ret == pytest.ExitCode.TESTS_FAILED


def test_subtests_decide_too(drills, pytester):
    source = """
@pytest.mark.dr_service("x")
@pytest.mark.rto("1m")
class TestUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def timers(self, rto_timer): self.rto_timer = rto_timer
    def test_good(self):
        with self.rto_timer.outage():
            for n in range(3):
                with self.subTest(n=n): pass
    def test_bad(self):
        with self.rto_timer.outage():
            for n in range(3):
                with self.subTest(n=n): assert n != 1
"""
    outcome = drills(source)
    assert outcome.verdicts["TestUnit::test_good"] == "passed"
    assert outcome.verdicts["TestUnit::test_bad"] == "failed"
    for name, drill in outcome.drills.items():
        assert len(drill["rto"]["outages"]) == 1
        # Before pytest 9 a failed subtest ended its test, in the middle of the outage.
        if pytest.version_tuple >= (9,) or name.endswith("good"):
            assert drill["rto"]["met"] is True


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="the subtests fixture came with pytest 9")
def test_subtests_fixture(drills, mode):
    source = """
@pytest.mark.rto("1m")
def test_bad(rto_timer, subtests):
    with rto_timer.outage():
        with subtests.test("one"): pass
        with subtests.test("two"): assert False
@pytest.mark.rto("1m")
def test_good(rto_timer, subtests):
    with rto_timer.outage():
        with subtests.test("one"): pass
"""
    outcome = drills(source, mode=mode)
    assert outcome.verdicts == {"test_bad": "failed", "test_good": "passed"}
    assert outcome.drills["test_bad"]["rto"]["met"] is True


def test_watch_that_was_never_awaited_recovers_nothing(drills):
    source = """
@pytest.mark.rto("1m")
@pytest.mark.filterwarnings("ignore:coroutine")
def test_slip(rto_timer):
    with rto_timer.outage():
        rto_timer.until(lambda: True)
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1)
    assert outcome.drills["test_slip"]["rto"]["met"] is False


def test_entries_that_contradict_not_applicable_are_not_green(drills):
    source = """
@pytest.mark.rpo("1m")
def test_both(rto_timer, rpo_timer):
    rpo_timer.acknowledged(1)
    with rto_timer.outage(): pass
    rpo_timer.not_applicable("I said so")
"""
    outcome = drills(source)
    assert outcome.verdicts == {"test_both": "failed"}


def test_the_worse_of_two_runs_under_one_id_stands(drills, pytester):
    source = """
RUNS = []
@pytest.mark.dr_service("x")
def test_double():
    RUNS.append(1)
    assert len(RUNS) > 1
"""
    outcome = drills(source, "--keep-duplicates", "test_it.py", "test_it.py")
    outcome.result.assert_outcomes(passed=1, failed=1)
    double = outcome.drills["test_double"]
    assert double["verdict"] == "failed"
    assert [attempt["verdict"] for attempt in double["attempts"]] == ["passed"]


def test_errors_point_at_the_drill(drills):
    source = """
@pytest.mark.rpo("1m")
def test_slip(rpo_timer):
    rpo_timer.survived("a single text")
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1)
    assert "test_it.py:" in outcome.drills["test_slip"]["error"]
    assert "ledger.py" not in outcome.text


def test_subtests_of_a_set_up_measure_nothing(drills, mode):
    source = """
@pytest.fixture
def looked_at(subtests):
    with subtests.test("in set-up"): assert True
    yield
@pytest.mark.rto("10m")
def test_it(looked_at, rto_timer):
    with rto_timer.outage(): time.sleep(0.001)
@pytest.mark.rto("1us")
def test_slow(looked_at, rto_timer):
    with rto_timer.outage(): time.sleep(0.001)
"""
    pytest.importorskip("_pytest.subtests")
    outcome = drills(source, "-p", "no:rerunfailures", mode=mode)
    assert outcome.verdicts == {"test_it": "passed", "test_slow": "failed"}
    assert all(drill["rto"]["actual_s"] >= 0.001 for drill in outcome.drills.values())


def test_set_up_that_somebody_ended_before_us_has_failed(drills, pytester, mode):
    pytester.makeconftest(
        """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    if "no" in item.name: pytest.fail("no lab today")
    if "skip" in item.name: pytest.skip("no lab today")
    return (yield)
"""
    )
    source = "".join(
        f'@pytest.mark.dr_service("x")\ndef test_{name}(): pass\n' for name in ("no", "skip", "go")
    )
    outcome = drills(source, mode=mode)
    assert outcome.verdicts == {
        "test_no": "failed",
        "test_skip": "not_verified",
        "test_go": "passed",
    }
    assert "no lab today" in outcome.drills["test_no"]["error"]
    assert outcome.drills["test_skip"]["reason"] == "no lab today"


def test_verdict_is_the_outcome_that_pytest_ends_with(drills, pytester, mode):
    pytester.makeconftest(
        """
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call": report.outcome, report.longrepr = "failed", "resource leak found"
    return report
"""
    )
    source = '@pytest.mark.dr_service("x")\ndef test_it(): pass\n'
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(failed=1)
    assert outcome.verdicts == {"test_it": "failed"}
    assert outcome.drills["test_it"]["error"] == "resource leak found"


def test_error_that_takes_no_note_stays_what_it_is(drills, mode):
    source = """
class Stubborn(Exception):
    def add_note(self, text): raise TypeError
@pytest.mark.rto("1s")
def test_it(rto_timer):
    rto_timer.disaster()
    raise Stubborn("the body's own")
"""
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(failed=1)
    drill = outcome.drills["test_it"]
    assert "the body's own" in drill["error"]
    assert drill["notes"] == ["NotRecovered: still open when the drill ended: never recovered"]


def test_exit_is_no_failure_of_the_drill(drills):
    source = """
@pytest.mark.rto("1s")
def test_it(rto_timer):
    with rto_timer.outage(): pytest.exit("enough")
"""
    outcome = drills(source)
    outcome.result.stdout.fnmatch_lines(["!*Exit: enough !*"])
    assert outcome.verdicts == {"test_it": "failed"}
