from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_clock import EPOCH, START, HandClock
from pytest_drdrill import Drill, ObjectiveNotMeasured, Objectives, RPOExceeded


def seconds(number):
    return timedelta(seconds=number)


def at(number):
    return EPOCH + seconds(number)


def strike(drill, moment):
    """A disaster that many seconds after the start; recovered from in no time."""
    drill.clock.advance(START + moment - drill.clock.seconds)
    with drill.rto.outage():
        pass


def write(drill, *moments):
    for moment in moments:
        drill.rpo.acknowledged(moment, at=START + moment)


def kinds(drill):
    return [type(breach) for breach in drill.judge()]


# -- from a ledger -----------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 50), min_size=1, unique=True),
    st.sets(st.integers(0, 50)),
    st.integers(0, 50),
    st.integers(0, 30),
)
def test_loss_is_that_of_the_definition(acknowledged, survivors, disaster, target):
    drill = Drill(Objectives(rpo=seconds(target)), clock=HandClock())
    write(drill, *acknowledged)
    strike(drill, disaster)
    drill.clock.advance(60)
    drill.rpo.survived(survivors)

    lost = sorted(set(acknowledged) - survivors)
    assert drill.rpo.lost == lost
    if len(lost) == len(acknowledged):
        assert drill.rpo.data_loss == timedelta.max
        assert kinds(drill) == [RPOExceeded]
        return
    span = max(disaster, lost[-1]) - lost[0] if lost else 0
    if min(acknowledged) > disaster:  # nothing was at risk
        assert drill.rpo.data_loss is None
        assert kinds(drill) == [ObjectiveNotMeasured]
        return
    assert drill.rpo.data_loss == seconds(span)
    assert drill.rpo.measured().basis == "ledger"
    broken = span > target or (lost and target == 0)
    assert kinds(drill) == ([RPOExceeded] if broken else [])


def test_any_lost_write_breaks_an_rpo_of_zero_whatever_its_age(promised):
    drill = promised(rpo="0s")
    write(drill, 1, 10)
    strike(drill, 10)
    drill.rpo.survived([1])
    assert drill.rpo.data_loss == timedelta(0)  # lost in the instant of the disaster
    assert kinds(drill) == [RPOExceeded]


def test_nothing_lost_is_zero(promised):
    drill = promised(rpo="0s")
    write(drill, 1, 2)
    drill.rpo.indeterminate("maybe")
    strike(drill, 10)
    drill.rpo.survived([1, 2])
    assert drill.rpo.data_loss == timedelta(0)
    assert drill.rpo.lost == drill.rpo.holes == []
    assert drill.judge() == []


def test_what_a_successor_acknowledged_makes_no_hole_of_a_cut_off_tail(drill, clock):
    for key in range(3):
        drill.rpo.acknowledged(key)
        clock.advance(1)
    assert drill.rpo.holes == []
    drill.rpo.survived([0, 2])
    assert drill.rpo.holes == [1]
    drill.rto.disaster()
    clock.advance(1)
    drill.rpo.acknowledged(3)
    drill.rpo.survived([0, 3])
    assert drill.rpo.lost == [1, 2]
    assert drill.rpo.holes == []


def test_what_the_dying_primary_confirmed_is_no_hole(drill, clock):
    write(drill, 1)
    strike(drill, 10)
    drill.rto.disaster()
    clock.advance(1)
    drill.rpo.acknowledged("before it died")
    clock.advance(1)
    drill.rpo.acknowledged("by its successor")
    drill.rpo.survived([1, "by its successor"])
    assert (drill.rpo.lost, drill.rpo.holes) == (["before it died"], [])
    drill.rto.recovered()
    assert drill.rpo.holes == []
    drill.rpo.acknowledged("since")
    clock.advance(1)
    drill.rpo.acknowledged("after that")
    drill.rpo.survived(["after that"])
    assert drill.rpo.holes == ["since"]


def test_holes_are_listed_apart(drill):
    write(drill, 1, 2, 3, 4)
    strike(drill, 5)
    drill.rpo.survived([1, 3])
    assert drill.rpo.lost == [2, 4]
    assert drill.rpo.holes == [2]


