import copy
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import Objectives, RecoveryMetrics, ServiceTiers
from pytest_drdrill.objectives import TIER_FORM, read_tiers, tier_objectives

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "promise", "implied", "needed_mttr"),
    [
        ("critical", (15 * MINUTE, 5 * MINUTE, HOUR, 30 * DAY, 99.99), 99.86, 259.2),
        ("important", (HOUR, 30 * MINUTE, 4 * HOUR, 15 * DAY, 99.9), 98.90, 1297.3),
        ("standard", (4 * HOUR, HOUR, 8 * HOUR, 7 * DAY, 99.5), 95.45, 3039.2),
    ],
)
def test_built_in_tiers(name, promise, implied, needed_mttr):
    tier = ServiceTiers.builtin()[name]
    assert tier is getattr(ServiceTiers, name.upper())
    kept = (tier.rto, tier.rpo, tier.mttr, tier.mtbf, tier.availability_target)
    assert kept == promise
    assert round(tier.expected_availability, 2) == implied
    assert tier.mttr_for_target.total_seconds() == pytest.approx(needed_mttr, abs=0.1)


def test_built_in_tiers_come_strictest_first():
    assert list(ServiceTiers.builtin()) == ["critical", "important", "standard"]


def test_times_are_kept_as_timedeltas():
    metrics = RecoveryMetrics("15m", timedelta(seconds=1), "PT1H", availability_target="99.9 %")
    assert metrics == RecoveryMetrics(15 * MINUTE, "1s", HOUR, None, 99.9)
    assert pickle.loads(pickle.dumps(metrics)) == copy.deepcopy(metrics) == metrics


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((15, "5m"), TypeError, "rto: 15 has no unit"),
        (("15m", None), TypeError, "rpo: None is no duration"),
        (("15m", "soon"), ValueError, "rpo: 'soon' is no duration"),
        ((timedelta(-1), "5m"), ValueError, "rto: a duration can't be negative"),
        (("15m", "5m", "0s"), ValueError, "mttr: a mean time of zero"),
        (("15m", "5m", "1h", "0s"), ValueError, "mtbf: a mean time of zero"),
        (("15m", "5m", "1h", "1d", 0.9999), ValueError, "availability_target: 0.9999"),
        (("15m", "5m", "1h", "1d", 1), ValueError, "availability_target"),
        (("15m", "5m", "1h", "1d", 100.1), ValueError, "availability_target"),
        (("15m", "5m", "1h", "1d", -5), ValueError, "availability_target"),
        (("15m", "5m", "1h", "1d", float("nan")), ValueError, "availability_target"),
        (("15m", "5m", "1h", "1d", "high"), ValueError, "availability_target"),
        (("15m", "5m", "1h", "1d", True), TypeError, "availability_target"),
        (("15m", "5m", "1h", "1d", [99]), TypeError, "availability_target"),
    ],
)
def test_bad_promises_are_refused_by_name(arguments, kind, message):
    with pytest.raises(kind, match=message.replace("(", r"\(")):
        RecoveryMetrics(*arguments)


def test_objective_is_met_up_to_and_with_the_limit():
    metrics = RecoveryMetrics("15m", "5m")
    assert metrics.is_rto_met("15m")
    assert metrics.is_rto_met(timedelta(0))
    assert not metrics.is_rto_met(timedelta(minutes=15, microseconds=1))
    assert metrics.is_rpo_met("5m")
    assert not metrics.is_rpo_met(timedelta(minutes=5, microseconds=1))
    assert not metrics.is_rpo_met(timedelta.max)  # what data_loss is without a bound
    with pytest.raises(TypeError, match="has no unit"):
        metrics.is_rto_met(3)


def test_downtime_budget_is_the_rest_of_the_target():
    critical = ServiceTiers.CRITICAL
    assert critical.calculate_downtime_budget() == timedelta(seconds=259.2)
    assert critical.calculate_downtime_budget(period_days=365) == timedelta(seconds=3153.6)
    assert ServiceTiers.STANDARD.calculate_downtime_budget(1) == timedelta(seconds=432)
    assert RecoveryMetrics("1h", "1h", None, None, 100).calculate_downtime_budget() == timedelta(0)


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_downtime_budget_of_no_period_is_refused(days):
    with pytest.raises(ValueError, match="period_days must be above zero"):
        ServiceTiers.CRITICAL.calculate_downtime_budget(days)


def test_what_was_not_promised_is_none_and_never_infinite():
    bare = RecoveryMetrics("15m", "5m")
    assert bare.expected_availability is None
    assert bare.mttr_for_target is None
    assert RecoveryMetrics("15m", "5m", mttr="1h").expected_availability is None
    assert RecoveryMetrics("15m", "5m", mtbf="1d").expected_availability is None
    with pytest.raises(ValueError, match="no availability_target was promised"):
        bare.calculate_downtime_budget()


spans = st.timedeltas(timedelta(seconds=1), timedelta(days=3650))


