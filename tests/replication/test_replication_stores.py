"""Change stores: one law for both, and that a file outlives its process."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_drdrill import (
    Change,
    CrossRegionReplication,
    DivergedError,
    History,
    MemoryStore,
    Region,
    ReplicationError,
    Snapshot,
    SQLiteStore,
    StaleEpochError,
)

KEYS = st.one_of(st.integers(-5, 5), st.sampled_from(["", "a", "ключ", "\udc80", "1"]))
VALUES = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary()
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.tuples(KEYS, VALUES), max_size=12)),
        st.tuples(st.just("promise"), st.integers(0, 9)),
        st.tuples(st.just("rewind"), st.integers(0, 30)),
        st.tuples(st.just("reload"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=25,
)


class Model:
    """All changes that a store was given and kept, with nothing folded and no cleverness."""

    def __init__(self):
        self.epoch, self.log = 0, []

    def items(self):
        found = {}
        for change in self.log:
            found[change.key] = change.value
        return found

    def history(self):
        epochs = {}
        for change in self.log:
            epochs.setdefault(change.epoch, change.position)
        return History(tuple(epochs.items()), len(self.log))


def check(store, model):
    assert store.epoch == model.epoch
    assert store.history == model.history()
    assert list(store.changes(store.oldest)) == model.log[store.oldest :]
    items = model.items()
    assert store.snapshot() == Snapshot(model.history(), items)
    assert [(key, type(value)) for key, value in store.snapshot().items.items()] == [
        (key, type(value)) for key, value in items.items()
    ]
    assert store.keys() == list(items)
    for key in [*items, "never"]:
        assert store.get(key) == items.get(key)


class Both:
    """A store and its model, and each step on both."""

    def __init__(self, open_store):
        self.open_store = open_store
        self.store, self.model = open_store(None), Model()

    def append(self, pairs):
        for key, value in pairs:
            change = self.store.append(key, value)
            assert change == Change(len(self.model.log) + 1, self.model.epoch, key, value)
            self.model.log.append(change)

    def promise(self, epoch):
        if epoch < self.model.epoch:
            with pytest.raises(StaleEpochError, match=f"epoch {epoch} is over; epoch"):
                self.store.promise(epoch)
        else:
            self.store.promise(epoch)
            self.model.epoch = epoch

    def rewind(self, position):
        if position < self.store.oldest:
            with pytest.raises(DivergedError, match="the log reaches back to position"):
                self.store.rewind(position)
        else:
            assert list(self.store.rewind(position)) == self.model.log[position:]
            del self.model.log[position:]

    def reload(self, _):
        self.store.load(self.store.snapshot())
        assert self.store.oldest == len(self.model.log)

    def reopen(self, _):
        self.store = self.open_store(self.store)


@settings(max_examples=100)
@given(STEPS, st.integers(1, 5), st.booleans())
def test_a_store_does_what_the_plain_list_of_its_changes_says(
    tmp_path_factory, steps, retain, on_file
):
    path = tmp_path_factory.mktemp("store") / "changes.db"

    def open_store(before):
        if not on_file:
            return before or MemoryStore(retain)
        if before is not None:
            before.close()
        return SQLiteStore(path, retain)

    both = Both(open_store)
    for step, argument in steps:
        getattr(both, step)(argument)
        check(both.store, both.model)
        assert len(both.model.log) - both.store.oldest < 2 * retain
    if on_file:
        both.store.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
        return
    with SQLiteStore(tmp_path / "changes.db") as made:
        yield made


def test_changes_are_taken_in_order_and_once(store):
    changes = [Change(n, 1, n, "x") for n in range(1, 11)]
    assert store.apply(changes[:4]) == 4
    with pytest.raises(DivergedError, match="changes from position 6 on can't follow position 4"):
        store.apply(changes[5:])
    assert store.apply(changes[2:7]) == 7
    assert store.apply(changes[:3]) == 7
    assert store.apply([]) == 7
    assert store.changes(0) == changes[:7]
    assert store.changes(2, 3) == changes[2:5]


@pytest.mark.parametrize("make", [MemoryStore, lambda retain: SQLiteStore("unused", retain)])
def test_a_retention_that_is_none_is_one_sentence(make):
    with pytest.raises(TypeError, match="retain must be a whole number of changes, not '5'"):
        make("5")
    with pytest.raises(ValueError, match="retain must be at least 1, not 0"):
        make(0)


@given(st.lists(st.integers(1, 4), max_size=8), st.lists(st.integers(1, 4), max_size=8))
def test_what_two_histories_have_in_common_is_what_their_logs_do(ours, theirs):
    def written(epochs):
        store = MemoryStore()
        for epoch in sorted(epochs):
            store.promise(epoch)
            store.append("k", f"{epoch}")
        return store

    one, other = written(ours), written(theirs)
    same = 0
    for mine, yours in zip(one.changes(0), other.changes(0), strict=False):
        if mine != yours:
            break
        same += 1
    assert one.history.common(other.history) == other.history.common(one.history) == same
    for change in one.changes(0):
        assert other.history.holds(change) == (change in other.changes(0))


def test_a_file_that_is_none_or_is_in_use_is_one_sentence(tmp_path):
    text, other, used = (tmp_path / name for name in ("text", "other.db", "used.db"))
    text.write_text("no database at all, and long enough to be looked at" * 50)
    with pytest.raises(ReplicationError, match="text can't be used as a change store: file is not"):
        SQLiteStore(text)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(ReplicationError, match="holds other tables than a change store's"):
        SQLiteStore(other)
    with SQLiteStore(used) as store:
        store.append("a", 1)
        with pytest.raises(ReplicationError, match="as a change store: database is locked"):
            SQLiteStore(used)
    with SQLiteStore(used) as store:
        assert store.get("a") == 1
    with sqlite3.connect(used) as connection:
        connection.execute("UPDATE meta SET format = 9")
    connection.close()
    with pytest.raises(ReplicationError, match="a change store of format 9; this version reads 1"):
        SQLiteStore(used)
    with pytest.raises(ReplicationError, match="can't be opened"):
        SQLiteStore(tmp_path / "no folder" / "a.db")


WRITER = """
import sys
from pytest_drdrill import SQLiteStore
store = SQLiteStore(sys.argv[1], retain=20)
store.promise(1)
while True:
    change = store.append(store.history.position + 1, "x" * 100)
    print(change.position, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 45, 130])