def test_write_is_acknowledged_now_unless_told_otherwise(drill, clock):
    clock.advance(3)
    drill.rpo.acknowledged("now")
    drill.rpo.acknowledged("later", at=START + 4)
    strike(drill, 10)
    drill.rpo.survived(["later"])
    assert drill.rpo.data_loss == seconds(7)


def test_survivors_read_in_several_calls_add_up(drill):
    write(drill, 1, 2)
    strike(drill, 5)
    drill.rpo.survived([1])
    assert drill.rpo.lost == [2]
    drill.rpo.survived(key for key in [2])
    drill.rpo.survived([2])
    assert drill.rpo.lost == []
    read = [event for event in drill.timeline.events() if event["event"] == "survivors read back"]
    assert len(read) == 1


def test_survivors_of_one_disaster_need_not_survive_the_next(drill):
    write(drill, 1, 2)
    strike(drill, 5)
    drill.rpo.survived([1, 2])
    strike(drill, 9)
    assert drill.rpo.lost == []
    drill.rpo.survived([1])
    assert drill.rpo.lost == [2]
    assert drill.rpo.data_loss == seconds(3)


def test_survivors_read_before_the_disaster_show_nothing(promised):
    drill = promised(rpo="1m")
    write(drill, 1, 2)
    drill.rpo.survived([1, 2])
    strike(drill, 5)
    assert drill.rpo.data_loss is None
    assert kinds(drill) == [ObjectiveNotMeasured]
    assert "read back before the disaster" in str(drill.judge()[0])
    drill.rpo.survived([1])
    assert drill.rpo.data_loss == seconds(3)


def test_entry_after_a_look_is_seen_by_the_next_look(drill):
    write(drill, 1)
    strike(drill, 5)
    drill.rpo.survived([1])
    assert drill.rpo.lost == []
    write(drill, 2)
    assert drill.rpo.lost == [2]
    drill.rpo.indeterminate(3)
    assert list(drill.rpo.ledger_loss().indeterminate) == [3]


@pytest.mark.parametrize(
    ("survivors", "loss"), [([1, 20], 2), ([1, 8], 80), ([1], 80), ([1, 8, 20], 0)]
)
def test_each_lost_write_belongs_to_the_first_disaster_since(drill, survivors, loss):
    write(drill, 1, 8, 20)
    strike(drill, 10)
    strike(drill, 100)
    drill.rpo.survived(survivors)
    assert drill.rpo.data_loss == seconds(loss)


def test_losing_more_never_measures_less(drill):
    write(drill, 1, 8, 20)
    strike(drill, 10)
    strike(drill, 100)
    drill.rpo.survived([1, 8])
    before = drill.rpo.data_loss
    worse = Drill(clock=HandClock())
    write(worse, 1, 8, 20)
    strike(worse, 10)
    strike(worse, 100)
    worse.rpo.survived([1])
    assert worse.rpo.data_loss >= before


def test_loss_that_was_measured_stands_whatever_comes_later(promised):
    drill = promised(rpo="0s")
    write(drill, 1, 2)
    strike(drill, 10)
    drill.rpo.survived([1])
    assert kinds(drill) == [RPOExceeded]
    drill.rpo.acknowledged(2)  # entered again by hand
    drill.rpo.acknowledged(3)
    strike(drill, 100)
    drill.rpo.survived([1, 2, 3])
    assert drill.rpo.lost == [2]
    assert drill.rpo.data_loss == seconds(8)
    assert kinds(drill) == [RPOExceeded]


def test_what_was_written_after_a_look_is_no_loss_of_the_look_before(promised):
    drill = promised(rpo="0s")
    write(drill, 1)
    strike(drill, 10)
    drill.rpo.survived([1])
    drill.clock.advance(1)
    drill.rpo.acknowledged(2)
    strike(drill, 100)
    drill.rpo.survived([1, 2])
    assert drill.rpo.lost == []
    assert drill.judge() == []


def test_ledger_that_was_entered_is_not_waived(promised):
    drill = promised(rto="1h", rpo="5m")
    write(drill, 1)
    strike(drill, 10)
    drill.rpo.not_applicable("so I said")  # and never read back
    assert ObjectiveNotMeasured in kinds(drill)


