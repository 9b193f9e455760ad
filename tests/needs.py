"""What a test needs of the machine: skipped where it is missing, a failure where CI has it all."""

import os
import shutil

import pytest


def needs(program, package=None):
    """The path of a program; skips the test where it is missing, naming the package to install."""
    found = shutil.which(program)
    if found is None:
        lacks(f"{program}: apt-get install {package or program}")
    return found


def needs_root():
    """Skips the test where it is not root who runs it: only root gives files to others."""
    if os.getuid() != 0:  # a test may have put its rights off by now
        lacks("root's rights: run the tests as root")


def needs_postgres():
    """The PostgreSQL that drills would take; skips the test where it or its driver is missing."""
    from pytest_drdrill import ComponentMissing, find_postgres
    from pytest_drdrill.live.postgres.driver import psycopg

    try:
        psycopg()
        return find_postgres()
    except ComponentMissing as error:
        lacks(str(error).removeprefix("this machine lacks "))


def needs_networks():
    """Skips the test where no scratch network can be made here.

    A right that this machine refuses, as sandboxes do, is nothing that could be installed: so it is
    no failure where CI must have it all.
    """
    needs("ip", "iproute2")
    if (why := _network_obstacle()) is not None:
        pytest.skip(why)


def networks_permitted():
    """Whether a scratch network can be made here; a package that it takes has to be there."""
    needs("ip", "iproute2")
    return _network_obstacle() is None


def _network_obstacle():
    from pytest_drdrill import FaultNotPermitted, ScratchNetwork

    try:
        ScratchNetwork("probe").close()
    except FaultNotPermitted as error:
        return str(error)
    return None


def lacks(what):
    """The machine has no such thing: skips the test, which fails where CI must have it."""
    message = f"this machine lacks {what}"
    if os.environ.get("DRDRILL_REQUIRE_LIVE") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
