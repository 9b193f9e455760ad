"""Copies the test suite, without the package, to where only an installed package can be met."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

BESIDE = (
    "README.md",
    "Makefile",
    "conftest.py",
    "pyproject.toml",
    "tests",
    "example_drills",
    "docs",
)


def copy_suite(root: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in BESIDE:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


if __name__ == "__main__":
    copy_suite(*map(Path, sys.argv[1:]))
