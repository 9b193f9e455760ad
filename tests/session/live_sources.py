"""Live drills, on targets that nobody listens on: what counts is who is let touch them."""

from __future__ import annotations

TARGET = 'breaks="stops it", undone_by="starts it again"'
LIVE = f"""
pytestmark = [
    pytest.mark.dr_service("orders"),
    pytest.mark.dr_live(max_outage="1m"),
    pytest.mark.dr_live_target("127.0.0.1:5432", {TARGET}),
]
"""
"""What marks every test of a module as a live drill on one target."""

ALLOWED = ("--dr-live", "-o", "dr_live_targets=127.0.0.1")
"""Options that let such drills run."""