@given(spans, spans, st.floats(1.1, 99.9999))
def test_availability_solved_for_mttr_gives_the_target_back(mttr, mtbf, target):
    metrics = RecoveryMetrics("1h", "1h", mttr, mtbf, target)
    up, down = mtbf.total_seconds(), mttr.total_seconds()
    assert metrics.expected_availability == pytest.approx(100 * up / (up + down))
    needed = metrics.mttr_for_target
    if needed > timedelta(seconds=1):
        again = RecoveryMetrics("1h", "1h", needed, mtbf)
        assert again.expected_availability == pytest.approx(target, rel=1e-5)


# -- objectives of one drill -------------------------------------------------------------------


def test_objectives_take_durations_as_people_write_them():
    objectives = Objectives("gold", rto="15m", rpo="0s", hold="PT2S")
    assert objectives.rto == 15 * MINUTE
    assert objectives.rpo == timedelta(0)
    assert objectives.hold == timedelta(seconds=2)
    assert Objectives().rto is None


@pytest.mark.parametrize("name", ["rto", "rpo", "hold"])
def test_objectives_refuse_what_is_no_duration(name):
    with pytest.raises(TypeError, match="has no unit"):
        Objectives(**{name: 15})
    with pytest.raises(ValueError, match="can't be negative"):
        Objectives(**{name: timedelta(-1)})


def test_own_objectives_narrow_the_tiers():
    tier = tier_objectives("critical", ServiceTiers.builtin())
    assert (tier.tier, tier.rto, tier.rpo) == ("critical", 15 * MINUTE, 5 * MINUTE)
    assert tier.metrics is ServiceTiers.CRITICAL
    narrowed = tier.narrowed(rto=MINUTE, hold=timedelta(seconds=5))
    assert (narrowed.tier, narrowed.rto, narrowed.rpo) == ("critical", MINUTE, 5 * MINUTE)
    assert narrowed.hold == timedelta(seconds=5)
    assert narrowed.metrics is ServiceTiers.CRITICAL
    assert narrowed.narrowed() == narrowed
    assert tier.narrowed(rto=15 * MINUTE).rto == 15 * MINUTE
    assert tier.narrowed(rpo=timedelta(0)).rpo == timedelta(0)


@pytest.mark.parametrize("name", ["rto", "rpo"])
def test_wider_than_the_tiers_is_refused(name):
    tier = tier_objectives("critical", ServiceTiers.builtin())
    with pytest.raises(ValueError, match=f"{name} of 20m is wider than the .* of tier 'critical'"):
        tier.narrowed(**{name: 20 * MINUTE})
    assert getattr(Objectives().narrowed(**{name: 20 * MINUTE}), name) == 20 * MINUTE


def test_unknown_tier_lists_the_known_ones():
    with pytest.raises(ValueError, match="'gold'; known tiers: critical, important, standard"):
        tier_objectives("gold", ServiceTiers.builtin())


# -- own tiers ---------------------------------------------------------------------------------


def test_own_tiers_join_the_built_in_ones():
    tiers = read_tiers(["", "gold: rto=5m, rpo=30s", "  ", TIER_FORM.replace("gold", "plat-1_x")])
    assert list(tiers) == ["critical", "important", "standard", "gold", "plat-1_x"]
    assert tiers["gold"] == RecoveryMetrics("5m", "30s")
    assert tiers["plat-1_x"] == RecoveryMetrics("5m", "30s", "30m", "30d", 99.99)


def test_own_tier_replaces_a_built_in_one_in_its_place():
    tiers = read_tiers(["critical: rto=1m, rpo=0s"])
    assert list(tiers) == ["critical", "important", "standard"]
    assert tiers["critical"] == RecoveryMetrics("1m", "0s")
    assert read_tiers([])["critical"] is ServiceTiers.CRITICAL


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("gold", "begins with its name and a colon"),
        (": rto=5m, rpo=30s", "begins with its name and a colon"),
        ("9lives: rto=5m, rpo=30s", "begins with its name and a colon"),
        ("a,b: rto=5m, rpo=30s", "begins with its name and a colon"),
        ("gold: rto=5m", "rpo is missing"),
        ("gold: rpo=5m", "rto is missing"),
        ("gold: rto=5m, rpo=30s,", "'' is none of rto="),
        ("gold: rto=5m, rpo=30s, rto=6m", "rto is given twice"),
        ("gold: rto=5m, rpo=30s, speed=6m", "'speed=6m' is none of"),
        ("gold: rto=5, rpo=30s", "rto: '5' is no duration"),
        ("gold: rto=5m, rpo=30s, availability=1.01%5", "availability_target"),
    ],
)
def test_bad_line_is_quoted_with_the_accepted_form(line, why):
    with pytest.raises(ValueError) as refused:
        read_tiers([line])
    message = str(refused.value)
    assert message.startswith(repr(line))
    assert why in message
    assert TIER_FORM in message


def test_tier_defined_twice_is_refused():
    with pytest.raises(ValueError, match="tier 'gold' is defined twice"):
        read_tiers(["gold: rto=5m, rpo=30s", "gold: rto=6m, rpo=30s"])
