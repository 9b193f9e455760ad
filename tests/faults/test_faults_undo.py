import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import Fault, UndoFailed, UndoStack
from pytest_drdrill.faults import undo as undo_module


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
    # One that is interrupted is tried a second time: nobody knows how far it had come.
    assert undos.done == ["d", "d", "c", "c", "b", "a"]
    assert caught.value.__notes__ == [
        "while undoing: fault d",
        "while undoing: fault d",
        "not undone: ValueError('no b')",
    ]
    undos.stack.undo_all()


@pytest.mark.parametrize("early", [True, False])
def test_undo_that_was_interrupted_once_is_done_after_all(undos, early):
    left = [KeyboardInterrupt("on the way")]

    def undo():
        if left:
            raise left.pop()
        undos.done.append("b")

    undos.push("a")
    now = undos.stack.push("fault b", undo)
    with pytest.raises(KeyboardInterrupt, match="on the way"):
        now() if early else undos.stack.undo_all()
    undos.stack.undo_all()
    assert undos.done == ["b", "a"]


def interrupted_at(point, work):
    """Run work with an interrupt before the given bytecode of the undo stack; whether it came."""
    left = [point]

    def trace(frame, event, argument):
        if frame.f_code.co_filename != undo_module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    # Python 3.12 traces bytecodes only where a frame asked for it before the tracing began.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return left[0] <= 0


@pytest.mark.parametrize("how", ["all", "early"])
def test_interrupt_between_any_two_bytecodes_loses_no_undo(how):
    point, came = 0, True
    while came:
        point += 1
        undos = Undos()
        undo = [undos.push(number) for number in range(3)]
        came = interrupted_at(point, undos.stack.undo_all if how == "all" else undo[1])
        if how == "all" and undos.done:
            assert set(undos.done) == {0, 1, 2}, point  # it went on by itself
        undos.stack.undo_all()
        assert set(undos.done) == {0, 1, 2}, point
    assert point > 20


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