def test_writes_lost_after_every_disaster_count_among_themselves(drill):
    write(drill, 1, 20, 23)
    strike(drill, 10)
    drill.clock.advance(20)
    drill.rpo.survived([1])
    assert drill.rpo.data_loss == seconds(3)


def test_single_text_is_no_collection_of_survivors(drill):
    with pytest.raises(TypeError, match="not one text"):
        drill.rpo.survived("order-1")
    assert not drill.rpo.ledger.used


# -- what is unknown ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enter", "why"),
    [
        (lambda rpo: None, "nothing was entered"),
        (lambda rpo: rpo.indeterminate(1), "no write was acknowledged"),
        (lambda rpo: rpo.survived([1]), "no write was acknowledged"),
        (lambda rpo: rpo.acknowledged(1), "never read back"),
        (lambda rpo: (rpo.acknowledged(1), rpo.recovered_to(EPOCH)), "never read back"),
    ],
)
def test_unknown_is_not_measured(promised, enter, why):
    drill = promised(rpo="5m")
    strike(drill, 1)
    enter(drill.rpo)
    assert why in drill.rpo.unknown()
    assert drill.rpo.measured() is drill.rpo.data_loss is None
    assert drill.rpo.lost == drill.rpo.holes == []
    assert kinds(drill) == [ObjectiveNotMeasured]
    assert why in str(drill.judge()[0])


def test_loss_without_a_disaster_is_unknown(promised):
    drill = promised(rpo="5m")
    write(drill, 1, 2)
    drill.rpo.survived([1])
    assert "moment of the disaster is unknown" in drill.rpo.unknown()
    assert kinds(drill) == [ObjectiveNotMeasured]


def test_reason_answers_for_what_is_unknown_and_never_for_a_loss(promised):
    drill = promised(rpo="1s")
    drill.rpo.not_applicable("the web tier holds no data")
    strike(drill, 10)
    assert drill.judge() == []
    assert drill.rpo.reason_not_applicable == "the web tier holds no data"
    write(drill, 1, 2)
    drill.rpo.survived([1])
    assert kinds(drill) == [RPOExceeded]


@pytest.mark.parametrize(
    ("reason", "error"), [("", ValueError), (" \n", ValueError), (None, TypeError), (0, TypeError)]
)
def test_not_applicable_takes_a_reason(drill, reason, error):
    with pytest.raises(error, match=r"^not_applicable\(\) takes a reason, e.g. .*, not "):
        drill.rpo.not_applicable(reason)


# -- from a backup -----------------------------------------------------------------------------


def test_loss_reaches_back_to_the_recovery_point(promised):
    drill = promised(rpo="5m")
    strike(drill, 60)
    drill.rpo.recovered_to(at(-180))
    assert drill.rpo.data_loss == seconds(240)
    assert drill.rpo.measured().basis == "backup"
    assert drill.judge() == []
    drill.rpo.recovered_to(at(-241))
    assert kinds(drill) == [RPOExceeded]


def test_backup_taken_within_the_drill_is_staged(drill):
    strike(drill, 60)
    drill.rpo.recovered_to(at(0))
    assert drill.rpo.measured() == drill.rpo.measured().__class__(seconds(60), "staged")


@pytest.mark.parametrize("basis", ["backup", "staged"])
def test_basis_as_told(drill, basis):
    strike(drill, 60)
    drill.rpo.recovered_to(at(10), basis=basis)
    assert drill.rpo.measured().basis == basis


def test_largest_of_several_recovery_points_decides(drill):
    strike(drill, 60)
    drill.rpo.recovered_to(at(30))
    drill.rpo.recovered_to(at(-10))
    drill.rpo.recovered_to(at(59))
    assert drill.rpo.data_loss == seconds(70)
    assert drill.rpo.measured().basis == "backup"


@pytest.mark.parametrize(("point", "basis", "loss"), [(-40, "backup", 100), (55, "ledger", 50)])
def test_larger_of_ledger_and_backup_decides(drill, point, basis, loss):
    write(drill, 1, 10)
    strike(drill, 60)
    drill.rpo.survived([1])
    drill.rpo.recovered_to(at(point))
    assert drill.rpo.measured().basis == basis
    assert drill.rpo.data_loss == seconds(loss)


