"""What would happen with those settings: simulated within the predicted bounds, both ends met."""

import asyncio
import io
import statistics
import sys
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_drdrill import (
    ConsulPreset,
    ConsulTTLPreset,
    FailoverManager,
    HAProxyPreset,
    KeepalivedPreset,
    PatroniPreset,
    SentinelPreset,
    SimulatedProber,
    SimulationError,
    simulate,
    what_if,
)
from pytest_drdrill.__main__ import main
from pytest_drdrill.simulation.clock import VirtualClock

CLOSE = timedelta(microseconds=10)
"""What the resolution of the clock, of the disaster and of rounded draws come to."""


BEYOND = "^these settings go beyond what is simulated, 366d$"


def ms(least, most):
    return st.integers(least, most).map(lambda number: timedelta(milliseconds=number))


def maybe(strategy):
    return st.none() | strategy


HAPROXY = st.builds(
    HAProxyPreset,
    ms(1, 60_000),
    st.integers(1, 6),
    st.integers(1, 4),
    maybe(ms(1, 60_000)),
    maybe(ms(1, 60_000)),
    maybe(ms(1, 90_000)),
    maybe(ms(1, 90_000)),
)
DEREGISTERED = maybe(ms(60_000, 600_000))
CONSUL = st.builds(
    ConsulPreset, ms(1_000, 60_000), ms(1, 90_000), st.integers(0, 5), st.integers(0, 4),
    DEREGISTERED,
)  # fmt: skip
TTL = ms(1_000, 90_000).flatmap(
    lambda ttl: st.builds(
        ConsulTTLPreset,
        st.just(ttl),
        ms(1, ttl // timedelta(milliseconds=1) - 1),
        DEREGISTERED,
    )
)
KEEPALIVED = st.builds(
    KeepalivedPreset, ms(10, 10_000), st.integers(1, 254), st.integers(1, 10),
    st.sampled_from([2, 3]),
) | st.builds(
    KeepalivedPreset, ms(500, 10_000), st.integers(1, 254), st.integers(1, 10),
    st.sampled_from([2, 3]), ms(1, 10_000), maybe(ms(1, 20_000)), st.integers(1, 5),
)  # fmt: skip
SENTINEL = st.integers(1, 7).flatmap(
    lambda sentinels: st.builds(
        SentinelPreset,
        st.integers(1, 60_000),
        st.integers(1, sentinels),
        st.just(sentinels),
        st.integers(1, 300_000),
    )
)
PATRONI = st.tuples(ms(1_000, 20_000), ms(3_000, 20_000), ms(0, 30_000)).flatmap(
    lambda drawn: st.builds(
        PatroniPreset,
        st.just(max(timedelta(seconds=20), drawn[0] + 2 * drawn[1]) + drawn[2]),
        st.just(drawn[0]),
        st.just(drawn[1]),
        st.just(timedelta(0)) | ms(1, 300_000),
    )
)


@pytest.mark.parametrize(
    "presets",
    [HAPROXY, CONSUL, TTL, KEEPALIVED, SENTINEL, PATRONI],
    ids=["HAProxy", "Consul", "Consul TTL", "Keepalived", "Sentinel", "Patroni"],
)
def test_the_simulated_lies_within_the_predicted_and_meets_both_ends(presets):
    @settings(max_examples=60)
    @given(presets, st.integers(0, 2**32))
    def check(preset, seed):
        for row in what_if(preset, samples=6, seed=seed).rows:
            assert row.as_predicted, row
            if row.predicted is None:
                assert (row.milestone, row.simulated) == ("", None)
                continue
            assert abs(row.simulated.shortest - row.predicted.shortest) <= CLOSE, row
            assert abs(row.simulated.longest - row.predicted.longest) <= CLOSE, row
            assert row.simulated.shortest <= row.simulated.median <= row.simulated.longest

    check()


@pytest.mark.parametrize(
    ("preset", "fault", "mean"),
    [
        # Worked out by hand: the middle of a phase that is anywhere, and what follows it.
        (HAProxyPreset(), "refused", 5.0),
        (HAProxyPreset(), "hung", 11.0),
        (KeepalivedPreset(), "silent", 3.11),
        (ConsulTTLPreset(), "silent", 25.0),
        (PatroniPreset(), "silent", 26.0),
    ],
    ids=lambda value: getattr(value, "tool", None),
)
def test_disasters_strike_anywhere_between_the_ends(preset, fault, mean):
    row = what_if(preset, [fault], samples=400).row(fault)
    assert row.simulated.median.total_seconds() == pytest.approx(mean, rel=0.04)


def test_of_several_sentinels_the_quorum_decides_when_all_agree():
    """The later the Sentinel that is waited for, the later the agreement."""
    medians = [
        what_if(SentinelPreset(quorum=quorum, sentinels=5), ["silent"], samples=100)
        .row("silent", "+odown")
        .simulated.median
        for quorum in (1, 3, 5)
    ]
    assert medians == sorted(medians)
    assert medians[2] - medians[0] > timedelta(milliseconds=400)


def test_our_own_manager_does_as_haproxy_does_where_checks_fail_at_once():
    preset = HAProxyPreset("3s", fall=4, fastinter="700ms")

    def detected_after(phase):
        async def main(world):
            primary, standby = world.endpoints("a", "b", timeout=preset.check_timeout)
            async with FailoverManager(
                [primary, standby], **preset.options(), prober=SimulatedProber(), clock=world.clock
            ) as manager:
                await world.clock.sleep(6 + phase)
                primary.fail()
                await manager.wait_until_active(standby)
                return world.clock.monotonic() - 6 - phase

        return simulate(main)

    soon, late = (each.total_seconds() for each in preset.predicted())
    assert detected_after(2.999) == pytest.approx(soon + 0.001)
    assert detected_after(0.001) == pytest.approx(late - 0.001)
    drawn = [detected_after(number / 40 + 0.001) for number in range(120)]
    row = what_if(preset, ["refused"], samples=300).row()
    median = row.simulated.median.total_seconds()
    assert statistics.median(drawn) == pytest.approx(median, rel=0.06)


def test_what_is_never_noticed_is_a_row_of_its_own():
    found = what_if(KeepalivedPreset())
    assert found.row("refused").as_predicted
    assert found.row("refused").predicted is None
    assert found.row("hung").simulated is None
    assert found.row("silent").simulated.longest > timedelta(seconds=3)
    assert "refused  never noticed  -" in str(found)


def test_the_same_seed_gives_the_same_figures_and_another_one_others():
    first = what_if(SentinelPreset(), samples=9, seed=3)
    assert what_if(SentinelPreset(), samples=9, seed=3) == first
    assert what_if(SentinelPreset(), samples=9, seed=4).rows != first.rows
    # A way to fail has its own chance, whichever others are asked for.
    assert what_if(SentinelPreset(), ["hung"], samples=9, seed=3).rows == first.rows[-3:]


def test_a_wrong_prediction_shows():
    class Optimist(HAProxyPreset):
        def _milestones(self, fault):
            found = super()._milestones(fault)
            soon, late = found["DOWN"]
            return found | {"DOWN": type(found["DOWN"])(soon, late - timedelta(seconds=1))}

    assert not what_if(Optimist()).row().as_predicted

    class Pessimist(HAProxyPreset):
        def _milestones(self, fault):
            found = super()._milestones(fault)
            soon, late = found["DOWN"]
            return found | {"DOWN": type(found["DOWN"])(soon + timedelta(seconds=1), late)}

    assert not what_if(Pessimist()).row().as_predicted

    class Dreamer(HAProxyPreset):
        def _milestones(self, fault):
            return super()._milestones(fault) | {"on the moon": super()._milestones(fault)["DOWN"]}

    with pytest.raises(KeyError, match="on the moon"):
        what_if(Dreamer())


def test_as_text_it_names_the_settings_the_formula_and_the_source():
    preset = HAProxyPreset(inter="2s", fall=3)
    text = str(what_if(preset, ["refused"], samples=2))
    title, _, head, down, up, *_ = text.splitlines()
    assert title == "HAProxy 3.5: inter=2s fall=3 rise=2 (2 disasters each, seed 0)"
    assert head.split() == ["fault", "milestone", "predicted", "simulated:", "min", "median", "max"]
    assert down.split() == ["refused", "DOWN", "4s", "…", "6s", "4s", "5s", "6s"]
    assert up.split() == ["refused", "UP", "again", "2s", "…", "4s", "2s", "3s", "4s"]
    joined = " ".join(text.split())
    for part in (preset.formula, preset.source, "refused: the process that serves is dead"):
        assert " ".join(part.split()) in joined
    assert "hung:" not in joined.replace("hung: timeout check", "")
    assert max(map(len, text.splitlines())) <= 100


def test_as_markdown_it_is_a_table():
    from markdown_it import MarkdownIt

    html = MarkdownIt().enable("table").render(what_if(SentinelPreset(), samples=2).markdown())
    assert html.count("<tr>") == 10
    assert "<td>+promoted-slave, first vote lost</td>" in html
    assert "down_after_milliseconds=30000" in html
    assert "<em>" not in html


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (("haproxy",), {}, TypeError, "takes one of the presets HAProxyPreset, .*, not 'haproxy'"),
        ((HAProxyPreset(),), {"samples": 1}, ValueError, "samples must be at least 2"),
        ((HAProxyPreset(),), {"samples": 2.5}, TypeError, "samples must be a whole number of dis"),
        ((HAProxyPreset(),), {"seed": "x"}, TypeError, "a seed must be a whole number, not 'x'"),
        ((PatroniPreset(), ["hung"]), {}, ValueError, "not for 'hung'"),
        ((PatroniPreset(), ["burning"]), {}, ValueError, "not 'burning'"),
        ((HAProxyPreset(), "silent"), {}, TypeError, r"as \['silent'\], not 'silent'"),
        ((HAProxyPreset(), 5), {}, TypeError, "faults must be a list of ways to fail"),
        ((HAProxyPreset(), []), {}, ValueError, "faults must hold at least one way to fail"),
        ((HAProxyPreset(fall=99_999_999),), {}, ValueError, BEYOND),
        ((HAProxyPreset("150d"),), {}, ValueError, BEYOND),
        ((KeepalivedPreset("100d"), ["silent"]), {}, ValueError, BEYOND),
        (
            (HAProxyPreset(fall=10**14),),
            {},
            ValueError,
            "of HAProxy 3.5 come to more than 9",
        ),
        ((SentinelPreset(10**20),), {}, ValueError, "come to more than 999999999 days"),
    ],
)
def test_mistakes_are_one_sentence(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        what_if(*arguments, **settings)


def test_a_way_to_fail_is_simulated_once():
    once = what_if(PatroniPreset(), ["silent"], samples=2)
    assert what_if(PatroniPreset(), ["silent", "silent"], samples=2) == once


@pytest.mark.parametrize("preset", [ConsulPreset, ConsulTTLPreset])
def test_months_until_something_is_deregistered_take_no_longer(preset, monkeypatch):
    slept = []
    sleep = VirtualClock.sleep

    async def counted(clock, seconds):
        slept.append(seconds)
        await sleep(clock, seconds)

    monkeypatch.setattr(VirtualClock, "sleep", counted)
    found = what_if(preset(deregister_critical_service_after="300d"), ["refused"], samples=2)
    assert found.row(milestone="deregistered").as_predicted
    assert len(slept) < 100


def test_a_row_that_is_not_there_is_an_error_that_lists_those_that_are():
    found = what_if(KeepalivedPreset(), ["silent", "hung"], samples=2)
    with pytest.raises(LookupError, match="there are silent: MASTER, hung: nothing"):
        found.row("refused")


def test_in_a_running_loop_it_says_where_to_call_it():
    async def ask():
        what_if(HAProxyPreset())

    with pytest.raises(SimulationError, match="call it from synchronous code"):
        asyncio.run(ask())


def test_the_command_line_takes_settings_by_their_own_names(capsys):
    arguments = ["what-if", "sentinel", "down-after-milliseconds=5000", "quorum=3"]
    assert main([*arguments, "--fault=silent", "--samples=3", "--seed=9"]) == 0
    printed = capsys.readouterr().out
    preset = SentinelPreset(5000, quorum=3)
    assert printed == f"{what_if(preset, ['silent'], samples=3, seed=9)}\n"
    assert main(["what-if", "patroni", "ttl=1m", "--samples=2", "--markdown"]) == 0
    assert capsys.readouterr().out == what_if(PatroniPreset("1m"), samples=2).markdown()
    assert main(["what-if", "keepalived", "script_interval=2s", "--samples=2"]) == 0
    assert "FAULT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nginx", "invalid choice: 'nginx'"),
        ("haproxy inter", "'inter' is no setting; write name=value, such as inter=2s"),
        ("haproxy inter=", "'inter=' is no setting"),
        ("haproxy interval=2s", "no setting 'interval'; it has inter, fall, rise, fastinter,"),
        ("haproxy inter=2", "inter: '2' is no duration; write"),
        ("haproxy fall=x", "fall must be a whole number of checks, not 'x'"),
        ("haproxy fall=2 fall=3", "fall is set twice"),
        ("patroni --fault=hung", "not for 'hung'"),
        ("haproxy --samples=1", "samples must be at least 2"),
    ],
)
def test_mistakes_on_the_command_line_are_usage_errors(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["what-if", *arguments.split()])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_where_the_output_is_ascii_so_are_the_dots(form, monkeypatch):
    written = {}
    for encoding in ("utf-8", "ascii"):
        written[encoding] = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written[encoding], encoding))
        assert main(["what-if", "haproxy", "--samples=2", *form]) == 0
        sys.stdout.flush()
    written = {encoding: found.getvalue().decode(encoding) for encoding, found in written.items()}
    assert "4s...6s" in written["ascii"]
    assert written["ascii"] == written["utf-8"].replace(" … ", "...").replace("…", "...")


def test_the_help_lists_every_tool_with_its_settings_and_defaults(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["what-if", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "haproxy: inter=2s fall=3 rise=2 fastinter downinter timeout_check" in printed
    assert "patroni: ttl=30s loop_wait=10s retry_timeout=10s primary_start_timeout=5m" in printed
    assert "consul-ttl: ttl=30s heartbeat=10s" in printed
