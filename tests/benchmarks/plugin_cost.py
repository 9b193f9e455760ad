"""What the plugin costs a suite: ratios and microseconds, measured beside peers in one run.

    python tests/benchmarks/plugin_cost.py [--pairs 11] [--tests 5000] [--drills 2000]

CPU time (user + system) is what counts, since wall time on a shared machine says more about its
neighbours. Contenders run in turn, A B A B, and a ratio is the median of the ratios of neighbouring
runs, so that slow drift of the machine cancels out.

The cost of a drill is a small difference between long runs. Between whole processes it drowns in
the noise (on two shared cores a pair's difference spread from 84 to 528 us), so all contenders run
in one warm process, and what it costs to start is measured apart and shared out over the drills.

The targets, from the project's own promise:

- 5,000 ordinary tests, against the same run with ``-p no:drdrill``: at most 1.02 times;
- inside the process, over this plugin's own hooks: at most 10 us an ordinary test;
- import of the entry point: at most 20 ms beyond what pytest itself imports;
- 2,000 trivial drills, evidence included: at most 100 us a drill more than an ordinary test.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PER_FILE = 500
QUIET = ["-q", "-p", "no:cacheprovider", "--no-header", "-o", "addopts="]
# Runs the contenders, each an argument list for pytest, in turn in one process; prints their CPU
# seconds, those of child processes included.
IN_TURN = """
import contextlib, gc, io, json, resource, sys
import pytest
def spent():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
rounds, contenders = json.loads(sys.argv[1])
figures = [[] for _ in contenders]
for number in range(rounds + 1):
    order = range(len(contenders))
    for index in order if number % 2 else reversed(order):
        for name in [name for name in sys.modules if name.startswith("test_0")]:
            del sys.modules[name]
        gc.collect()
        begun = spent()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = pytest.main(contenders[index])
        if code:
            raise SystemExit(said.getvalue())
        if number:  # the first round loads modules
            figures[index].append(spent() - begun)
print("FIGURES", json.dumps(figures))
"""
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


def write_suite(
    folder: Path, count: int, *, mark: str = "", asks: str = "", body: str = "pass"
) -> Path:
    folder.mkdir()
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
        "markers =\n    plain(x): nothing\n"
    )
    for first in range(0, count, PER_FILE):
        tests = "".join(
            f"{mark}def test_{number}({asks}):\n    {body}\n"
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


def start_cost(test: Path, drill: Path, out: str, pairs: int) -> float:
    """Milliseconds that a session with a drill and its evidence takes to start and end."""
    report = f"--dr-report={out}/evidence.json"
    base, ours = interleaved(
        3 * pairs, lambda: cpu_seconds(test), lambda: cpu_seconds(drill, report)
    )
    figures = [(a - b) * 1000 for a, b in zip(ours, base, strict=True)]
    show("a session of one drill over one of an ordinary test", figures, "ms", "-")
    return statistics.median(figures)


def in_turn(rounds: int, contenders: list[list[str]]) -> list[list[float]]:
    """CPU seconds of each contender's runs, all of them in one warm process."""
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    given = json.dumps([rounds, [[*QUIET, *arguments] for arguments in contenders]])
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, given],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.partition("FIGURES ")[2])


def drill_cost(root: Path, count: int, pairs: int) -> None:
    plain, marked = "@pytest.mark.plain(1)\n", '@pytest.mark.dr_service("x")\n'
    out, one = str(root), root / "one"
    one.mkdir()
    start_ms = start_cost(
        write_suite(one / "plain", 1, mark=plain),
        write_suite(one / "drill", 1, mark=marked),
        out,
        pairs,
    )
    ordinary = str(write_suite(root / "plain", count, mark=plain))
    drills = str(write_suite(root / "drills", count, mark=marked))
    measured = write_suite(
        root / "measured",
        count,
        mark='@pytest.mark.rto("15m")\n',
        asks="rto_timer",
        body="with rto_timer.outage(): pass",
    )
    base, ours, measuring, junit, html = in_turn(
        pairs,
        [
            [ordinary],
            [drills, f"--dr-report={out}/evidence.json"],
            [str(measured), f"--dr-report={out}/evidence.json"],
            [ordinary, f"--junitxml={out}/junit.xml"],
            [ordinary, f"--html={out}/page.html", "--self-contained-html"],
        ],
    )
    for what, figures, start_us, target in (
        (
            "a trivial drill, evidence included, its share of the start",
            ours,
            start_ms * 1e3,
            "<= 100",
        ),
        ("a drill with a fixture and a measured outage, likewise", measuring, start_ms * 1e3, "-"),
        ("peer: junitxml, per ordinary test", junit, 0, "-"),
        ("peer: pytest-html, per ordinary test", html, 0, "-"),
    ):
        per_test = [((a - b) * 1e6 + start_us) / count for a, b in zip(figures, base, strict=True)]
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
        import_cost(given.pairs)
        own_hooks(many, given.tests, 3)
        ordinary_ratio(many, given.pairs)
        drill_cost(root, given.drills, given.pairs)


if __name__ == "__main__":
    main()
