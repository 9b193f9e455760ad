"""Presets: what the tools' own formulae say, worked out by hand, and what is refused."""

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest

from pytest_drdrill import (
    ConsulPreset,
    ConsulTTLPreset,
    FailoverManager,
    HAProxyPreset,
    KeepalivedPreset,
    PatroniPreset,
    SentinelPreset,
    ServiceEndpoint,
)

PRESETS = [
    HAProxyPreset(),
    KeepalivedPreset(),
    SentinelPreset(),
    PatroniPreset(),
    ConsulPreset(),
    ConsulTTLPreset(),
]


def seconds(span):
    return None if span is None else tuple(each.total_seconds() for each in span)


@pytest.mark.parametrize(
    ("preset", "fault", "bounds"),
    [
        (HAProxyPreset(), "refused", (4, 6)),
        (HAProxyPreset(), "hung", (10, 12)),
        (HAProxyPreset(), "silent", (10, 12)),
        (HAProxyPreset("100ms", fastinter="20ms"), "refused", (0.04, 0.14)),
        (HAProxyPreset("10s", fall=1), "refused", (0, 10)),
        # With a timeout check, the connect has a limit of its own.
        (HAProxyPreset("10s", fastinter="1s", timeout_check="500ms"), "hung", (3.5, 13.5)),
        (HAProxyPreset("10s", fastinter="1s", timeout_check="500ms"), "silent", (32, 42)),
        (
            HAProxyPreset("10s", fastinter="1s", timeout_check="500ms", timeout_connect="3s"),
            "silent",
            (11, 21),
        ),
        (HAProxyPreset("2s", timeout_connect="1s"), "silent", (10, 12)),
        (HAProxyPreset("2s", timeout_check="1s", timeout_connect="5s"), "silent", (10, 12)),
        (KeepalivedPreset(), "silent", (2.609375, 3.609375)),
        (KeepalivedPreset(), "refused", None),
        (KeepalivedPreset(), "hung", None),
        (KeepalivedPreset(priority=128), "silent", (2.5, 3.5)),
        (KeepalivedPreset("2s", 128, version=3), "silent", (5, 7)),
        (KeepalivedPreset("2s", 128, down_timer_adverts=2), "silent", (2.5, 4.5)),
        (KeepalivedPreset(priority=128, script_interval="2s"), "refused", (0.5, 2.5)),
        (
            KeepalivedPreset(priority=128, script_interval="2s", script_fall=3),
            "refused",
            (4.5, 6.5),
        ),
        # It runs into its timeout of 2 s just when it is due again: every other run is skipped.
        (KeepalivedPreset(priority=128, script_interval="2s", script_fall=2), "hung", (6.5, 8.5)),
        (
            KeepalivedPreset(
                priority=128, script_interval="2s", script_fall=2, script_timeout="1s"
            ),
            "hung",
            (3.5, 5.5),
        ),
        (SentinelPreset(), "refused", (30.208, 31.7)),
        (SentinelPreset(), "silent", (30.208, 32.7)),
        (SentinelPreset(quorum=1), "hung", (30.156, 32.6)),
        (SentinelPreset(500), "silent", (0.708, 2.7)),
        (PatroniPreset(), "silent", (20, 32)),
        (PatroniPreset(), "refused", (0, 310)),
        (PatroniPreset(primary_start_timeout="0s"), "refused", (0, 10)),
        (PatroniPreset(primary_start_timeout="15s"), "refused", (0, 30)),
        (PatroniPreset("20s", "5s", "3s"), "silent", (15, 22)),
        (ConsulPreset(), "refused", (0, 10)),
        (ConsulPreset(), "hung", (10, 20)),
        (ConsulPreset("5s", "1s", failures_before_critical=3), "silent", (13, 18)),
        (ConsulTTLPreset(), "hung", (20, 30)),
        (ConsulTTLPreset("1m", "1s"), "refused", (59, 60)),
    ],
    ids=lambda value: getattr(value, "settings_text", None),
)
def test_what_the_formula_of_the_tool_gives(preset, fault, bounds):
    found = seconds(preset.predicted(fault))
    assert found == (bounds if bounds is None else pytest.approx(bounds, abs=1e-9))


