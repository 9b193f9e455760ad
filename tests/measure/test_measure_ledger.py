import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import WriteLedger

keys = st.integers(0, 9)
entries = st.lists(
    st.tuples(st.sampled_from(["acknowledged", "indeterminate"]), keys, st.integers(0, 20))
)


def filled(writes, *readings):
    ledger = WriteLedger()
    for state, key, at in writes:
        if state == "acknowledged":
            ledger.acknowledged(key, at)
        else:
            ledger.indeterminate(key)
    for reading in readings:
        ledger.survived(reading)
    return ledger


def simple(acknowledged, survivors, indeterminate=()):
    writes = [("acknowledged", key, at) for key, at in acknowledged.items()]
    writes += [("indeterminate", key, 0) for key in indeterminate]
    return filled(writes, survivors).loss()


@given(entries, st.lists(st.sets(keys), min_size=1, max_size=3), st.integers(0, 25))
def test_account_is_that_of_the_definition(writes, readings, disaster):
    ledger = filled(writes, *readings)
    first = {}
    for state, key, at in writes:
        if state == "acknowledged" and key not in first:
            first[key] = at
    asked = {key for state, key, _ in writes if state == "indeterminate"} - set(first)
    found = set().union(*readings)
    lost = {key for key in first if key not in found}

    assert ledger.count == len(first)
    if not first:
        assert ledger.unknown() == "no write was acknowledged"
        return
    loss = ledger.loss()
    assert set(loss.lost) == lost
    assert len(loss.lost) == len(lost)
    assert [first[key] for key in loss.lost] == sorted(first[key] for key in lost)
    assert set(loss.holes) == {
        key for key in lost if any(first[other] > first[key] for other in found & set(first))
    }
    struck = ledger.loss(disasters=[disaster])
    assert struck._replace(holes=()) == loss._replace(holes=())
    assert set(struck.holes) == {
        key
        for key in lost
        if any(
            first[other] > first[key] and (first[key] > disaster or first[other] <= disaster)
            for other in found & set(first)
        )
    }
    assert set(loss.indeterminate) == asked
    assert loss.unbounded == (not found & (set(first) | asked))
    if loss.unbounded:
        assert loss.seconds_lost(disaster) is None
    elif not lost:
        assert loss.seconds_lost(disaster) == 0
    else:
        lost_at = [first[key] for key in lost]
        assert loss.seconds_lost(disaster) == max([disaster, *lost_at]) - min(lost_at)


def test_cut_off_tail_counts_from_its_first_write_to_the_disaster():
    loss = simple({"a": 10, "b": 20, "c": 30}, ["a"])
    assert list(loss.lost) == ["b", "c"]
    assert list(loss.holes) == []
    assert loss.seconds_lost(35) == 15


def test_acknowledgement_after_the_disaster_prolongs_the_loss():
    # A stale primary went on acknowledging.
    assert simple({"a": 10, "b": 20, "c": 60}, ["a"]).seconds_lost(35) == 40


def test_hole_is_a_loss_with_a_later_survivor():
    loss = simple({"a": 10, "b": 20, "c": 30, "d": 40}, ["a", "c"])
    assert list(loss.lost) == ["b", "d"]
    assert list(loss.holes) == ["b"]


@given(
    st.dictionaries(keys, st.integers(0, 6), min_size=1),
    st.sets(keys),
    st.lists(st.integers(0, 6), max_size=3, unique=True).map(sorted),
)
def test_holes_have_a_later_survivor_from_before_the_same_disaster(first, found, disasters):
    ledger = filled([("acknowledged", key, at) for key, at in first.items()], found)
    assert set(ledger.loss(disasters=disasters).holes) == {
        key
        for key in set(first) - found
        if any(
            first[other] > first[key]
            and not any(first[key] <= struck < first[other] for struck in disasters)
            for other in found & set(first)
        )
    }


@given(
    st.dictionaries(keys, st.integers(0, 9), min_size=1),
    st.sets(keys),
    st.lists(st.integers(0, 9), min_size=2, max_size=4, unique=True).map(sorted),
)
def test_what_is_acknowledged_in_an_outage_is_no_hole(first, found, moments):
    ledger = filled([("acknowledged", key, at) for key, at in first.items()], found)
    disasters, recoveries = moments[::2], [*moments[1::2], math.inf]
    until = [*disasters[1:], math.inf]
    sooner = ledger.loss(disasters=disasters, recoveries=disasters)
    assert sooner == ledger.loss(disasters=disasters)
    loss = ledger.loss(disasters=disasters, recoveries=recoveries[: len(disasters)])
    assert loss._replace(holes=()) == sooner._replace(holes=())
    assert loss.holes == [
        key
        for key in sooner.holes
        if not any(
            struck < first[key] < min(back, end)
            for struck, back, end in zip(disasters, recoveries, until, strict=False)
        )
    ]


