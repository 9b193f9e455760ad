import re
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill.durations import (
    ACCEPTED,
    LONGEST,
    format_duration,
    format_seconds,
    parse_duration,
)

US = timedelta(microseconds=1)
UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6}
durations = st.timedeltas(min_value=timedelta(0), max_value=LONGEST)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15m", 900),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("90d", 90 * 86400),
        ("2w", 14 * 86400),
        ("0s", 0),
        ("1.5h", 5400),
        ("0.5ms", 0.0005),
        ("1w2d3h4m5s6ms7us", 604800 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5.006007),
        (" 1h 30 m ", 5400),
        ("1h\t30m", 5400),
        ("PT15M", 900),
        ("P1DT12H", 36 * 3600),
        ("P2W", 14 * 86400),
        ("PT1.5S", 1.5),
        ("PT0S", 0),
        ("1.0000004s", 1),
        ("0.1000000000000000055511151231257827021181583404541015625s", 0.1),
    ],
)
def test_accepted_forms(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "15",
        "m",
        "15 parsecs",
        "15min",
        "15M",
        "-15m",
        "+15m",
        "1e3s",
        "1_000s",
        "1,5h",
        ".5h",
        "5.h",
        "30m1h",
        "1h1h",
        "1h1h30m",
        "P",
        "PT",
        "P1DT",
        "P1Y",
        "P1M",
        "-PT15M",
        "pt15m",
        "PT15M1H",
        "15m PT15M",
        "\u0661\u0665m",
        "15m\x00",
        "inf",
        "nan",
        "0.1us",
        "0.5us",
        "0.0000001s",
        "1000000000d",
        "9" * 4000 + "s",
        "9" * 5000 + "s",
        "0." + "1" * 5000 + "s",
        "x" * 1_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_refused_text_is_quoted_with_the_reason(text):
    with pytest.raises(ValueError) as refused:
        parse_duration(text)
    message = str(refused.value)
    assert repr(text)[:70] in message
    assert len(message) < 300
    assert ACCEPTED in message or re.search(r"resolution of one microsecond|out of range", message)


@pytest.mark.parametrize("value", [15, 15.0, 0, float("nan")])
def test_bare_number_has_no_unit(value):
    with pytest.raises(TypeError, match="has no unit"):
        parse_duration(value)


@pytest.mark.parametrize("value", [None, True, b"15m", ["15m"], object()])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="is no duration; write"):
        parse_duration(value)


def test_timedelta_is_taken_as_it_is_unless_negative():
    span = timedelta(minutes=15)
    assert parse_duration(span) is span
    with pytest.raises(ValueError, match="can't be negative"):
        parse_duration(timedelta(microseconds=-1))


def test_refusal_is_quick_whatever_the_spaces():
    # One way to read the spaces: six would take minutes here.
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration("1w" + " " * 5_000 + "!")
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration("1 " * 5_000)


@given(
    st.dictionaries(
        st.sampled_from(list(UNITS)),
        st.decimals(0, 999, places=2, allow_nan=False, allow_infinity=False),
        min_size=1,
    ),
    st.sampled_from(["", " "]),
)
def test_parts_add_up(parts, space):
    exact = sum(
        Fraction(str(amount)) * Fraction(str(UNITS[unit])) for unit, amount in parts.items()
    )
    text = space.join(f"{parts[unit]}{space}{unit}" for unit in UNITS if unit in parts)
    if 0 < exact <= Fraction(1, 2_000_000):  # half of one rounds to even
        with pytest.raises(ValueError, match="below the resolution"):
            parse_duration(text)
    else:
        found = Fraction(parse_duration(text) // US, 1_000_000)
        assert abs(found - exact) <= Fraction(1, 2_000_000)


@given(durations)
@example(timedelta(0))
@example(US)
@example(LONGEST)
@example(timedelta(seconds=59, microseconds=999_999))
def test_parse_undoes_format(span):
    assert parse_duration(format_duration(span)) == span


@given(st.timedeltas(min_value=-2 * LONGEST, max_value=-US))
@example(-LONGEST)
@example(-LONGEST - US)
def test_negative_is_led_by_a_sign_and_never_read_back(span):
    text = format_duration(span)
    assert text[0] == "-"
    with pytest.raises(ValueError):
        parse_duration(text)
    if -span <= LONGEST:
        assert parse_duration(text[1:]) == -span


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(seconds=123.5), "2m3.5s"),
        (timedelta(milliseconds=340), "340ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=999), "999us"),
        (timedelta(days=90), "90d"),
        (timedelta(days=1, microseconds=1), "1d0.000001s"),
        (timedelta(minutes=-5), "-5m"),
    ],
)
def test_format_is_compact_and_exact(span, text):
    assert format_duration(span) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (4.3149, "4.31s"),
        (0.012345, "12.3ms"),
        (0.0009996, "1ms"),
        (0.00012345, "123us"),
        (1e-6, "1us"),
        (3e-7, "<1us"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (61.4, "1m1s"),
        (3599.6, "1h"),
        (3725, "1h2m"),
        (86_399, "1d"),
        (90_000, "1d1h"),
        (-4.3149, "-4.31s"),
        (1e15, "1e+15s"),
    ],
)
def test_format_seconds_rounds_for_a_reader(seconds, text):
    assert format_seconds(seconds) == text


def shown(seconds):
    text = format_seconds(seconds)
    return 0.0 if text == "<1us" else parse_duration(text).total_seconds()


measured = st.floats(0, 4e9) | st.floats(0, 200) | st.floats(0, 0.01)


@given(measured, measured)
def test_format_seconds_keeps_the_order_and_stays_close(one, other):
    low, high = sorted([one, other])
    assert shown(low) <= shown(high)
    assert abs(shown(high) - high) <= high * 0.025 + 0.6e-6


@given(measured, st.sampled_from(["200ms", "30s", "1m", "5m", "15m", "1h", "90m", "4h", "1d"]))
def test_format_seconds_never_makes_a_met_target_look_broken(actual, target):
    limit = parse_duration(target).total_seconds()
    assert format_seconds(limit) == format_duration(parse_duration(target))
    if actual <= limit:
        assert shown(actual) <= limit
    else:
        assert shown(actual) >= limit


def test_the_longest_duration_is_taken_and_no_longer_one():
    assert parse_duration(LONGEST) == parse_duration("1000000d") == LONGEST
    for longer in (LONGEST + US, "1000000d1us", timedelta.max, "999999999d"):
        with pytest.raises(ValueError, match="out of range"):
            parse_duration(longer)
