import pytest

from hand_clock import HandClock
from pytest_drdrill import Drill, Objectives


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def promised(clock):
    """A drill on the clock moved by hand, with these objectives."""
    return lambda **objectives: Drill(Objectives(**objectives), clock=clock)


@pytest.fixture
def drill(promised):
    return promised()
