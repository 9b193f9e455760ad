import os
import platform
import subprocess

import pytest

from pytest_drdrill.evidence import origin
from pytest_drdrill.evidence.origin import ci, git, host

SETTINGS = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("GIT", "CI", "JENKINS", "BUILD", "CIRCLE")):
            monkeypatch.delenv(name)
    for name, value in {**SETTINGS, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def run(tmp_path):
    """Git in a fresh checkout of one commit."""

    def run(*arguments):
        done = subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    run("init", "-q", "-b", "main")
    (tmp_path / "file").write_text("one")
    run("add", "file")
    run("commit", "-q", "-m", "one")
    return run


def test_machine_is_named_in_storable_text(monkeypatch):
    assert host()["system"] == platform.system()
    monkeypatch.setattr(platform, "node", lambda: "bad\udc80" + "x" * 1000)
    found = host()
    assert set(found) == {"name", "system", "release", "machine"}
    assert found["name"].startswith("bad\\udc80xxx")
    assert len(found["name"]) < 600


def test_commit_and_branch(run, tmp_path):
    head = run("rev-parse", "HEAD")
    assert git(tmp_path) == {"commit": head, "branch": "main", "dirty": False}
    (tmp_path / "sub").mkdir()
    assert git(tmp_path / "sub") == {"commit": head, "branch": "main", "dirty": False}


def test_changed_files_make_it_dirty_and_new_ones_do_not(run, tmp_path):
    (tmp_path / "report.json").write_text("{}")
    assert git(tmp_path)["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert git(tmp_path)["dirty"] is True


def test_detached_head_has_no_branch(run, tmp_path):
    run("checkout", "-q", "--detach")
    assert git(tmp_path) == {"commit": run("rev-parse", "HEAD"), "branch": None, "dirty": False}


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    assert git(tmp_path) is None


def test_checkout_without_a_commit_has_none(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert git(tmp_path) is None


def test_machine_without_git_has_no_commit(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git(tmp_path) is None


def test_folder_that_is_gone_has_no_commit(tmp_path):
    assert git(tmp_path / "gone") is None


def test_git_that_hangs_is_given_up(run, tmp_path, monkeypatch):
    def hang(*arguments, timeout, **settings):
        assert timeout == 10
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert git(tmp_path) is None


def test_status_that_fails_leaves_the_commit(run, tmp_path, monkeypatch):
    real = origin._git
    monkeypatch.setattr(
        origin,
        "_git",
        lambda folder, *arguments: None if arguments[0] == "status" else real(folder, *arguments),
    )
    assert git(tmp_path)["dirty"] is None
    assert git(tmp_path)["branch"] == "main"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"CI": "true"}, {"provider": "unknown", "url": None}),
        ({"CI": "1"}, {"provider": "unknown", "url": None}),
        ({"CI": ""}, None),
        ({"CI": "false"}, None),
        ({"CI": "False"}, None),
        ({"CI": "0"}, None),
        (
            {
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "acme/orders",
                "GITHUB_RUN_ID": "7",
            },
            {"provider": "github", "url": "https://github.com/acme/orders/actions/runs/7"},
        ),
        ({"GITHUB_ACTIONS": "true"}, {"provider": "github", "url": None}),
        (
            {"CI": "true", "GITLAB_CI": "true", "CI_JOB_URL": "https://gitlab/j/1"},
            {"provider": "gitlab", "url": "https://gitlab/j/1"},
        ),
        (
            {"JENKINS_URL": "https://jenkins", "BUILD_URL": "https://jenkins/1"},
            {"provider": "jenkins", "url": "https://jenkins/1"},
        ),
        (
            {"CIRCLECI": "true", "CIRCLE_BUILD_URL": "https://circle/1"},
            {"provider": "circleci", "url": "https://circle/1"},
        ),
        (
            {"BUILDKITE": "true", "BUILDKITE_BUILD_URL": "https://bk/{x}"},
            {"provider": "buildkite", "url": "https://bk/{x}"},
        ),
    ],
)
def test_ci_run_is_told_by_its_environment(monkeypatch, environment, found):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ci() == found


def test_hostile_address_is_made_storable(monkeypatch):
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_JOB_URL", os.fsdecode(b"https://\xff") + "x" * 10_000)
    url = ci()["url"]
    assert url.startswith("https://\\udcffxxx")
    assert len(url) < 600
