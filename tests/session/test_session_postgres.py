"""PostgreSQL in drills: its fixtures, where it can't take part, and what of it is never shown."""

import json

import pytest

from needs import needs_postgres

INI = "[pytest]\nfilterwarnings = error\n"


@pytest.fixture
def drills(pytester, monkeypatch, tmp_path_factory):
    """Runs drills with PostgreSQL in a state folder of their own; the evidence, by name."""
    pytester.makeini(INI)

    def run(source, *arguments):
        pytester.makepyfile(test_pg=source)
        result = pytester.runpytest_subprocess(
            "--dr-report=e.json", "-p", "no:cacheprovider", *arguments
        )
        record = json.loads((pytester.path / "e.json").read_text(encoding="utf-8"))
        return result, {each["nodeid"].partition("::")[2]: each for each in record["drills"]}

    return run


@pytest.fixture
def _postgres():
    needs_postgres()


@pytest.mark.usefixtures("_postgres")
def test_what_is_done_to_servers_is_on_the_timeline_and_no_secret_anywhere(drills):
    result, found = drills(
        """
        import os, pathlib, pytest
        pytestmark = pytest.mark.rto("1m")
        def test_it(postgres_primary, postgres_standby, postgres_archive, rto_timer):
            standby = postgres_standby()
            pathlib.Path("secret").write_text(postgres_primary.passfile.read_text())
            pathlib.Path("folders").write_text("\\n".join(
                str(each.folder) for each in (postgres_primary, standby, postgres_archive)))
            with rto_timer.outage():
                postgres_primary.kill()
                standby.promote()
            dsn = standby.dsn
            postgres_primary.query("select 1")
        @pytest.mark.rto("1m")
        def test_virtual(simulated_world, postgres_primary):
            pass
        """,
        "-l",
        "--full-trace",
        "-n0",
    )
    result.assert_outcomes(failed=1, errors=1)
    it = found["test_it"]
    assert it["mode"] == "local"
    assert it["kinds"] == ["backup_restore", "replication", "rto"]
    events = [(each["event"], each["detail"].partition(",")[0]) for each in it["timeline"]]
    for event in (("fault", "killed primary"), ("promoted", "standby")):
        assert event in events
    assert "Connection refused" in it["error"]
    assert "a PostgreSQL server was asked for in virtual time" in found["test_virtual"]["error"]
    from pathlib import Path

    secret = Path("secret").read_text().strip().rpartition(":")[2]
    assert len(secret) == 48
    assert secret not in result.stdout.str() + result.stderr.str() + Path("e.json").read_text()
    folders = Path("folders").read_text().split()
    assert len(folders) == 3
    assert not any(Path(each).exists() for each in folders)


def test_a_drill_whose_parts_are_missing_is_not_verified(drills, pytester, monkeypatch):
    monkeypatch.delenv("PG_BIN", raising=False)
    pytester.makeini(f"{INI}dr_postgres_bin = nowhere\n")
    result, found = drills(
        """
        import pytest
        @pytest.mark.rto("1m")
        def test_it(postgres_primary):
            pass
        """
    )
    result.assert_outcomes(skipped=1)
    assert found["test_it"]["verdict"] == "not_verified"
    reason = found["test_it"]["reason"]
    assert f"postgres and initdb in {pytester.path}/nowhere; install it: pip install" in reason


@pytest.mark.parametrize("how", [(), ("--tb=long", "-l"), ("--tb=short", "-n1")])
def test_a_part_that_can_not_be_used_is_one_sentence_at_the_drill(drills, pytester, how):
    old = pytester.mkdir("old")
    for name in ("postgres", "initdb"):
        (old / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 12.3'\n")
        (old / name).chmod(0o755)
    pytester.makeini(f"{INI}dr_postgres_bin = old\n")
    result, found = drills(
        """
        import pytest
        @pytest.fixture
        def own(): raise OSError("of the drill's own")
        @pytest.mark.rto("1m")
        def test_it(postgres_primary):
            pass
        @pytest.mark.rto("1m")
        def test_own(own):
            pass
        """,
        *how,
    )
    result.assert_outcomes(errors=2)
    said = f"{old} is of PostgreSQL 12.3; drills take 13 or newer, so name another one by PG_BIN"
    assert found["test_it"]["error"].startswith(f"pytest_drdrill.PostgresError: {said}")
    assert found["test_it"]["error"].endswith("test_pg.py:4")
    lines = result.outlines
    head = next(at for at, line in enumerate(lines) if "ERROR at setup of test_it " in line)
    tail = next(at for at, line in enumerate(lines) if "ERROR at setup of test_own " in line)
    shown = [line for line in lines[head + 1 : tail] if not line.startswith("[gw")]
    assert shown[0].startswith(said)
    assert len(shown) <= 2  # the second is pytest's own word on hidden frames
    assert any("of the drill's own" in line for line in lines[tail:])
    result.stdout.fnmatch_lines(["ERROR *::test_it - *PostgresError: *"])


@pytest.mark.usefixtures("_postgres")
def test_a_synchronous_drill_can_not_begin_where_commits_wait_for_nobody(drills):
    result, found = drills(
        """
        import pytest
        @pytest.mark.rpo("0s")
        def test_it(postgres_primary, postgres_standby, drill):
            postgres_standby()
            drill.require("a synchronous standby", postgres_primary.has_sync_standby)
        """
    )
    result.assert_outcomes(skipped=1)
    assert found["test_it"]["reason"].endswith("precondition not met: a synchronous standby")
