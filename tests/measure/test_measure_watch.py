"""The pure account of a series of checks, against the definition applied to the whole history."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill.clock import REAL_CLOCK
from pytest_drdrill.measure.watch import Watch, run_check, run_check_async

SINCE = 100.0


@dataclass
class Look:
    begun: float
    ended: float
    passed: bool


def history(watch, looks):
    """The looks that a watch took: each lasts so long and passes or not; the last one repeats."""
    taken, now, number = [], SINCE, 0
    while number < 10_000:
        takes, passed = looks[min(number, len(looks) - 1)]
        look = Look(now, now + takes, passed)
        taken.append(look)
        pause = watch.enter(look.begun, look.ended, passed=passed)
        if pause is None:
            return taken
        assert pause >= 0
        now, number = look.ended + pause, number + 1
    raise AssertionError("patience never ended")


def run_at(taken, index):
    """Where the success run that a look belongs to began."""
    while index and taken[index - 1].passed:
        index -= 1
    return index


looks = st.lists(st.tuples(st.sampled_from([0, 0, 1, 3, 12]), st.booleans()), min_size=1)


@given(
    looks,
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 40),
    st.booleans(),
)
@example([(0, False), (0, True)], 1, 5, 3, True)
@example([(0, False), (0, True)], 1, 5, 3, False)
def test_watch_says_what_its_history_says(looks, interval, hold, patience, grace):
    deadline = SINCE + patience
    watch = Watch(since=SINCE, interval=interval, hold=hold, deadline=deadline, grace=grace)
    taken = history(watch, looks)

    def graced(index):
        look = taken[index]
        return grace and look.passed and taken[run_at(taken, index)].ended <= deadline

    def enough(index):
        look = taken[index]
        return (
            look.passed
            and look.ended - taken[run_at(taken, index)].ended >= hold
            and (look.ended <= deadline or graced(index))
        )

    def over(index):
        return taken[index].ended >= deadline and not graced(index)

    last = len(taken) - 1
    # It goes on exactly as long as nothing is decided.
    assert not any(enough(index) or over(index) for index in range(last))
    assert enough(last) or over(last)
    assert watch.failures == sum(not look.passed for look in taken)

    if enough(last):
        began = run_at(taken, last)
        failed = taken[began - 1].begun if began else SINCE
        assert watch.run_began == taken[began].ended
        assert watch.resolution == taken[began].ended - failed
        assert watch.held == taken[last].ended - taken[began].ended
    else:
        assert watch.held is None

    # A fixed rate from start to start; the deadline itself is looked at.
    for index in range(last):
        look, following = taken[index], taken[index + 1]
        due = max(look.ended, look.begun + interval)
        if not graced(index):
            due = min(due, max(deadline, look.ended))
        assert following.begun == due


@given(looks, st.integers(1, 5), st.integers(0, 12), st.integers(1, 40), st.booleans())
def test_patience_reaches_as_far_as_a_check_can_still_count(looks, interval, hold, patience, grace):
    deadline = SINCE + patience
    watch = Watch(since=SINCE, interval=interval, hold=hold, deadline=deadline, grace=grace)
    taken = history(watch, looks)
    again = Watch(since=SINCE, interval=interval, hold=hold, deadline=deadline, grace=grace)
    for look in taken:
        began = again.run_began
        least = deadline - look.begun
        if grace and began is not None and began <= deadline:
            least = max(least, began + hold + interval - look.begun)
        assert again.patience(look.begun) == max(least, 0.001)
        again.enter(look.begun, look.ended, passed=look.passed)


def test_flapping_service_counts_from_the_run_that_held():
    watch = Watch(since=SINCE, interval=1, hold=3, deadline=SINCE + 60, grace=True)
    flapping = [False, True, True, False, True, True, True, True]
    taken = history(watch, [(0, passed) for passed in flapping])
    assert len(taken) == 8
    assert watch.run_began == SINCE + 4
    assert watch.resolution == 1
    assert watch.held == 3
    assert watch.failures == 2


def test_hold_ends_after_the_deadline_only_with_grace():
    passing = [(0, False), (0, True)]
    for grace, held in ((True, 5), (False, None)):
        watch = Watch(since=SINCE, interval=1, hold=5, deadline=SINCE + 3, grace=grace)
        history(watch, passing)
        assert watch.held == held


# -- one check ---------------------------------------------------------------------------------


def boom():
    raise ConnectionError("refused")


@pytest.mark.parametrize("falsy", [False, None, 0, "", []])
def test_falsy_outcome_is_a_failed_check(falsy):
    assert run_check(lambda: falsy) == (False, None)


@pytest.mark.parametrize("truthy", [True, 1, "ok", [0], object()])
def test_truthy_outcome_is_a_passed_check(truthy):
    assert run_check(lambda: truthy) == (True, None)


def test_raising_check_is_a_failed_check():
    passed, error = run_check(boom)
    assert not passed
    assert isinstance(error, ConnectionError)


def test_interrupt_is_no_failed_check():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_check(interrupted)


def test_asynchronous_check_of_a_blocking_watch_is_an_error():
    async def check():
        return True

    with pytest.raises(TypeError, match=r"await rto_timer.until\(check\)"):
        run_check(check)


@pytest.mark.asyncio
async def test_both_kinds_of_checks_run_asynchronously():
    async def good():
        return "yes"

    async def bad():
        boom()

    assert await run_check_async(good, 1, REAL_CLOCK) == (True, None)
    assert await run_check_async(lambda: 1, 1, REAL_CLOCK) == (True, None)
    assert await run_check_async(lambda: None, 1, REAL_CLOCK) == (False, None)
    for check in (bad, boom):
        passed, error = await run_check_async(check, 1, REAL_CLOCK)
        assert not passed
        assert isinstance(error, ConnectionError)
