"""Names of one file that come and go within a tick of the clock, which no time betrays."""

import os

import pytest
from backup_trees import picture

from pytest_drdrill.backup import DifferentialBackupStrategy, IncrementalBackupStrategy, status


@pytest.fixture(autouse=True)
def _just_changed(monkeypatch):
    """All files had changed shortly before they are read, however slow the machine is."""
    monkeypatch.setattr(status, "_COARSE_NS", 10**18)


@pytest.fixture
def linked(small):
    """Two names of one file, beside the three files."""
    (small / "m").write_text("shared")
    os.link(small / "m", small / "o")
    return small


def a_name_before_the_others(source):
    (source / "o").rename(source / "b")


def a_name_after_the_others(source):
    (source / "m").rename(source / "p")


def the_first_name_for_another_file(source):
    (source / "m").rename(source / "p")
    (source / "m").write_text("other")
    os.link(source / "m", source / "q")


def the_first_name_for_another_file_of_the_same_content(source):
    (source / "m").rename(source / "p")
    (source / "m").write_text("shared")
    os.link(source / "m", source / "q")


@pytest.mark.parametrize("strategy", [IncrementalBackupStrategy, DifferentialBackupStrategy])
@pytest.mark.parametrize("paranoid", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        a_name_before_the_others,
        a_name_after_the_others,
        the_first_name_for_another_file,
        the_first_name_for_another_file_of_the_same_content,
    ],
)
def test_names_of_a_file_that_changed_places(
    full, linked, vault, tmp_path, strategy, paranoid, change
):
    full.create_backup(linked, vault)
    change(linked)
    job = strategy().create_backup(linked, vault, paranoid=paranoid)
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(linked)


@pytest.mark.parametrize("paranoid", [False, True])
def test_names_of_a_file_that_stayed_are_not_stored_again(full, linked, vault, paranoid):
    base = full.create_backup(linked, vault)
    job = IncrementalBackupStrategy().create_backup(linked, vault, paranoid=paranoid)
    assert job.manifest_id == base.id
    assert (job.file_count, job.size_bytes) == (base.file_count, base.size_bytes)
