"""No owner keeps others from compiling."""

import threading

import pytest

from inference.engine.errors import Overloaded
from inference.engine.grammar.turns import Turns


def test_one_owner_has_half_of_the_turns_and_others_pass_it() -> None:
    turns = Turns(at_once=3, of_one_owner=2)
    order: list[str] = []
    with turns.turn("a", within_s=0), turns.turn("a", within_s=0):
        with pytest.raises(Overloaded), turns.turn("a", within_s=0):
            pass
        waiting = threading.Thread(target=lambda: _take(turns, "a", order))
        waiting.start()
        with turns.turn("b", within_s=0), pytest.raises(Overloaded), turns.turn("c", within_s=0):
            pass
        assert order == []
    waiting.join(10)
    assert order == ["a"]


def _take(turns: Turns, owner: str, order: list[str]) -> None:
    with turns.turn(owner, within_s=10):
        order.append(owner)