def test_loss_without_a_bound_outweighs_every_recovery_point(promised):
    drill = promised(rpo="1h")
    write(drill, 1)
    strike(drill, 60)
    drill.rpo.survived([])
    drill.rpo.recovered_to(at(50))
    assert drill.rpo.measured().actual is None
    assert drill.rpo.data_loss == timedelta.max
    (breach,) = drill.judge()
    assert isinstance(breach, RPOExceeded)
    assert breach.actual is None
    assert "no bound" in str(breach)


def test_recovery_point_may_be_given_before_the_disaster(drill):
    drill.rpo.recovered_to(at(0))
    strike(drill, 60)
    strike(drill, 90)  # a failback, which nothing was restored from
    assert drill.rpo.data_loss == seconds(60)


def test_recovery_point_given_at_the_end_answers_the_first_disaster_after_it(drill):
    strike(drill, 60)
    strike(drill, 90)
    drill.rpo.recovered_to(at(10))
    assert drill.rpo.data_loss == seconds(50)
    drill.rpo.recovered_to(at(65))
    assert drill.rpo.data_loss == seconds(50)


def test_same_recovery_point_answers_each_disaster_it_is_given_after(drill):
    for moment, loss in ((60, 50), (90, 80), (120, 110)):
        strike(drill, moment)
        drill.rpo.recovered_to(at(10))
        assert drill.rpo.data_loss == seconds(loss)


def test_all_recovery_points_given_since_a_disaster_answer_it(drill):
    strike(drill, 60)
    drill.rpo.recovered_to(at(59))
    strike(drill, 90)
    drill.rpo.recovered_to(at(85))
    drill.rpo.recovered_to(at(10))
    assert drill.rpo.data_loss == seconds(80)


def test_recovery_point_after_the_disaster_is_refused(drill):
    strike(drill, 60)
    drill.rpo.recovered_to(at(60))
    assert drill.rpo.data_loss == timedelta(0)
    with pytest.raises(ValueError, match="lies after the disaster"):
        drill.rpo.recovered_to(at(60.000001))
    assert drill.rpo.data_loss == timedelta(0)


def test_recovery_point_that_turns_out_later_than_the_disaster_is_no_measurement(promised):
    drill = promised(rpo="5m")
    drill.rpo.recovered_to(at(100))
    strike(drill, 60)
    assert drill.rpo.data_loss is None
    assert kinds(drill) == [ObjectiveNotMeasured]
    assert "lies after the disaster" in str(drill.judge()[0])


class Nowhere(tzinfo):
    def utcoffset(self, moment):
        return None


@pytest.mark.parametrize(
    ("moment", "kind", "message"),
    [
        ("2026-03-01", TypeError, "takes an aware datetime, not '2026-03-01'"),
        (0, TypeError, "takes an aware datetime"),
        (EPOCH.date(), TypeError, "takes an aware datetime"),
        (datetime(2026, 3, 1), ValueError, "has no time zone"),  # noqa: DTZ001 - the point
        (datetime(2026, 3, 1, tzinfo=Nowhere()), ValueError, "has no time zone"),
    ],
)
def test_recovery_point_is_an_aware_moment(drill, moment, kind, message):
    with pytest.raises(kind, match=message):
        drill.rpo.recovered_to(moment)


def test_unknown_basis_is_refused(drill):
    with pytest.raises(ValueError, match="write 'backup' or 'staged'"):
        drill.rpo.recovered_to(EPOCH, basis="ledger")


def test_time_zones_agree(drill):
    strike(drill, 60)
    drill.rpo.recovered_to(at(10).astimezone(timezone(timedelta(hours=-7))))
    assert drill.rpo.data_loss == seconds(50)
    assert drill.timeline.events()[-1]["detail"] == f"{at(10).astimezone(UTC).isoformat()} (staged)"


