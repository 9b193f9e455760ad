from __future__ import annotations

from typing import Any

import pytest
from sample_records import SAMPLES


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each of the sample records, one after the other."""
    return SAMPLES[request.param]()
