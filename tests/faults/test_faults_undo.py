import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import Fault, UndoFailed, UndoStack


class Undos:
    """A stack, and in which order its faults were undone."""

    def __init__(self):
        self.stack = UndoStack()
        self.done = []

    def push(self, name, error=None):
        def undo():
            self.done.append(name)
            if error is not None:
                raise error

        return self.stack.push(f"fault {name}", undo)


@pytest.fixture
def undos():
    return Undos()


@given(st.lists(st.integers(0, 9)), st.integers(0, 10))
def test_newest_first_and_each_once(early, count):
    undos = Undos()
    undo = [undos.push(number) for number in range(count)]
    chosen = [number for number in early if number < count]
    for number in chosen:
        undo[number]()
    order = list(dict.fromkeys(chosen))
    assert undos.done == order
    undos.stack.undo_all()
    undos.stack.undo_all()
    assert undos.done == order + [n for n in reversed(range(count)) if n not in order]
    for again in undo:
        again()
    assert len(undos.done) == count


def test_undo_that_fails_stops_no_other(undos):
    undos.push("a")
    undos.push("b", ValueError("no b"))
    undos.push("c", OSError("no c"))
    undos.push("d")
    with pytest.raises(UndoFailed) as caught:
        undos.stack.undo_all()
    assert undos.done == ["d", "c", "b", "a"]
    assert [str(error) for error in caught.value.exceptions] == ["no c", "no b"]
    assert [error.__notes__ for error in caught.value.exceptions] == [
        ["while undoing: fault c"],
        ["while undoing: fault b"],
    ]
    undos.stack.undo_all()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, pytest.fail.Exception])
def test_interrupt_stops_no_undo_either(undos, interrupt):
    undos.push("a")
    undos.push("b", ValueError("no b"))
    undos.push("c", interrupt("first"))
    undos.push("d", interrupt("no more"))
    with pytest.raises(interrupt, match="no more") as caught:
        undos.stack.undo_all()
    assert undos.done == ["d", "c", "b", "a"]
    assert caught.value.__notes__ == [
        "while undoing: fault d",
        "not undone: ValueError('no b')",
    ]


def test_early_undo_that_fails_says_so_and_is_not_repeated(undos):
    undo = undos.push("a", ValueError("no a"))
    with pytest.raises(ValueError, match="no a"):
        undo()
    undos.stack.undo_all()
    assert undos.done == ["a"]


def test_undo_may_itself_break_and_undo_things(undos):
    undos.stack.push("outer", lambda: undos.push("inner"))
    undos.stack.undo_all()
    assert undos.done == ["inner"]


def test_equal_faults_are_told_apart(undos):
    undos.push("a")
    second = undos.push("a")
    second()
    undos.stack.undo_all()
    assert undos.done == ["a", "a"]


def test_fault_is_undone_on_exit_even_of_a_failed_block(undos):
    fault = Fault("x", undos.push("a"))
    assert fault.undoable
    with pytest.raises(ValueError, match="body"), fault as entered:
        raise ValueError("body" if entered is fault else "not itself")
    assert undos.done == ["a"]
    fault.undo()
    assert undos.done == ["a"]
    assert not Fault("y").undoable