def test_restart_forgets_everything(promised):
    drill = promised(rpo="5m")
    write(drill, 1)
    drill.rpo.survived([1])
    strike(drill, 60)
    drill.rpo.survived([1])
    drill.rpo.recovered_to(at(10))
    drill.rpo.not_applicable("for a reason")
    drill._restart()
    assert drill.rpo.reason_not_applicable is None
    assert kinds(drill) == [ObjectiveNotMeasured]
    strike(drill, 100)
    drill.rpo.recovered_to(at(100))
    assert drill.rpo.data_loss == timedelta(0)


def test_writes_after_the_disaster_alone_were_at_no_risk(drill, clock):
    with drill.rto.outage():
        clock.advance(1)
    drill.rpo.acknowledged("late")
    drill.rpo.survived(["late"])
    assert drill.rpo.measured() is None
    assert "before the disaster" in drill.rpo.unknown()
    drill.rpo.acknowledged("early", at=drill.timeline.started.at)
    drill.rpo.survived(["early"])
    assert drill.rpo.data_loss == timedelta(0)


def test_moments_of_another_clock_measure_nothing(drill, clock):
    for bad in ("12:00", None, datetime.now(UTC), True):
        if bad is not None:
            with pytest.raises(TypeError, match="takes monotonic seconds"):
                drill.rpo.acknowledged("x", at=bad)
    for bad in (float("nan"), float("inf"), -float("inf"), -1e300, 1e12):
        with pytest.raises(ValueError, match="is no moment of the drill's monotonic clock"):
            drill.rpo.acknowledged("x", at=bad)
    drill.rpo.acknowledged("kept")
    drill.rpo.acknowledged("lost", at=1e9)
    with drill.rto.outage():
        clock.advance(1)
    drill.rpo.survived(["kept"])
    assert drill.rpo.data_loss is None
    assert "another clock" in drill.rpo.unknown()


def test_every_disaster_asks_for_a_look_of_its_own(drill, clock):
    drill.rpo.acknowledged("a")
    with drill.rto.outage("1"):
        clock.advance(1)
    drill.rpo.survived(["a"])
    assert drill.rpo.data_loss == timedelta(0)
    with drill.rto.outage("2"):
        clock.advance(1)
    assert drill.rpo.data_loss is None
    drill.rpo.survived(["a"])
    assert drill.rpo.data_loss == timedelta(0)


def test_a_loss_that_was_told_is_no_loss_of_the_next_disaster_too(drill, clock):
    drill.rpo.acknowledged("kept")
    clock.advance(10)
    with drill.rto.outage():
        clock.advance(3)
        drill.rpo.acknowledged("lost")  # by a primary that was cut off, with its clients
        clock.advance(7)
    drill.rpo.survived(["kept"])
    told = drill.rpo.data_loss
    clock.advance(300)
    with drill.rto.outage("the failback"):
        clock.advance(1)
    drill.rpo.survived(["kept"])
    assert (drill.rpo.data_loss, drill.rpo.lost) == (told, ["lost"])


# -- what nobody looked for -------------------------------------------------------------------


@pytest.mark.parametrize("survivors", [{1, 2}, set()])
def test_lost_writes_of_after_the_last_reading_are_named(promised, survivors):
    drill = promised(rpo="0s")
    write(drill, 1, 2)
    strike(drill, 5)
    drill.rpo.survived(survivors)
    for n in range(7):
        drill.rpo.acknowledged(f"late {n}")
    (breach,) = drill.judge()
    assert isinstance(breach, RPOExceeded)
    assert (
        "; 7 of them were acknowledged after the survivors were last read back (late 0, late 1, "
        "late 2, late 3, late 4, … 2 more): call survived(keys) after the last write"
    ) in str(breach)
    drill.rpo.survived([f"late {n}" for n in range(7)])
    assert [str(each) for each in drill.judge() if "last read back" in str(each)] == []


def test_lost_writes_that_were_looked_for_are_not_said_to_be_late(promised):
    drill = promised(rpo="0s")
    write(drill, 1, 2)
    strike(drill, 5)
    drill.rpo.acknowledged("late")
    drill.rpo.survived([1, "late"])
    (breach,) = drill.judge()
    assert "read back" not in str(breach)
