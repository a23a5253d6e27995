"""How requests are matched against what was sampled: clean, realign, fork."""

from __future__ import annotations

from typing import Any

import numpy as np
from sessions import answer, bridge, said

from bloomery.rl.turns import Place, Tree, rows

USER, NEXT = said("user", "Hello"), said("user", "And then?")
SAID = said("assistant", "It is 42.\n", {"a": 1, "b": 2})


def grown() -> Tree:
    tree = Tree()
    answer(tree, bridge("marked").opening(tree, [USER]), [20, 21, 22], SAID)
    return tree


def place(tree: Tree, *messages: Any) -> Place:
    return tree.place(messages, "")


def test_white_space_key_order_and_ids_of_calls_change_nothing() -> None:
    same = said("assistant", " It  is 42.", {"b": 2, "a": 1})
    same["tool_calls"][0]["id"] = "call_of_the_client"
    assert place(grown(), USER, same, NEXT) == Place(0, "clean", (NEXT,))


def test_an_altered_answer_is_rendered_again_and_not_trained() -> None:
    tree = grown()
    altered = said("assistant", "It is 43.")
    assert place(tree, USER, altered, NEXT) == Place(None, "realign", (USER, altered, NEXT))
    answer(tree, bridge("marked").opening(tree, [USER, altered, NEXT]), [30, 31], said("assistant", "Then."))
    assert tree.counts == {"clean": 1, "realign": 1, "fork": 0}
    trained = [row.ids[row.weight["pg"] > 0].tolist() for row in rows(tree, "r", source="s", example_id="e")]
    assert trained == [[20, 21, 22], [30, 31]]
    assert place(tree, USER, altered, NEXT, said("assistant", "Then.")).parent == 1


def test_edited_history_other_tools_and_asking_again_are_forks() -> None:
    tree = grown()
    edited = said("user", "Hello!")
    assert place(tree, edited, SAID, NEXT) == Place(None, "fork", (edited, SAID, NEXT))
    assert place(tree, USER) == Place(None, "fork", (USER,))
    assert tree.place([USER, SAID, NEXT], "tools") == Place(None, "fork", (USER, SAID, NEXT))
    answer(tree, bridge("marked").opening(tree, [USER, SAID, NEXT]), [30], said("assistant", "Then."))
    assert place(tree, USER, SAID, edited) == Place(0, "fork", (edited,))


def test_text_of_the_client_is_compared_to_the_letter() -> None:
    spaced = said("user", "Hello ")
    assert place(grown(), spaced, SAID, NEXT).kind == "fork"


def test_a_shared_beginning_is_trained_in_its_first_row_only() -> None:
    tree = grown()
    for text in ("Then.", "Now."):
        answer(tree, bridge("marked").opening(tree, [USER, SAID, NEXT]), [30, 31], said("assistant", text))
    one, other = rows(tree, "r", source="s", example_id="e", group_id="g", weight=7.0)
    assert (one.row_id, other.row_id, one.group_id) == ("r:1", "r:2", "g")
    assert one.ids.tolist() == other.ids.tolist()
    assert one.weight["pg"][one.weight["pg"] > 0].tolist() == [1.0] * 5 and np.count_nonzero(other.weight["pg"]) == 2
    assert one.advantage is None


def test_a_rollout_of_nothing_has_no_rows() -> None:
    assert rows(Tree(), "r", source="s", example_id="e") == []
