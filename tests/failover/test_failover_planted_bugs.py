"""Bugs planted in a copy of the manager are caught by the tests that lie beside this one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_drdrill

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGE = Path(pytest_drdrill.__file__).parent  # be it a checkout's or an installed one
TESTS = ("rules", "lifecycle", "virtual", "takeover", "tuning")
WATCH_TESTS = ("watch",)
MOVES = "        error = await self._take_over(target, old=old, reason=reason)\n"
FENCES = "            for each in [each for each in self._may_lead.values()"
PROMOTES = "            await self._promote(target)\n"
BUGS = {
    "threshold ignored": (
        "health",
        "self.failures >= self.failure_threshold",
        "self.failures >= 1",
    ),
    "recovery threshold ignored": (
        "health",
        "self.successes >= self.recovery_threshold",
        "self.successes >= 1",
    ),
    "failures not reset": ("health", "            self.failures = 0\n", ""),
    "successes not reset": ("health", "            self.successes = 0\n", ""),
    "failback at once": ("decision", "candidate.steady_since + failback_after,", "0.0,"),
    "failback though it is manual": (
        "decision",
        "    if failback_after is not None:",
        "    failback_after = failback_after or 0.0\n    if True:",
    ),
    "callbacks out of order": (
        "announcer",
        "in tuple(self._callbacks):",
        "in reversed(self._callbacks):",
    ),
    "a callback that raises stops the others": (
        "announcer",
        "                except Exception as error:",
        "                except ZeroDivisionError as error:",
    ),
    "named before it has taken over": (
        "switching",
        MOVES,
        f"        self.active = target\n{MOVES}",
    ),
    "promoted before the old one is fenced": ("takeover", FENCES, PROMOTES + FENCES),
    "fenced without proof": ("takeover", "not isinstance(proof, FencingProof)", "False"),
    "a step may take for ever": ("takeover", "clock.timeout(timeout_s)", "clock.timeout(None)"),
    "a switch in part is forgotten": ("takeover", "self._may_lead[name] = endpoint", "pass"),
    "no healthy endpoint is said again and again": (
        "decision",
        'return Decision(target, "stay" if target == active else "failover")',
        'return Decision(target, "failover")',
    ),
    "the fast interval is not": (
        "checks",
        "if fast_interval is not None and",
        "if False and",
    ),
    "a lost connection is no hint": ("watching", "            self._call_up()\n", ""),
    "lost connections keep it busy": (
        "watching",
        "            self._pause = FIRST_PAUSE_S\n        await",
        "            self._pause = FIRST_PAUSE_S\n        return\n        await",
    ),
    "it knocks for ever": (
        "watching",
        "        if self._refused >= REFUSALS:",
        "        if False:",
    ),
}


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and of its failover tests, which meet that copy alone."""
    # What is compiled already stays so: the times of the copied sources are those of the originals.
    skip = shutil.ignore_patterns(Path(__file__).name)
    shutil.copytree(PACKAGE, tmp_path / "pytest_drdrill", ignore=skip)
    shutil.copytree(ROOT / "tests" / "failover", tmp_path / "tests" / "failover", ignore=skip)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run_tests(copy, tests=TESTS):
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [f"tests/failover/test_failover_{name}.py" for name in tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(
        command,
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_copy_is_what_runs_and_it_is_sound(copy):
    (copy / "pytest_drdrill" / "failover" / "copied.py").write_text("")
    (copy / "tests" / "failover" / "test_failover_rules.py").write_text(
        "def test_it():\n    import pytest_drdrill.failover.copied\n"
    )
    done = run_tests(copy, TESTS + WATCH_TESTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(copy, bug):
    module, sound, broken = BUGS[bug]
    path = copy / "pytest_drdrill" / "failover" / f"{module}.py"
    source = path.read_text()
    assert source.count(sound) == 1, "the bug has no place any more"
    path.write_text(source.replace(sound, broken))
    done = run_tests(copy, WATCH_TESTS if module == "watching" else TESTS)
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout
