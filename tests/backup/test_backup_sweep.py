"""Killed at every call to the system: no half backup is listed, no earlier one is harmed.

Unlike the sweep of test_backup_crash.py this one does not rest on what Python tells of itself: the
kernel stops the process before each of its calls.
"""

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
import system_calls
from backup_trees import picture, rest

from hand_clock import HandClock
from needs import lacks
from pytest_drdrill.backup import RestoreTargetError, RetentionPolicy
from pytest_drdrill.backup.exchange import exchange

pytestmark = pytest.mark.once


@pytest.fixture
def sweep(tmp_path):
    """Kill a backup or a restore everywhere; the folders of each state in which a kill left one."""

    def run(what, kind, given, start, *paths):
        base = tmp_path / f"kills from {start.name}"
        arguments = [what, kind, *map(str, (given, start, base)), *paths]
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
def as_it(tmp_path):
    """A folder for the work to begin in, which holds a tree, if there is one, as ``it``."""

    def make(tree):
        start = tmp_path / f"start with {tree.name}"
        start.mkdir()
        if tree.exists():
            shutil.copytree(tree, start / "it", symlinks=True)
        return start

    return make


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
def test_a_backup_killed_at_every_call(full, tree, vault, as_it, sweep, kind, before):
    known = {}
    before(tree, vault, known)
    state = picture(tree)
    published = []
    for place in sweep("backup", kind, tree, as_it(vault)):
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


def test_a_pruning_killed_at_every_call(full, tree, vault, tmp_path, as_it, sweep):
    known = {}
    for number, kind in enumerate(["full", "incremental", "full", "incremental", "differential"]):
        (tree / "z.txt").write_text(f"change {number}")
        add(kind, tree, vault, known)
    kept = [job.id for job in full.list_backups(vault)][:3]  # the newest two, and what they need
    counts = []
    for place in sweep("prune", "2", tmp_path, as_it(vault)):
        jobs = full.list_backups(place)
        counts.append(len(jobs))
        assert [job.id for job in jobs][:3] == kept, place
        for job in jobs:
            full.verify_backup(job)
            full.restore_backup(job, place.with_name(job.id))
            assert picture(place.with_name(job.id)) == known[job.id], place
        # The next one takes the lock, and clears what the dead one left.
        full.prune_backups(place, RetentionPolicy(keep_last=2))
        assert [job.id for job in full.list_backups(place)] == kept
        assert len([path for path in place.iterdir() if path.is_dir()]) == len(kept), place
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == {5, 4, 3}


@pytest.fixture
def old(tmp_path):
    """What is in the place of the restored tree, or of some paths of it."""
    folder = tmp_path / "old"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("older alpha")
    (folder / "sub" / "b.txt").write_text("older beta")
    (folder / "sub" / "kept").write_text("kept")
    return settle(folder)


def view(root):
    """A picture without the times of folders, which change with what is put into them."""
    return {
        name: (mode, owner, None if stat.S_ISDIR(mode) else moment, content)
        for name, (mode, owner, moment, content) in picture(root).items()
    }


def finish(full, job, target, paths=None):
    """The next restore, after which nothing is left beside the target."""
    full.restore_backup(job, target, replace=True, paths=paths)
    assert [path.name for path in target.parent.iterdir()] == ["it"], target


