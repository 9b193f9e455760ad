"""Killed at every call to the system: no half backup is listed, no earlier one is harmed.

Unlike the sweep of test_backup_crash.py this one does not rest on what Python tells of itself: the
kernel stops the process before each of its calls.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import system_calls
from backup_trees import picture, rest

from hand_clock import HandClock
from needs import lacks
from pytest_drdrill.backup.swap import exchange


@pytest.fixture
def sweep(tmp_path):
    """Kill a backup or a restore everywhere; the folders of each state in which a kill left one."""

    def run(what, kind, given, start):
        base = tmp_path / "sweep"
        arguments = [what, kind, *map(str, (given, start, base))]
        done = subprocess.run(
            [sys.executable, "-c", "import system_calls; system_calls.main()", *arguments],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == system_calls.NOT_ALLOWED:
            lacks(f"the right to trace a process: {done.stderr}")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["calls"] > 50
        return [base / name / "it" for name in found["states"]]

    return run


@pytest.fixture
def tree(small):
    """A small source with each kind of entry, unchanged for a while."""
    os.link(small / "a.txt", small / "sub" / "hard")
    (small / "soft").symlink_to("nowhere")
    (small / "empty").mkdir()
    return settle(small)


def settle(source):
    for path in [*source.rglob("*"), source]:
        os.utime(path, ns=(0, 1_400_000_000_000_000_005), follow_symlinks=False)
    rest()
    return source


def change(source, text):
    (source / "z.txt").write_text(text)
    (source / "sub" / text).touch()
    settle(source)


def add(kind, source, vault, known):
    job = system_calls.STRATEGIES[kind](clock=HandClock()).create_backup(source, vault)
    known[job.id] = picture(source)


def nothing_before(tree, vault, known):
    pass


def a_full_backup_and_a_leftover(tree, vault, known):
    add("full", tree, vault, known)
    left = vault / "000002-incremental-20260301T020000Z"
    shutil.copytree(next(path for path in vault.iterdir() if path.is_dir()), left)
    (left / "metadata.json").rename(left / "metadata.json.part")
    change(tree, "newer")


def a_full_and_an_incremental_backup(tree, vault, known):
    add("full", tree, vault, known)
    change(tree, "newer")
    add("incremental", tree, vault, known)
    change(tree, "newest")


def the_same_in_a_full_backup(tree, vault, known):
    add("full", tree, vault, known)


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("full", nothing_before),
        ("incremental", a_full_backup_and_a_leftover),
        ("differential", a_full_and_an_incremental_backup),
        ("incremental", the_same_in_a_full_backup),
    ],
)
def test_a_backup_killed_at_every_call(full, tree, vault, tmp_path, sweep, kind, before):
    known = {}
    before(tree, vault, known)
    state = picture(tree)
    published = []
    for place in sweep("backup", kind, tree, vault):
        jobs = full.list_backups(place) if place.exists() else []
        new = [job for job in jobs if job.id not in known]
        assert len(jobs) == len(known) + len(new), place
        assert len(new) <= 1
        published.append(len(new))
        # The next run takes the lock, and clears what the dead one left.
        jobs.insert(0, system_calls.STRATEGIES[kind]().create_backup(tree, place))
        assert len([path for path in place.iterdir() if path.is_dir()]) == len(jobs)
        for job in jobs:
            full.verify_backup(job)
            full.restore_backup(job, place.with_name(job.id))
            assert picture(place.with_name(job.id)) == known.get(job.id, state), place
    # From one call on it is published, and what comes after changes nothing.
    assert published == sorted(published)
    assert set(published) == {0, 1}


def test_a_restore_to_a_missing_folder_killed_at_every_call(full, tree, vault, tmp_path, sweep):
    job = full.create_backup(tree, vault)
    outcomes = []
    for target in sweep("restore", job.id, vault, tmp_path / "none"):
        outcomes.append(target.exists())
        if target.exists():
            assert picture(target) == picture(tree), target
        full.restore_backup(job, target, replace=True)
        assert picture(target) == picture(tree), target
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_a_restore_in_the_place_of_a_folder_killed_at_every_call(
    full, tree, vault, tmp_path, sweep
):
    job = full.create_backup(tree, vault)
    (tmp_path / "old" / "sub").mkdir(parents=True)
    (tmp_path / "old" / "sub" / "file").write_text("what was there")
    old, new = picture(settle(tmp_path / "old")), picture(tree)
    outcomes = []
    for target in sweep("restore", job.id, vault, tmp_path / "old"):
        if target.exists():
            outcomes.append("old" if picture(target) == old else "new")
            assert picture(target) in (old, new), target
        else:
            # Between the two renames that swap them: both are there, whole, beside their place.
            outcomes.append("between")
            (replaced,) = target.parent.glob(".it.replaced-*")
            (restored,) = target.parent.glob(".it.restoring-*")
            assert picture(replaced) == old
            assert picture(restored) == new
        full.restore_backup(job, target, replace=True)
        assert picture(target) == new, target
    assert outcomes == sorted(outcomes, key=["old", "between", "new"].index)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    assert outcomes.count("between") == (not exchange(tmp_path / "one", tmp_path / "other"))
    assert {"old", "new"} <= set(outcomes)
