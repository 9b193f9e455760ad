"""A client's view of an outage, against the definition, over any history of writes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill.measure.client_view import ClientView

DISASTER = 10
writes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 12), st.booleans()), max_size=25
).map(lambda found: sorted(found, key=lambda write: write[0]))
"""(sent, took, acknowledged), in the order in which they were sent."""


def replay(history, hold):
    """Enter a history in the order in which a client would meet it."""
    view = ClientView(DISASTER, hold)
    events = []
    for number, (sent, took, acknowledged) in enumerate(history):
        if sent >= DISASTER:
            events.append((sent, 1, number, None))
        if sent + took >= DISASTER:
            events.append((sent + took, 2, number, acknowledged))
    for at, _, number, acknowledged in sorted(events, key=lambda event: event[:3]):
        if acknowledged is None:
            view.send(number, at)
        else:
            view.enter(number, at, acknowledged=acknowledged)
    return view


@given(writes)
def test_without_a_hold_it_is_the_first_acknowledgement_after_the_last_bad_write(history):
    bad = [n for n, (sent, took, good) in enumerate(history) if not good and sent + took >= 10]
    last = max(bad, default=-1)
    run = [
        sent + took
        for n, (sent, took, good) in enumerate(history)
        if good and n > last and sent >= DISASTER
    ]
    found = replay(history, 0).recovery()
    if not run:
        assert found is None
        return
    assert found.began == min(run)
    assert found.held == max(run) - min(run)
    assert found.resolution == min(run) - max(DISASTER, history[last][0] if bad else 0)
    assert found.resolution >= 0


@example([(10, 0, True), (10, 0, False), (10, 0, True), (10, 1, True)], 1)
@given(writes, st.integers(1, 15))
def test_run_that_held_has_no_bad_write_that_was_sent_in_its_hold(history, hold):
    found = replay(history, hold).recovery()
    if found is None:
        return
    assert found.held >= hold
    # What was sent after the run's first write, and in its hold, was all acknowledged; several may
    # have been answered in that instant.
    assert any(
        all(other for sent, _, other in history[n + 1 :] if sent < found.began + hold)
        for n, (sent, took, good) in enumerate(history)
        if good and sent >= DISASTER and sent + took == found.began
    )


def test_hold_is_not_over_while_a_write_of_it_is_unanswered():
    view = ClientView(0, 5)
    for number, at in enumerate(range(10)):
        view.send(number, at)
        if number != 3:
            view.enter(number, at, acknowledged=True)
    assert not view.is_back
    view.enter(3, 10, acknowledged=True)
    assert view.recovery().began == 0
    # It held: what comes later is another matter.
    view.enter(11, 12, acknowledged=False)
    for number, at in ((12, 13), (13, 20)):
        view.send(number, at)
        view.enter(number, at, acknowledged=True)
    assert view.recovery().began == 0


def test_longest_blind_time_is_from_the_begin_of_one_look_to_the_end_of_the_next():
    view = ClientView(0, 0)
    view.send(0, 1)
    view.enter(0, 4, acknowledged=True)
    view.send(1, 5)
    view.enter(1, 6, acknowledged=True)
    assert view.blind == pytest.approx(5)