def test_what_else_happens_has_a_prediction_of_its_own():
    haproxy = HAProxyPreset("2s", rise=3, fastinter="100ms", downinter="5s")
    assert seconds(haproxy.milestones()["UP again"]) == (0.2, 5.2)
    consul = ConsulPreset(deregister_critical_service_after="1m", success_before_passing=2)
    found = consul.milestones("hung")
    assert seconds(found["passing again"]) == (10, 20)
    assert seconds(found["deregistered"]) == (70, 110)
    assert "deregistered" not in ConsulPreset().milestones()
    ttl = ConsulTTLPreset(deregister_critical_service_after="2m")
    assert seconds(ttl.milestones()["deregistered"]) == (140, 180)
    sentinel = SentinelPreset()
    assert seconds(sentinel.milestones("silent")["+odown"]) == (30.052, 31.3)
    late = sentinel.milestones("silent")["+promoted-slave, first vote lost"]
    assert seconds(late) == pytest.approx((390.208, 393.8))
    patroni = PatroniPreset().milestones("silent")
    assert seconds(patroni["leader key gone"]) == (20, 30)
    scripted = KeepalivedPreset(priority=128, script_interval="2s")
    assert seconds(scripted.milestones()["FAULT"]) == (0, 2)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda each: each.tool)
def test_each_says_what_it_is_made_of_and_where_that_is_written(preset):
    assert len(preset.formula) > 50
    assert any(character.isdigit() for character in preset.source)  # a version or a section
    assert preset.failover in preset.milestones("silent")
    assert preset.settings_text.isascii()
    assert "None" not in preset.settings_text
    with pytest.raises(FrozenInstanceError):
        preset.tool = "another"
    assert replace(preset) == preset


def test_settings_are_written_as_they_are_read():
    preset = SentinelPreset("5s", failover_timeout=timedelta(minutes=1))
    assert preset.settings_text == (
        "down_after_milliseconds=5000 quorum=2 sentinels=3 failover_timeout=60000"
    )
    assert HAProxyPreset("1500ms").settings_text == "inter=1.5s fall=3 rise=2"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: HAProxyPreset(2000), TypeError, "inter: 2000 has no unit"),
        (lambda: HAProxyPreset("soon"), ValueError, "inter: 'soon' is no duration"),
        (lambda: HAProxyPreset(fastinter="0s"), ValueError, "fastinter must be above zero"),
        (lambda: HAProxyPreset(fall=0), ValueError, "fall must be at least 1, not 0"),
        (lambda: HAProxyPreset(rise=1.5), TypeError, "rise must be a whole number of checks"),
        (lambda: KeepalivedPreset(priority=255), ValueError, "at most 254, not 255"),
        (lambda: KeepalivedPreset(priority=0), ValueError, "priority must be at least 1"),
        (lambda: KeepalivedPreset(version=1), ValueError, "version of VRRP is 2 or 3, not 1"),
        (lambda: KeepalivedPreset(version=True), ValueError, "2 or 3, not True"),
        (lambda: KeepalivedPreset(down_timer_adverts=101), ValueError, "at most 100, not 101"),
        (lambda: KeepalivedPreset(script_timeout="1s"), ValueError, "without a script_interval"),
        (lambda: SentinelPreset(0), ValueError, "down_after_milliseconds must be at least 1"),
        (lambda: SentinelPreset(1.5), TypeError, "a whole number of milliseconds, not 1.5"),
        (lambda: SentinelPreset("10us"), ValueError, "down_after_milliseconds must be at least 1"),
        (lambda: SentinelPreset(quorum=4), ValueError, "quorum of 4 can't be reached by 3"),
        (lambda: PatroniPreset("10s"), ValueError, "ttl must be at least 20s, not 10s"),
        (lambda: PatroniPreset(loop_wait="500ms"), ValueError, "loop_wait must be at least 1s"),
        (lambda: PatroniPreset(retry_timeout="1s"), ValueError, "retry_timeout must be at least"),
        (lambda: PatroniPreset("25s"), ValueError, "loop_wait . 2 x retry_timeout is 30s, which"),
        (lambda: ConsulPreset("500ms"), ValueError, "interval must be at least 1s, not 500ms"),
        (
            lambda: ConsulPreset(deregister_critical_service_after="30s"),
            ValueError,
            "must be at least 1m, not 30s",
        ),
        (lambda: ConsulPreset(failures_before_critical=-1), ValueError, "at least 1, not -1"),
        (lambda: ConsulPreset(failures_before_critical=False), TypeError, "not False"),
        (lambda: ConsulTTLPreset("10s", "10s"), ValueError, "heartbeat of 10s is not below"),
    ],
)
def test_what_the_tool_would_not_take_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_ways_to_fail_that_are_not_predicted_are_refused():
    with pytest.raises(ValueError, match=r"Patroni 4\.1 is predicted for 'refused', 'silent', and"):
        PatroniPreset().predicted("hung")
    with pytest.raises(ValueError, match="can fail in the ways 'refused', 'silent', 'hung', not"):
        HAProxyPreset().predicted("burning")


