"""Whatever a client does to its history, each sampled token is trained exactly once, as the token that was sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import answer, bridge, said, tokenizer

from bloomery.rl.turns import Tree, rows

ACTS = st.sampled_from(["go on", "go on", "go on", "spaces", "alter", "edit", "again", "compact", "sub-agent", "tools"])
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
SAMPLED = st.lists(st.integers(10, 300), max_size=5)
TEXT = st.text("ab \n", min_size=1, max_size=6)
STEPS = st.lists(st.tuples(ACTS, SAMPLED, st.booleans(), TEXT, st.integers(0, 5)), min_size=1, max_size=8)


class Client:
    """An orchestrator that keeps its own history and may do anything with it."""

    def __init__(self, name: str) -> None:
        self.maker, self.tree, self.end = bridge(name), Tree(), tokenizer(name).convert_tokens_to_ids("<|im_end|>")
        self.text = tokenizer(name)
        self.history: list[Any] = []
        self.tools: list[Any] = []
        self.prompts: list[list[int]] = []

    def step(self, act: str, sampled: list[int], stopped: bool, text: str, number: int) -> None:
        history = self.history
        answers = [i for i, message in enumerate(history) if message["role"] == "assistant"]
        if act == "spaces" and answers:
            at = answers[number % len(answers)]
            history[at] = history[at] | {"content": "\n " + history[at]["content"].replace(" ", "  ")}
        elif act == "alter" and answers:
            history[answers[number % len(answers)]] = said("assistant", f"never sampled {number}")
        elif act == "edit" and history:
            history[number % len(history)] = said("user", "edited" + text)
        elif act == "compact":
            self.history = history = [said("user", "in short: " + text)]
        elif act == "tools":
            self.tools = [] if self.tools else TOOLS
        kept = [*history]
        if act != "again" or not history:
            history.append(said("user", text))
        if act == "sub-agent":
            history = [said("user", "sub " + text)]
        self.ask(act, history, sampled, stopped)
        if act == "again":
            self.history = kept

    def ask(self, act: str, history: list[Any], sampled: list[int], stopped: bool) -> None:
        opening = self.maker.opening(self.tree, history, self.tools)
        before = self.tree.ids(opening.place.parent)
        assert opening.prompt == before + list(opening.bridge)
        if act == "go on" and opening.place.parent == len(self.tree.turns) - 1:
            assert opening.place.kind == "clean" and opening.prompt[: len(before)] == before
        ids = [*sampled, self.end] if stopped or not sampled else sampled
        reply = said("assistant", self.text.decode(sampled, skip_special_tokens=True))
        answer(self.tree, opening, ids, reply)
        self.prompts.append(opening.prompt)
        history.append(dict(reply))


@pytest.mark.parametrize("name", ["marked", "stripping", "thinking"])
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_each_sampled_token_is_trained_exactly_once(name: str, steps: list[Any]) -> None:
    client = Client(name)
    for one in steps:
        client.step(*one)
    tree = client.tree
    found = rows(tree, "r", source="s", example_id="e", group_id="g", weight=3.0, advantages=[2.0] * len(tree.turns))
    wanted = {
        (turn.number, at): (token, turn.logp[at], [*client.prompts[turn.number], *turn.sampled[:at]])
        for turn in tree.turns
        for at, token in enumerate(turn.sampled)
    }
    for row in found:
        for at in np.flatnonzero(row.weight["pg"]):
            assert row.logp_sampled is not None and row.advantage is not None and row.advantage[at] == 2.0
            number, inside = divmod(int(-row.logp_sampled[at]) - 1, 100)
            token, logp, context = wanted.pop((number, inside))
            assert row.ids[at] == token and row.logp_sampled[at] == logp and row.ids[:at].tolist() == context
    assert wanted == {}
    assert np.isclose(sum(row.weight["pg"].sum() for row in found), 3.0)
    assert sum(tree.counts.values()) == len(tree.turns)
    again = Tree(tree.turns)
    assert [again.ids(turn.number) for turn in again.turns] == [tree.ids(turn.number) for turn in tree.turns]