def test_a_store_killed_with_9_has_every_write_that_returned(tmp_path, after):
    path = tmp_path / "changes.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    written = int([line for line in lines if line.endswith("\n")][-1])
    with SQLiteStore(path) as store:
        assert store.epoch == 1
        assert store.history.position in (written, written + 1)
        assert store.keys() == list(range(1, store.history.position + 1))
        store.append("and on", 1)


def test_a_log_cut_off_at_any_byte_is_a_prefix(tmp_path):
    path, wal = tmp_path / "changes.db", tmp_path / "changes.db-wal"
    with SQLiteStore(path, retain=5) as store:
        store.promise(3)
        for n in range(1, 26):
            store.append(n, f"value of {n}")
        shutil.copy(path, tmp_path / "main")
        log = wal.read_bytes()
    assert len(log) > 50_000
    chance, met = random.Random(1), set()
    for _ in range(100):
        shutil.copy(tmp_path / "main", path)
        wal.write_bytes(log[: chance.randrange(len(log) + 1)])
        with SQLiteStore(path, retain=5) as store:
            position = store.history.position
            keys = store.keys()
            assert keys == list(range(1, position + 1))
            assert [change.position for change in store.changes(store.oldest)] == list(
                range(store.oldest + 1, position + 1)
            )
            assert all(store.get(n) == f"value of {n}" for n in keys)
            met.add(position)
    assert len(met) > 20


async def _copy(east, west):
    regions = [Region("east", is_primary=True, store=east), Region("west", store=west)]
    async with CrossRegionReplication(regions, "synchronous") as data:
        for n in range(20):
            await data.write(n, f"value of {n}")
        await data.promote_region_to_primary()
        await data.write("new", 1.5)
        await data.rejoin("east")
        await data.wait_caught_up("east", "10s")


@pytest.mark.asyncio
async def test_regions_on_files_follow_each_other_and_remember(tmp_path):
    paths = [tmp_path / "east.db", tmp_path / "west.db"]
    with SQLiteStore(paths[0]) as east, SQLiteStore(paths[1]) as west:
        await _copy(east, west)
    with SQLiteStore(paths[0]) as east, SQLiteStore(paths[1]) as west:
        assert east.history == west.history == History(((1, 1), (2, 21)), 21)
        assert east.snapshot() == west.snapshot()
        assert east.epoch == west.epoch == 2


def test_a_file_that_has_no_room_says_so_as_an_operating_system_does(tmp_path):
    with SQLiteStore(tmp_path / "east.db") as store:
        store.promise(1)
        store.append("a", 1)
        (pages,) = store._file.execute("PRAGMA page_count").fetchone()
        store._file.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OSError, match="No space left on device") as caught:
            store.append("b", "x" * 100_000)
        assert (caught.value.errno, store.keys()) == (28, ["a"])
        store._file.execute("PRAGMA max_page_count = 100000")
        assert store.append("b", "x" * 100_000).position == 2
