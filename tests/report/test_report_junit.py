from __future__ import annotations

import pytest
import sample_records as samples

from pytest_drdrill.report.junit import properties


def test_what_was_measured_and_promised_is_a_property() -> None:
    found = dict(properties(samples.drill()))
    assert found == {
        "dr_tier": "critical",
        "dr_service": "orders",
        "dr_disaster": "security",
        "dr_kinds": "backup_restore, rto, rpo",
        "dr_mode": "simulated",
        "dr_verdict": "passed",
        "dr_rto_s": "4.31",
        "dr_rto_target_s": "900",
        "dr_rto_met": "true",
        "dr_rpo_s": "0",
        "dr_rpo_target_s": "300",
        "dr_rpo_met": "true",
        "dr_rpo_basis": "backup",
    }


def test_what_has_no_value_is_left_out() -> None:
    plain = samples.drill(
        tier=None,
        service=None,
        disaster=None,
        kinds=[],
        rto=samples.rto(None, None),
        rpo=samples.rpo(None, None),
    )
    assert properties(plain) == [("dr_mode", "simulated"), ("dr_verdict", "passed")]


def test_what_never_ended_or_does_not_apply_is_said() -> None:
    assert (
        dict(properties(samples.never_recovered()["drills"][0]))["dr_rto_not_recovered"] == "true"
    )
    assert dict(properties(samples.unbounded_loss()["drills"][0]))["dr_rpo_unbounded"] == "true"
    waived = dict(properties(samples.not_applicable()["drills"][0]))
    assert waived["dr_rpo_not_applicable"] == "the web tier holds no data"
    assert "dr_rpo_s" not in waived
    skipped = dict(properties(samples.not_verified()["drills"][0]))
    assert skipped["dr_reason"].startswith("precondition")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0"), (1e-06, "0.000001"), (1e21, "1" + "0" * 21), (10.0, "10")]
)
def test_numbers_are_plain(seconds: float, text: str) -> None:
    assert dict(properties(samples.drill(rto=samples.rto(seconds))))["dr_rto_s"] == text
