"""A drill that restores a dump: what it measured and found is in its evidence; nothing is left."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from needs import needs_postgres
from pytest_drdrill.live.dumps.binaries import installed
from pytest_drdrill.live.dumps.scratch import ScratchPostgres, clean_environment


@pytest.fixture(scope="module")
def nightly(tmp_path_factory):
    """Last night's dump."""
    needs_postgres()
    server = ScratchPostgres(installed()[0])
    dump = tmp_path_factory.mktemp("nightly") / "shop-2026-03-01.dump"
    try:
        with server.connect("postgres") as connection:
            connection.execute("CREATE TABLE orders AS SELECT * FROM generate_series(1, 9) AS id")
            connection.execute("CREATE ROLE app")
            connection.execute("ALTER TABLE orders OWNER TO app")
        command = [server.binaries.folder / "pg_dump", "-Fc", "-d", server.dsn("postgres")]
        subprocess.run([*command, "-f", dump], env=clean_environment(), check=True)
    finally:
        server.close()
    return dump


DRILL = """
import pytest
from pytest_drdrill import latest_backup

@pytest.mark.rto("15m")
@pytest.mark.rpo("1d")
@pytest.mark.disaster("technical")
def test_last_night(postgres_restore, rto_timer, rpo_timer):
    dump = latest_backup("backups/*", watch="1ms")
    with rto_timer.outage():
        restored = postgres_restore(dump, minimum_rows={"orders": 5}, ignore=IGNORE)
        assert restored.query("SELECT count(*) FROM orders") == [(9,)]
    rpo_timer.recovered_to(restored.recovery_point, basis="backup")
    print("FOLDER", restored._server.folder)
"""
IGNORED = DRILL.replace("IGNORE", "{'missing_role': 'roles are made by terraform'}")


@pytest.fixture
def run(pytester, nightly):
    (pytester.path / "backups").mkdir()
    shutil.copy(nightly, pytester.path / "backups")

    def run(drill=IGNORED, *arguments):
        pytester.makepyfile(drill)
        result = pytester.runpytest("--dr-report=evidence.json", "-s", *arguments)
        record = json.loads((pytester.path / "evidence.json").read_text())
        return result, record["drills"][0]

    return run


def test_what_was_measured_and_found_is_in_the_evidence(run, tmp_path):
    result, drill = run()
    result.assert_outcomes(passed=1)
    assert drill["mode"] == "local"
    assert "backup_restore" in drill["kinds"]
    assert drill["rpo"]["basis"] == "backup"
    assert 0 < drill["rpo"]["actual_s"] < 600
    (metric,) = drill["metrics"]
    assert 0 < metric["value"] < drill["rto"]["actual_s"]
    (finding,) = drill["findings"]
    assert finding["text"].startswith('serious: missing_role: 1 statement failed: role "app" does')
    assert finding["text"].endswith("(ignored: roles are made by terraform)")
    told = {each["event"]: each["detail"] for each in drill["timeline"]}
    assert "a custom dump, in" in told["restored"]
    assert "its data are from 20" in told["restored"]
    (folder,) = [line for line in result.outlines if "FOLDER" in line]
    folder = folder.partition("FOLDER ")[2]
    assert folder.startswith("/")
    assert not shutil.os.path.exists(folder)


def test_a_serious_finding_fails_the_drill_with_a_sentence_and_none_of_our_code(run):
    result, drill = run(DRILL.replace("IGNORE", "None"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*RestoreUnsound: the restore of */backups/shop-*.dump *"])
    assert "dumps/restore.py" not in result.stdout.str()
    assert drill["verdict"] == "failed"
    assert len(drill["findings"]) == 1
    assert drill["rto"]["actual_s"] is None  # never recovered


def test_a_cut_dump_fails_the_drill(run, pytester, nightly):
    (pytester.path / "backups" / nightly.name).write_bytes(nightly.read_bytes()[:-40])
    result, drill = run()
    result.assert_outcomes(failed=1)
    assert "truncated: the dump is cut or damaged: it ends at byte" in drill["error"]


def test_what_the_machine_lacks_is_not_verified(run, pytester):
    pytester.makeconftest(
        "import sys; sys.modules['psycopg'] = None  # as if it were not installed"
    )
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess("--dr-report=evidence.json", run_file(pytester))
    result.assert_outcomes(skipped=1)
    (drill,) = json.loads((pytester.path / "evidence.json").read_text())["drills"]
    assert drill["verdict"] == "not_verified"
    assert drill["reason"] == (
        "this machine lacks the Python package psycopg; install it: "
        "pip install 'pytest-drdrill[postgres]'"
    )


def run_file(pytester):
    return pytester.makepyfile(IGNORED)


def test_an_ordinary_test_may_restore_too(run, pytester, nightly):
    pytester.makepyfile(
        """
        def test_it(postgres_restore):
            restored = postgres_restore("backups/shop-2026-03-01.dump", roles=["app"])
            assert restored.tables == {"orders": 9}
            assert restored.findings == ()
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_simulated_drill_measures_no_time_of_a_real_restore(run):
    drill = IGNORED.replace("postgres_restore, rto", "simulated_world, postgres_restore, rto")
    result, record = run(drill.replace("rpo_timer.recovered_to", "str"))
    result.assert_outcomes(failed=1)
    assert "restore begins" in record["error"]


def test_the_programs_that_the_ini_file_names_are_used(run):
    result, drill = run(IGNORED, "-o", "dr_postgres_bin=/nowhere")
    result.assert_outcomes(skipped=1)
    assert drill["verdict"] == "not_verified"
    assert "lacks postgres and initdb in /nowhere" in result.stdout.str()
