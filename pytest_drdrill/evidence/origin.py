"""Where evidence comes from: host, commit, CI run."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import TYPE_CHECKING

from pytest_drdrill.text import NAME_LIMIT, storable

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_drdrill.evidence.types import CIRecord, GitRecord

_GIT_PATIENCE_S = 10
_CI = (
    # variable that says so, provider, how to build the run's address from the environment
    (
        "GITHUB_ACTIONS",
        "github",
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
    ),
    ("GITLAB_CI", "gitlab", "{CI_JOB_URL}"),
    ("JENKINS_URL", "jenkins", "{BUILD_URL}"),
    ("CIRCLECI", "circleci", "{CIRCLE_BUILD_URL}"),
    ("BUILDKITE", "buildkite", "{BUILDKITE_BUILD_URL}"),
    ("CI", "unknown", ""),
)


def host() -> dict[str, str]:
    """The machine that drilled."""
    return {
        "name": storable(platform.node(), NAME_LIMIT),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
    }


def git(folder: Path) -> GitRecord | None:
    """The commit checked out in a folder; None without git or outside a checkout."""
    outside = not any((each / ".git").exists() for each in (folder, *folder.parents))
    if outside and "GIT_DIR" not in os.environ:
        return None  # no process of git has to find that out
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    branch = _git(folder, "symbolic-ref", "--short", "-q", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": storable(commit, NAME_LIMIT),
        "branch": storable(branch, NAME_LIMIT) if branch else None,
        "dirty": None if status is None else bool(status),
    }


def ci() -> CIRecord | None:
    """The CI run that drilled; None outside CI."""
    for variable, provider, form in _CI:
        if os.environ.get(variable, "").lower() not in ("", "false", "0"):
            try:
                url = form.format_map(os.environ)
            except KeyError:
                url = ""
            return {"provider": provider, "url": storable(url, NAME_LIMIT) or None}
    return None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", *arguments],  # noqa: S607 - the user's own git, wherever it is
            cwd=folder,
            capture_output=True,
            timeout=_GIT_PATIENCE_S,
            check=False,
            # A read-only look: no lock is taken and nobody is asked for a password.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode:
        return None
    return done.stdout.decode("utf-8", "replace").strip()
