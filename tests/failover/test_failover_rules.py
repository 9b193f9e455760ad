"""The rules by themselves: counting checks, deciding who is active, placing checks in time."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill.failover import FlapDamping, HealthStatus
from pytest_drdrill.failover.damping import FlapPenalty
from pytest_drdrill.failover.decision import Candidate, Decision, decide
from pytest_drdrill.failover.health import HealthTracker
from pytest_drdrill.failover.timing import CheckGrid, detection_bounds, phase

HEALTHY, UNHEALTHY, UNKNOWN = HealthStatus.HEALTHY, HealthStatus.UNHEALTHY, HealthStatus.UNKNOWN
LETTER = {HEALTHY: "h", UNHEALTHY: "u", UNKNOWN: "?"}


def statuses(checks, failure_threshold=3, recovery_threshold=2):
    tracker = HealthTracker(failure_threshold, recovery_threshold)
    seen = ""
    for check in checks:
        before = tracker.status
        assert tracker.observe(check == "+") == (tracker.status is not before)
        seen += LETTER[tracker.status]
    return seen


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ("+", "h"),
        ("-", "?"),
        ("---", "??u"),
        ("-+", "?h"),
        ("+---", "hhhu"),
        ("+--+--+--", "hhhhhhhhh"),  # a success resets the count of failures
        ("+---+", "hhhuu"),  # one good check brings nothing back
        ("+---++", "hhhuuh"),
        ("+---+-+-+-", "hhhuuuuuuu"),  # a failure resets the count of successes
        ("+---++--", "hhhuuhhh"),
    ],
)
def test_only_checks_in_a_row_change_the_status(checks, expected):
    assert statuses(checks) == expected


def test_thresholds_of_one_follow_every_check():
    assert statuses("+-+-", 1, 1) == "huhu"


@given(st.text("+-", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_the_status_is_what_the_longest_runs_say(checks, down, back):
    expected, seen = "?", ""
    for place in range(1, len(checks) + 1):
        if checks[:place].endswith("-" * down):
            expected = "u"
        elif checks[:place].endswith("+") and (
            expected == "?" or checks[:place].endswith("+" * back)
        ):
            expected = "h"
        seen += expected
    assert statuses(checks, down, back) == seen


H, U, Q = Candidate(HEALTHY, 0.0), Candidate(UNHEALTHY), Candidate(UNKNOWN)
UNSTEADY = Candidate(HEALTHY)


@pytest.mark.parametrize(
    ("candidates", "active", "failback_after", "expected"),
    [
        ([Q, Q], 0, 0.0, Decision(0, "stay")),
        ([Q, H], 0, 0.0, Decision(0, "stay")),  # unknown is no reason to move
        ([H, H], 0, 0.0, Decision(0, "stay")),
        ([U, H, H], 0, 0.0, Decision(1, "failover")),
        ([U, U, H], 0, 0.0, Decision(2, "failover")),
        ([U, Q, H], 0, 0.0, Decision(2, "failover")),
        ([U, UNSTEADY], 0, 0.0, Decision(1, "failover")),
        ([U, U], 0, 0.0, Decision(None, "failover")),
        ([U, Q], 0, 0.0, Decision(None, "failover")),
        ([U, U], None, 0.0, Decision(None, "stay")),  # announced once
        ([U, H], None, 0.0, Decision(1, "failover")),
        ([H, H], None, None, Decision(0, "failover")),  # no failback: nothing was active
        ([H, H], 1, 0.0, Decision(0, "failback")),
        ([H, U], 1, None, Decision(0, "failover")),  # manual is about failback only
        ([H, H], 1, None, Decision(1, "stay")),
        ([UNSTEADY, H], 1, 0.0, Decision(1, "stay")),
        ([H, H], 1, 100.0, Decision(0, "failback")),
        ([H, H], 1, 101.0, Decision(1, "stay", 1.0)),
        ([H, H], 1, 100.0000005, Decision(0, "failback")),  # below what a clock resolves
        ([Candidate(HEALTHY, 90.0), Candidate(HEALTHY, 50.0), H], 2, 50.0, Decision(1, "failback")),
        (
            [Candidate(HEALTHY, 90.0), Candidate(HEALTHY, 80.0), H],
            2,
            50.0,
            Decision(2, "stay", 30.0),
        ),
        ([H, U, H], 2, 0.0, Decision(0, "failback")),
        ([U, H, H], 2, 0.0, Decision(1, "failback")),
        ([U, H, H], 1, 0.0, Decision(1, "stay")),
    ],
)
def test_who_should_be_active(candidates, active, failback_after, expected):
    assert decide(candidates, active, failback_after, now=100.0) == expected


def test_checks_keep_their_rate_whatever_they_take():
    grid = CheckGrid(start=10.0, interval=0.1)
    assert grid.at(1_000_000) == 10.0 + 1_000_000 * 0.1
    assert grid.after(0, now=10.05) == 1
    assert grid.after(0, now=10.1001) == 1  # a little late: made at once
    assert grid.after(0, now=10.95) == 9  # suspended: only the latest is made up for


def test_jitter_is_within_its_bound_and_the_same_for_a_seed():
    jitter = timedelta(seconds=7)
    phases = [phase(1, f"e{number}", jitter) for number in range(200)]
    assert phases == [phase(1, f"e{number}", jitter) for number in range(200)]
    assert phases != [phase(2, f"e{number}", jitter) for number in range(200)]
    assert 0 <= min(phases) < 0.5
    assert 6.5 < max(phases) <= 7
    assert phase(1, "e", timedelta(0)) == 0


def test_the_detection_formula():
    def bounds(threshold, interval, timeout, jitter=0.0):
        spans = detection_bounds(
            threshold, *(timedelta(seconds=each) for each in (interval, timeout, jitter))
        )
        return tuple(span.total_seconds() for span in spans)

    assert bounds(3, 30, 5) == (60, 95)
    assert bounds(3, 30, 5, 10) == (50, 105)
    assert bounds(1, 2, 1, 1) == (0, 4)


def test_the_detection_formula_with_a_fast_interval():
    def bounds(threshold, timeout, fast, jitter=0.0):
        spans = (timedelta(seconds=each) for each in (30, timeout, jitter))
        found = detection_bounds(threshold, *spans, timedelta(seconds=fast))
        return tuple(span.total_seconds() for span in found)

    assert bounds(3, 1, 2) == (4, 35)
    assert bounds(3, 5, 2) == (4, 45)  # a silent one can't be asked faster than it times out
    assert bounds(3, 5, 30) == (60, 95)  # as without one
    assert bounds(1, 5, 2, 3) == (0, 38)


def test_transition_is_a_step_with_more_steps_to_go():
    def transitions(checks, down=3, back=2):
        tracker = HealthTracker(down, back)
        seen = ""
        for check in checks:
            tracker.observe(check == "+")
            seen += "t" if tracker.in_transition else "."
        return seen

    assert transitions("+--+---+-++") == ".tt.tt.t.t."
    assert transitions("---") == "tt."
    assert transitions("+-+-", 1, 1) == "...."


# Flap damping.


def test_a_penalty_adds_up_and_decays_by_half_lives():
    penalty = FlapPenalty(FlapDamping(suppress_at=1.7, reuse_at=0.875, half_life="10m"))
    assert not penalty.went_down(0)
    assert not penalty.went_down(600)
    assert penalty.value(600) == 1.5
    assert penalty.suppressed_until is None
    assert penalty.went_down(1200)
    assert penalty.value(1200) == 1.75
    assert penalty.suppressed_until == 1800  # one half-life takes it to what is reused
    assert penalty.went_down(1800)  # 1.875
    assert penalty.value(1800) == 1.875
    assert penalty.value(1800 + 1e9) < 1e-300


def test_one_outage_suppresses_for_the_maximum_at_most():
    penalty = FlapPenalty(FlapDamping(half_life="15m", max_suppress="1h"))
    for second in range(100):
        penalty.went_down(second)
    assert penalty.value(99) == 12  # 0.75 x 2 ** 4
    assert penalty.suppressed_until == 99 + 3600


def test_a_suppressed_one_stays_so_until_it_is_reusable_whatever_its_penalty():
    penalty = FlapPenalty(FlapDamping(suppress_at=3, reuse_at=1, half_life="10m"))
    for _ in range(3):
        penalty.went_down(0)
    until = penalty.suppressed_until
    assert until == pytest.approx(600 * 1.58496, abs=0.01)
    assert penalty.went_down(900)  # below three, but still suppressed: for longer from now on
    assert penalty.value(900) < 3
    assert penalty.suppressed_until > until


@given(
    st.lists(st.floats(0, 10_000), max_size=30).map(sorted),
    st.floats(0.1, 2),
    st.floats(0.1, 5),
    st.integers(1, 3600),
)
def test_when_it_is_reusable_the_penalty_has_fallen_to_that(moments, reuse, more, half_life):
    damping = FlapDamping(
        suppress_at=reuse + more,
        reuse_at=reuse,
        half_life=timedelta(seconds=half_life),
        max_suppress=timedelta(seconds=half_life * 10),
    )
    penalty = FlapPenalty(damping)
    for moment in moments:
        suppresses = penalty.went_down(moment)
        assert penalty.value(moment) <= damping.ceiling
        if penalty.value(moment) >= damping.suppress_at:
            assert suppresses
        if suppresses:
            assert penalty.value(penalty.suppressed_until) == pytest.approx(reuse, rel=1e-6)
            assert penalty.suppressed_until - moment <= half_life * 10 + 1e-6


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"suppress_at": "3"}, TypeError, "suppress_at must be a number, not '3'"),
        ({"reuse_at": True}, TypeError, "reuse_at must be a number, not True"),
        ({"reuse_at": 0}, ValueError, "reuse_at must be above zero and below suppress_at"),
        ({"suppress_at": 0.5}, ValueError, "not 0.75 and 0.5"),
        ({"half_life": 15}, TypeError, "flap damping: half_life: 15 has no unit"),
        ({"half_life": "0s"}, ValueError, "flap damping: half_life must be above zero"),
        ({"max_suppress": "1m"}, ValueError, "so nothing would ever be suppressed"),
    ],
)
def test_a_bad_damping_is_one_clear_sentence(settings, error, message):
    with pytest.raises(error) as caught:
        FlapDamping(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def damped(until, status=HEALTHY):
    return Candidate(status, 0.0 if status is HEALTHY else None, until)


@pytest.mark.parametrize(
    ("candidates", "active", "expected"),
    [
        ([damped(150.0), H], 1, Decision(1, "stay", 50.0)),  # no failback while it is suppressed
        ([damped(100.0), H], 1, Decision(0, "failback")),
        ([U, damped(150.0), H], 0, Decision(2, "failover")),  # others are better,
        ([U, damped(150.0), U], 0, Decision(1, "failover")),  # and none is worse
        ([damped(150.0), U], 0, Decision(0, "stay")),  # who has the traffic keeps it
    ],
)
def test_who_flaps_is_not_trusted_unless_it_is_needed(candidates, active, expected):
    assert decide(candidates, active, 0.0, now=100.0) == expected


def test_a_failback_that_failed_is_not_tried_before_its_time():
    assert decide([H, H], 1, 0.0, now=100.0, not_before=107.0) == Decision(1, "stay", 7.0)
    assert decide([H, U], 1, 0.0, now=100.0, not_before=107.0) == Decision(0, "failover")
