"""The benchmark of a million files, on fewer: its bound holds, can go red, and nothing stays."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parent / "benchmarks" / "million_files.py"
STEPS = ["full", "nothing new", "restore"]


def command(work, *options):
    return [sys.executable, BENCHMARK, "--work", work, *map(str, options)]


def run(work, *options, cwd=None):
    """Exit code, what was printed, and what was said of an error; whatever came, nothing stays."""
    done = subprocess.run(
        command(work, *options), capture_output=True, text=True, check=False, cwd=cwd
    )
    print(done.stdout, done.stderr)
    assert list(work.iterdir()) == []
    return done.returncode, done.stdout, done.stderr


def peaks(said):
    """MiB by step, from the table."""
    rows = [line.rsplit(maxsplit=3) for line in said.splitlines()[2:]]
    assert [row[0] for row in rows] == STEPS
    return [float(row[3]) for row in rows]


def test_memory_of_fifteen_thousand_files(tmp_path):
    # Beside that of a few: each Python and each build of it begins with another amount.
    few, many, flat = (
        run(tmp_path, "--files", *options) for options in ([10], [15_000], [15_000, "--flat", 1])
    )
    assert [(code, error) for code, _, error in (few, many, flat)] == [(0, "")] * 3
    for base, spread, in_one in zip(
        *(peaks(said) for _, said, _ in (few, many, flat)), strict=True
    ):
        assert spread - base < 12  # the threads and their buffers, the names of a folder
        assert in_one - base < 20  # up to so many names, their status is kept too


def test_memory_above_the_limit_is_one_sentence(tmp_path):
    code, _, error = run(tmp_path, "--files", 10, "--limit-mib", 2)
    assert code == 1
    assert error.startswith("more memory than 2 MiB was taken: full ")
    assert error.count("\n") == 1


def test_a_step_that_fails_is_one_sentence(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "pytest_drdrill.py").touch()  # found in the place of the package
    code, _, error = run(tmp_path / "work", "--files", 10, cwd=tmp_path)
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith("full failed: ModuleNotFoundError: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path, number):
    # What began in the background hears no Ctrl-C, and what it starts does not either.
    command_line = ["env", "--default-signal=INT", *command(tmp_path, "--files", 3000)]
    with subprocess.Popen(
        command_line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("3,000 files in 3 folders")
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        _, error = process.communicate()
    assert (process.returncode, error) == (1, "interrupted; what it made is removed\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_memory_of_a_million_files(tmp_path):
    code, _, error = run(tmp_path)
    assert (code, error) == (0, "")
