"""Every code block of the README runs."""

from __future__ import annotations

import gzip
import re
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from needs import lacks, needs_postgres

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FIRST_DRILL = next(text for kind, text in BLOCKS if kind == "python")
INI = "[pytest]\nfilterwarnings = error\n"


def blocks(kind):
    return [text for found, text in BLOCKS if found == kind]


def test_every_block_is_of_a_kind_that_is_run_here():
    assert {kind for kind, _ in BLOCKS} == {"python", "sh", "text", "ini"}
    assert len(blocks("python")) >= 3


@pytest.mark.parametrize("source", blocks("python"), ids=lambda text: text.split()[1])
def test_drills_run(pytester, source):
    pytester.makeini(INI)
    if "latest_backup" in source:
        needs_postgres()
        began = datetime.now(UTC) - timedelta(hours=9)
        text = (ROOT / "example_drills" / "shop.sql").read_text(encoding="utf-8")
        text = text.format(began=f"{began:%Y-%m-%d %H:%M:%S} UTC")
        pytester.mkdir("backups").joinpath("shop-1.sql.gz").write_bytes(
            gzip.compress(text.encode())
        )
    pytester.makepyfile(**{source.split()[1].removesuffix(".py"): source})
    if "dr_live" in source:  # nobody has that system
        result = pytester.runpytest("--strict-markers", "--dr-dry-run")
        assert "1 live drill; nothing was run" in result.stdout.str()
        assert result.ret == 0
        return
    result = pytester.runpytest("--strict-markers")
    outcomes = result.parseoutcomes()
    if "skipped" in outcomes:
        lacks(f"what a drill of the README takes: {result.stdout.str()}")
    assert set(outcomes) <= {"passed", "xfailed"}
    assert result.ret == 0


@pytest.mark.parametrize("block", blocks("sh"))
def test_commands_run(pytester, block):
    pytester.makeini(INI)
    pytester.makepyfile(test_orders=FIRST_DRILL)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
        elif program == "pip":
            pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            assert arguments == ["install", "pytest-drdrill"]
            assert 'name = "pytest-drdrill"' in pyproject
        elif program == "python":
            assert arguments[:2] == ["-m", "pytest_drdrill"]
            result = pytester.run(sys.executable, *arguments)
            assert result.ret == 0
            table = [line for line in result.outlines if line.startswith("| ")]
            assert table
            assert all(f"{line}\n" in README for line in table)
        else:
            assert program == "pytest"
            result = pytester.runpytest(*arguments)
            result.assert_outcomes(passed=1)
            for option in arguments:
                if option.startswith("--dr-report="):
                    assert (pytester.path / option.partition("=")[2]).is_file()


def test_shown_section_is_what_is_printed(pytester):
    pytester.makeini(INI)
    pytester.makepyfile(test_orders=FIRST_DRILL)
    result = pytester.runpytest("--dr-tier=critical")

    def shape(text):
        """The words, with measured times masked and runs of blanks folded."""
        text = re.sub(r"\b\d+(\.\d+)?(us|ms|s)(?= /)", "TIME", text)
        return [" ".join(line.split()) for line in text.splitlines() if line.strip()]

    (block,) = blocks("text")
    printed = shape(result.stdout.str())
    for line in shape(block):
        assert line in printed


def test_ini_block_is_accepted(pytester):
    (block,) = blocks("ini")
    pytester.makeini(block)
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.dr_tier("gold")
        def test_it(dr_objectives, rto_timer, rpo_timer):
            assert dr_objectives.metrics.availability_target == 99.99
            rpo_timer.not_applicable("only the tier is looked at")
            with rto_timer.outage():
                pass
        """
    )
    pytester.runpytest("--dr-tier=gold,bronze").assert_outcomes(passed=1)


def test_tables_name_every_marker_option_and_fixture(pytester):
    pytester.makeini(INI)
    from pytest_drdrill.plugin import __all__ as fixtures
    from pytest_drdrill.session.markers import MARKERS

    for text in MARKERS.values():
        assert f"`{text.partition(':')[0]}`" in README
    for name in fixtures:
        if not name.startswith("_"):
            assert f"| `{name}` |" in README
    shown = pytester.runpytest("--help").stdout.str()
    options = set(re.findall(r"(--dr-[a-z-]+)", shown))
    assert options == set(re.findall(r"^\| `(--dr-[a-z-]+)", README, re.MULTILINE))
