"""The rules by themselves: counting checks, deciding who is active, placing checks in time."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill.failover import HealthStatus
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
