"""For every room's tests; what lies beside this file can be imported by them."""

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
