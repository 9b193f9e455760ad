"""``@given`` drills that are inherited, by classes with fixtures of their own."""

from __future__ import annotations

import pytest

INHERITED = """
from hypothesis import HealthCheck, given, settings, strategies as st
SEEN = {}
quick = settings(
    max_examples=3, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
class Base:
    @quick
    @given(n=st.integers(1, 9))
    async def test_it(self, simulated_endpoints, n):
        SEEN.setdefault(type(self).__name__, set()).add(type(asyncio.get_running_loop()).__name__)
        await asyncio.sleep(0)
class Real(Base):
    @pytest.fixture
    def simulated_endpoints(self): return None
class TestOne(FIRST): MARK
class TestTwo(SECOND): MARK
class TestThree(FIRST): MARK
def test_seen():
    assert all(len(loops) == 1 for loops in SEEN.values()), SEEN
    loops = {name: min(loops) == "VirtualLoop" for name, loops in SEEN.items()}
    first = VIRTUAL_FIRST
    assert loops == {"TestOne": first, "TestTwo": not first, "TestThree": first}
"""


@pytest.mark.parametrize("first", ["Base", "Real"])
@pytest.mark.parametrize("mark", ["pytestmark = pytest.mark.dr_service('x')", "pass"])
@pytest.mark.parametrize("reverse", [False, True])
def test_given_drill_inherited_by_a_class_that_leaves_virtual_time(
    drills, pytester, first, mark, reverse
):
    second = {"Base": "Real", "Real": "Base"}[first]
    source = INHERITED.replace("VIRTUAL_FIRST", str(first == "Base")).replace("MARK", mark)
    source = source.replace("FIRST", first).replace("SECOND", second)
    if reverse:  # that it was collected in another order than it runs in
        pytester.makeconftest(
            "def pytest_collection_modifyitems(items): items[:3] = reversed(items[:3])"
        )
    outcome = drills(source, "-o", "asyncio_mode=auto")
    outcome.result.assert_outcomes(passed=4)
