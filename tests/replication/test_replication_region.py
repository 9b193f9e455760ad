"""What a region does by itself, whatever others believe of it and however late their messages."""

import pytest

from pytest_drdrill import Change, Region, Snapshot, StaleEpochError, WriteRefusedError
from pytest_drdrill.replication.changes import History
from pytest_drdrill.replication.region import Replica


@pytest.fixture
def replica():
    return Replica(Region("east"))


def test_a_lease_lasts_until_its_end_and_for_its_epoch(replica):
    with pytest.raises(WriteRefusedError, match="it is not the primary"):
        replica.accept("a", 1, 0)
    replica.lead(3, 10)
    assert replica.accept("a", 1, 9.999) == Change(1, 3, "a", 1)
    replica.check(3, 9.999)
    with pytest.raises(WriteRefusedError, match="its lease ended 0s ago"):
        replica.check(3, 10)
    replica.lead(3, 20)
    replica.promise(4)
    with pytest.raises(WriteRefusedError, match="is fenced: it led epoch 3, and has promised 4"):
        replica.check(3, 11)
    with pytest.raises(WriteRefusedError, match="it is not the primary"):
        replica.accept("b", 1, 11)
    with pytest.raises(StaleEpochError, match="epoch 3 is over; epoch 4 is promised"):
        replica.lead(3, 30)  # a renewal that was long under way
    with pytest.raises(WriteRefusedError):
        replica.accept("b", 1, 11)


@pytest.mark.parametrize("epoch", [1, 3])
def test_messages_of_another_epoch_are_refused_and_change_nothing(replica, epoch):
    replica.promise(1)
    replica.receive(1, [Change(1, 1, "a", 1)])
    replica.promise(2)
    for late in (
        lambda: replica.receive(epoch, [Change(2, epoch, "b", 1)]),
        lambda: replica.rewind(epoch, 0),
        lambda: replica.load(epoch, Snapshot(History(), {})),
    ):
        with pytest.raises(
            StaleEpochError, match=f"promised epoch 2 and takes nothing of epoch {epoch}"
        ):
            late()
    assert replica.store.snapshot() == Snapshot(History(((1, 1),), 1), {"a": 1})
