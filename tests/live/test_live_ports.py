import pytest

from pytest_drdrill import ServerFailed
from pytest_drdrill.live import ports
from pytest_drdrill.live.ports import start_on_free_port


class Start:
    """A server that fails so often, with what it logs then."""

    def __init__(self, failures, log="[main] Cannot Bind socket"):
        self.tried = []
        self.failures, self.log = failures, log

    def __call__(self, port):
        self.tried.append(port)
        if len(self.tried) <= self.failures:
            raise ServerFailed(f"it ended with status 1; the end of its log:\n{self.log}")


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    free = iter(range(2, 100))
    monkeypatch.setattr(ports, "free_port", lambda: next(free))


@pytest.mark.parametrize(
    ("failures", "first", "tried"), [(0, None, [2]), (0, 1, [1]), (2, None, [2, 3, 4])]
)
def test_a_server_starts_on_the_first_port_that_nobody_took(failures, first, tried):
    start = Start(failures)
    start_on_free_port(start, taken="cannot bind", first=first)
    assert start.tried == tried


def test_a_server_whose_ports_are_all_taken_fails_with_what_the_last_one_said():
    start = Start(5)
    with pytest.raises(ServerFailed, match=r"Cannot Bind socket$"):
        start_on_free_port(start, taken="cannot bind", first=1)
    assert start.tried == [1, 2, 3, 4, 5]


def test_a_server_that_fails_for_another_reason_is_not_tried_on_another_port():
    start = Start(1, "unknown keyword")
    with pytest.raises(ServerFailed, match=r"unknown keyword$"):
        start_on_free_port(start, taken="cannot bind")
    assert start.tried == [2]