def test_a_dying_primary_that_confirms_once_more_makes_no_hole():
    ledger = filled([("acknowledged", key, at) for key, at in {"a": 1, "b": 5.1, "c": 6}.items()])
    ledger.survived(["a", "c"])
    assert ledger.loss(disasters=[5], recoveries=[6]).holes == []
    assert ledger.loss(disasters=[5], recoveries=[math.inf]).holes == []
    assert ledger.loss(disasters=[5], recoveries=[5.1]).holes == ["b"]
    assert ledger.loss(disasters=[5]).holes == ["b"]


def test_entered_out_of_order_is_judged_by_moment():
    loss = simple({"late": 30, "early": 10, "middle": 20}, ["middle"])
    assert list(loss.lost) == ["early", "late"]
    assert list(loss.holes) == ["early"]
    assert (loss.lost_at[0], loss.lost_at[-1]) == (10, 30)


def test_indeterminate_write_is_neither_lost_nor_safe():
    for survivors in (["a"], ["a", "maybe"]):
        loss = simple({"a": 10}, survivors, indeterminate=["maybe"])
        assert list(loss.lost) == []
        assert list(loss.indeterminate) == ["maybe"]
        assert loss.seconds_lost(20) == 0


def test_indeterminate_then_acknowledged_is_acknowledged():
    ledger = WriteLedger()
    ledger.indeterminate("a")
    ledger.acknowledged("a", 10)
    ledger.acknowledged("b", 20)
    ledger.survived(["b"])
    loss = ledger.loss()
    assert list(loss.lost) == ["a"]
    assert list(loss.indeterminate) == []


def test_acknowledged_stays_so_whatever_comes_later():
    ledger = WriteLedger()
    ledger.acknowledged("a", 10)
    ledger.indeterminate("a")
    ledger.acknowledged("a", 99)
    ledger.survived([])
    loss = ledger.loss()
    assert list(loss.indeterminate) == []
    assert loss.lost_at[0] == 10


def test_no_survivor_at_all_has_no_bound():
    assert simple({"a": 10}, []).unbounded
    assert simple({"a": 10}, ["never heard of"]).unbounded
    assert not simple({"a": 10, "b": 11}, ["a"]).unbounded
    assert not simple({"a": 10}, ["maybe"], indeterminate=["maybe"]).unbounded


def test_survivors_add_up_unless_read_afresh():
    ledger = filled([("acknowledged", 1, 10), ("acknowledged", 2, 20)], [1], [1, 2])
    assert list(ledger.loss().lost) == []
    ledger.survived([1], afresh=True)
    assert list(ledger.loss().lost) == [2]


def test_what_a_ledger_does_not_know():
    ledger = WriteLedger()
    assert not ledger.used
    ledger.survived([])
    assert ledger.used
    with pytest.raises(ValueError, match="no write was acknowledged"):
        ledger.loss()
    ledger = WriteLedger()
    ledger.acknowledged(1, 10)
    assert ledger.used
    with pytest.raises(ValueError, match="never read back"):
        ledger.loss()
    ledger = WriteLedger()
    ledger.indeterminate(1)
    assert ledger.used
    assert ledger.unknown() == "no write was acknowledged"


@pytest.mark.parametrize("text", ["order-1", b"order-1"])
def test_single_text_is_not_taken_for_its_letters(text):
    with pytest.raises(TypeError, match="collection of keys, not one text"):
        WriteLedger().survived(text)


def test_survivors_may_come_from_a_generator():
    assert list(simple({1: 10, 2: 20}, (key for key in [1])).lost) == [2]


class CountedKey:
    """A key that counts how often it is looked at."""

    looks = 0

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        CountedKey.looks += 1
        return hash(self.number)

    def __eq__(self, other):
        CountedKey.looks += 1
        return self.number == other.number


def test_cost_of_the_account_grows_with_the_ledger_and_not_its_square():
    def account(size):
        keys = [CountedKey(number) for number in range(size)]
        ledger = WriteLedger()
        for number, key in enumerate(keys):
            ledger.acknowledged(key, number)
        ledger.survived(keys[::2])
        CountedKey.looks = 0
        assert len(ledger.loss().holes) == size / 2 - 1
        return CountedKey.looks

    assert account(1_000) <= 2.1 * account(500)