def test_a_restore_to_a_missing_folder_killed_at_every_call(
    full, tree, vault, tmp_path, as_it, sweep
):
    job = full.create_backup(tree, vault)
    outcomes = []
    for target in sweep("restore", job.id, vault, as_it(tmp_path / "none")):
        outcomes.append(target.exists())
        if target.exists():
            assert picture(target) == picture(tree), target
        finish(full, job, target)
        assert picture(target) == picture(tree), target
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_a_restore_in_the_place_of_a_folder_killed_at_every_call(
    full, tree, vault, tmp_path, old, as_it, sweep
):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if not exchange(tmp_path / "one", tmp_path / "other"):
        lacks("a file system that can exchange two paths")
    job = full.create_backup(tree, vault)
    before, after = picture(old), picture(tree)
    outcomes = []
    for target in sweep("restore", job.id, vault, as_it(old)):
        assert picture(target) in (before, after), target
        outcomes.append(picture(target) == after)
        finish(full, job, target)
        assert picture(target) == after, target
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_a_swap_by_renames_killed_at_every_call(full, tree, vault, old, as_it, sweep):
    job = full.create_backup(tree, vault)
    before, after = picture(old), picture(tree)
    outcomes = []
    for target in sweep("restore by renames", job.id, vault, as_it(old)):
        if target.exists():
            outcomes.append("old" if picture(target) == before else "new")
            assert picture(target) in (before, after), target
        else:
            # The old is nowhere but beside its place, to which it goes back first of all.
            outcomes.append("between")
            between = target.parent
            shutil.copytree(between, between.with_name("between"), symlinks=True)
            with pytest.raises(RestoreTargetError, match="is not empty"):
                full.restore_backup(job, target)
            assert picture(target) == before
            assert list(between.iterdir()) == [target]
        finish(full, job, target)
        assert picture(target) == after, target
    assert outcomes == sorted(outcomes, key=["old", "between", "new"].index)
    assert set(outcomes) == {"old", "between", "new"}
    # The next restore is killed too, while it puts back what the first one took away.
    for target in sweep("restore by renames", job.id, vault, between.with_name("between")):
        if not target.exists():
            (replaced,) = target.parent.glob(".it.replaced-*")
            assert picture(replaced) == before
        finish(full, job, target)
        assert picture(target) == after, target


def with_paths(before, tree, *names):
    """What a restore of some paths makes of a tree."""
    given = view(tree)
    return before | {name: given[name] for name in map(os.fsencode, names)}


@pytest.mark.parametrize(
    ("what", "paths"),
    [("restore", ["a.txt", "empty", "sub/b.txt"]), ("restore by renames", ["sub/b.txt"])],
)
def test_paths_killed_at_every_call(full, tree, vault, old, as_it, sweep, what, paths):
    names = [f"./{path}" for path in paths]
    job = full.create_backup(tree, vault)
    before = view(old)
    after = with_paths(before, tree, *names)
    outcomes = []
    for target in sweep(what, job.id, vault, as_it(old), *paths):
        found = view(target)
        outcomes.append("before" if found == before else "after" if found == after else "mixture")
        copy = target.parent.with_name("copy")
        shutil.copytree(target.parent, copy, symlinks=True)
        if outcomes[-1] == "mixture":
            mixture = copy.with_name("mixture")
            shutil.rmtree(mixture, ignore_errors=True)
            shutil.copytree(copy, mixture, symlinks=True)
        # Another restore finds the target as it was before this one, or as it is after it.
        finish(full, job, copy / "it", paths=["z.txt"])
        whole = after if outcomes[-1] == "after" else before
        assert view(copy / "it") == with_paths(whole, tree, "./z.txt"), target
        shutil.rmtree(copy)
        finish(full, job, target, paths=paths)
        assert view(target) == after, target
    assert outcomes == sorted(outcomes, key=["before", "mixture", "after"].index)
    assert set(outcomes) == {"before", "mixture", "after"}
    if what == "restore":
        # The restore that undoes the first one is killed too.
        for target in sweep(what, job.id, vault, mixture, "z.txt"):
            finish(full, job, target, paths=["z.txt"])
            assert view(target) == with_paths(before, tree, "./z.txt"), target


def test_a_single_path_killed_at_every_call(full, tree, vault, old, as_it, sweep):
    job = full.create_backup(tree, vault)
    before = view(old)
    after = with_paths(before, tree, "./sub/b.txt")
    outcomes = []
    for target in sweep("restore", job.id, vault, as_it(old), "sub/b.txt"):
        assert view(target) in (before, after), target
        outcomes.append(view(target) == after)
        finish(full, job, target, paths=["sub/b.txt"])
        assert view(target) == after, target
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}