def test_a_manager_takes_the_settings_of_a_tool_that_polls():
    preset = HAProxyPreset("10s", fall=4, rise=3, fastinter="1s", timeout_check="3s")
    endpoint = ServiceEndpoint("web", "http://web.test", timeout=preset.check_timeout)
    manager = FailoverManager([endpoint], **preset.options([endpoint]))
    shortest, longest = manager.predicted_detection()
    # Up to here the same as the tool; then its checks follow from their ends, which take longer.
    assert shortest == preset.predicted("refused").shortest == timedelta(seconds=3)
    assert longest == timedelta(seconds=10 + 3 * 3 + 3)
    assert preset.predicted("hung").longest - longest == 3 * timedelta(seconds=1)
    assert HAProxyPreset("1s").options() == {
        "failure_threshold": 3,
        "recovery_threshold": 2,
        "check_interval": timedelta(seconds=1),
        "fast_interval": timedelta(seconds=1),
    }
    assert ConsulPreset().options()["failure_threshold"] == 1
    # The manager cuts a timeout to its interval, and so does HAProxy where it has no timeout check.
    HAProxyPreset("1s").options([ServiceEndpoint("web", "http://web.test")])


def test_where_a_manager_would_not_do_what_the_tool_does_it_says_so():
    web = ServiceEndpoint("web", "http://web.test")
    with pytest.raises(ValueError, match=r"'web' may take 5s, one of HAProxy 3\.5 1s; make the en"):
        HAProxyPreset("10s", timeout_check="1s").options([web])
    with pytest.raises(ValueError, match=r"may take 5s, one of Consul 1\.16 10s"):
        ConsulPreset("20s").options(iter([web]))
    with pytest.raises(ValueError, match="fast_interval is at most its check_interval: 2s is abov"):
        HAProxyPreset("1s", fastinter="2s").options()
    with pytest.raises(ValueError, match="takes at most its check_interval of 5s; one of Consul"):
        ConsulPreset("5s").options()
    for preset, why in (
        (KeepalivedPreset(), "waits for adverts"),
        (SentinelPreset(), "is a quorum of watchers"),
        (PatroniPreset(), "holds a lease"),
        (ConsulTTLPreset(), "waits for a service to speak up"),
    ):
        with pytest.raises(ValueError, match=f"{why}.*, and a manager checks endpoints; what"):
            preset.options()
