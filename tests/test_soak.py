"""What takes minutes runs when it is asked for, and never else."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = "test_rsync_sees_no_difference_in_a_large_tree"
FILE = "tests/backup/test_backup_rsync.py"


def selected(*arguments):
    """Exit code, and the names of the tests that these arguments select."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]
    return done.returncode, {name.partition("[")[0] for name in names}


def test_plain_pytest_leaves_it_out():
    code, names = selected(FILE)
    assert code == 0
    assert SLOW not in names
    assert names


@pytest.mark.parametrize("named", [[FILE], [f"{FILE}::{SLOW}"]])
def test_asked_for_it_runs_alone(named):
    assert selected("-m", "soak", *named) == (0, {SLOW})


def test_named_but_not_asked_for_it_is_deselected():
    assert selected(f"{FILE}::{SLOW}") == (5, set())
