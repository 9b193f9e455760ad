"""What the plugin costs a suite: ratios and microseconds, measured beside peers in one run.

    python tests/benchmarks/plugin_cost.py [--pairs 11] [--tests 5000] [--drills 2000]

Runs are whole processes; CPU time (user + system) is what counts, since wall time on a shared
machine says more about its neighbours. Contenders run in turn, A B A B, and a ratio is the median
of the ratios of neighbouring runs, so that slow drift of the machine cancels out.

The targets, from the project's own promise:

- 5,000 ordinary tests, against the same run with ``-p no:drdrill``: at most 1.02 times;
- inside the process, over this plugin's own hooks: at most 10 us an ordinary test;
- import of the entry point: at most 20 ms beyond what pytest itself imports;
- 2,000 trivial drills, evidence included: at most 100 us a drill more than an ordinary test.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PER_FILE = 500
QUIET = ["-q", "-p", "no:cacheprovider", "--no-header", "-o", "addopts="]
# Counts, in the process itself, the time that passes in this plugin's own hook functions.
METER = """
import atexit, functools, inspect, time
spent = [0]
def metered(function):
    if inspect.isgeneratorfunction(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            begun = time.perf_counter_ns()
            generator = function(*args, **kwargs)
            step, value = generator.__next__, None
            while True:
                try:
                    yielded = step()
                except StopIteration as stop:
                    spent[0] += time.perf_counter_ns() - begun
                    return stop.value
                except BaseException:
                    spent[0] += time.perf_counter_ns() - begun
                    raise
                spent[0] += time.perf_counter_ns() - begun
                try:
                    value = yield yielded
                    step = functools.partial(generator.send, value)
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                begun = time.perf_counter_ns()
    else:
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            begun = time.perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                spent[0] += time.perf_counter_ns() - begun
    wrapper.__signature__ = inspect.signature(function)
    return wrapper
def meter(manager, plugin):
    for hook in manager.get_hookcallers(plugin) or ():
        for implementation in hook.get_hookimpls():
            if implementation.plugin is plugin:
                implementation.function = metered(implementation.function)
def pytest_configure(config):
    meter(config.pluginmanager, config.pluginmanager.get_plugin("drdrill"))
def pytest_plugin_registered(plugin, manager):
    if type(plugin).__module__.startswith("pytest_drdrill."):
        meter(manager, plugin)
def pytest_unconfigure(config):
    print("METER", spent[0])
"""


def write_suite(folder: Path, count: int, *, mark: str = "") -> Path:
    folder.mkdir()
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
        "markers =\n    plain(x): nothing\n"
    )
    for first in range(0, count, PER_FILE):
        tests = "".join(
            f"{mark}def test_{number}():\n    pass\n"
            for number in range(first, min(first + PER_FILE, count))
        )
        head = "import pytest\n"
        (folder / f"test_{first:06d}.py").write_text(head + tests)
    return folder


def cpu_seconds(suite: Path, *options: str) -> float:
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *QUIET, *options, str(suite)],
        cwd=suite,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"pytest {' '.join(options)} in {suite} exited {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def interleaved(pairs: int, *contenders) -> list[list[float]]:
    """Each contender's figures, run in turn after one round that is not counted."""
    figures: list[list[float]] = [[] for _ in contenders]
    for number in range(pairs + 1):
        # The order turns round, so that none always runs first.
        order = range(len(contenders)) if number % 2 else reversed(range(len(contenders)))
        for index in order:
            figure = contenders[index]()
            if number:
                figures[index].append(figure)
    return figures


def show(what: str, values: list[float], unit: str, target: str) -> None:
    low, middle, high = min(values), statistics.median(values), max(values)
    spread = f"(min {low:.3f}, max {high:.3f}, n={len(values)})"
    print(f"{what:<58} {middle:9.3f} {unit:<3} {spread:<36} target {target}")


def ordinary_ratio(suite: Path, pairs: int) -> None:
    on, off, again = interleaved(
        pairs,
        lambda: cpu_seconds(suite),
        lambda: cpu_seconds(suite, "-p", "no:drdrill"),
        lambda: cpu_seconds(suite, "-p", "no:drdrill"),
    )
    ratios = [a / b for a, b in zip(on, off, strict=True)]
    noise = [a / b for a, b in zip(again, off, strict=True)]
    show("ordinary tests, CPU with / without the plugin", ratios, "x", "<= 1.02")
    show("  the same run twice (noise)", noise, "x", "-")


def own_hooks(suite: Path, tests: int, runs: int) -> None:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "drdrill_meter.py").write_text(METER)
        for _ in range(runs):
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *QUIET, "-p", "drdrill_meter", str(suite)],
                cwd=suite,
                env={**os.environ, "PYTHONPATH": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            figures.append(int(re.search(r"METER (\d+)", done.stdout)[1]) / 1000 / tests)
    show("own hooks, per ordinary test", figures, "us", "<= 10")


def import_cost(runs: int) -> None:
    figures = []
    for _ in range(runs):
        done = subprocess.run(
            [
                *(sys.executable, "-X", "importtime", "-c"),
                # What every pytest run imports anyway comes first.
                "import pytest, _pytest.config as c; c.get_config(); import pytest_drdrill.plugin",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"\|\s+(\d+) \| pytest_drdrill\.plugin$", done.stderr, re.MULTILINE)
        figures.append(int(found[1]) / 1000)
    show("import of the entry point, beyond pytest's own", figures, "ms", "<= 20")


def drill_cost(ordinary: Path, drills: Path, count: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        report = [f"--dr-report={out}/evidence.json"]
        page = [f"--html={out}/page.html", "--self-contained-html"]
        contenders = [
            lambda: cpu_seconds(ordinary),
            lambda: cpu_seconds(drills, *report),
            lambda: cpu_seconds(ordinary, f"--junitxml={out}/junit.xml"),
            lambda: cpu_seconds(ordinary, *page),
        ]
        base, ours, junit, html = interleaved(pairs, *contenders)
    for what, figures, target in (
        ("a trivial drill, evidence included, over an ordinary test", ours, "<= 100"),
        ("peer: junitxml, per ordinary test", junit, "-"),
        ("peer: pytest-html, per ordinary test", html, "-"),
    ):
        per_test = [(a - b) / count * 1e6 for a, b in zip(figures, base, strict=True)]
        show(what, per_test, "us", target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--drills", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        many = write_suite(root / "many", given.tests)
        plain = write_suite(root / "plain", given.drills, mark="@pytest.mark.plain(1)\n")
        drills = write_suite(root / "drills", given.drills, mark='@pytest.mark.dr_service("x")\n')
        import_cost(given.pairs)
        own_hooks(many, given.tests, 3)
        ordinary_ratio(many, given.pairs)
        drill_cost(plain, drills, given.drills, given.pairs)


if __name__ == "__main__":
    main()
