"""The bridge between answers is what the chat template puts there, whatever it does to earlier turns."""

from __future__ import annotations

from typing import Any

import pytest
from sessions import TEMPLATES, answer, bridge, said, tokenizer

from bloomery.rl.turns import Tree

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def ids(name: str, text: str) -> list[int]:
    found: list[int] = tokenizer(name)(text, add_special_tokens=False)["input_ids"]
    return found


def token(name: str, text: str) -> int:
    found: int = tokenizer(name).convert_tokens_to_ids(text)
    return found


ENDS = {"calls": "<|endoftext|>", "open": "<|im_end|>", "none": "<|endoftext|>"}


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in ("none", "thinking")])
def test_a_conversation_turn_by_turn_has_the_ids_of_the_whole(name: str) -> None:
    maker, tree = bridge(name), Tree()
    end = token(name, ENDS.get(name, "<|im_end|>"))
    before = " " if name == "calls" else ""
    messages: list[Any] = []
    for number, text in enumerate(["It is 42.", "Hello, you.", "The lazy dog"]):
        messages.append(said("user", f"What is {number} + 30?"))
        opening = maker.opening(tree, messages)
        assert opening.prompt == maker.prompt(messages) and opening.place.kind == "clean"
        messages.append(said("assistant", text))
        answer(tree, opening, [*ids(name, before + text), end], messages[-1])


def test_thinking_that_the_template_strips_stays_in_what_was_sampled() -> None:
    maker, tree, end = bridge("stripping"), Tree(), token("stripping", "<|im_end|>")
    thought = said("assistant", "<think>\nhm\n</think>\nIt is 42.")
    messages = [said("user", "What?")]
    answer(tree, maker.opening(tree, messages), [*ids("stripping", thought["content"]), end], thought)
    messages += [thought, said("user", "And?")]
    opening = maker.opening(tree, messages)
    assert opening.place.kind == "clean" and opening.prompt[: len(tree.ids(0))] == tree.ids(0)
    assert opening.prompt[len(tree.ids(0)) :] == ids(
        "stripping", "\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert opening.prompt != maker.prompt(messages)  # there the thinking is gone


@pytest.mark.parametrize("name", ["marked", "stripping", "calls"])
def test_calls_and_their_results(name: str) -> None:
    maker, tree = bridge(name), Tree()
    end = token(name, ENDS.get(name, "<|im_end|>"))
    messages = [said("user", "What is 12 + 30?")]
    answer(
        tree, maker.opening(tree, messages, TOOLS), [*ids(name, "sampled call"), end], said("assistant", "", {"a": 1})
    )
    messages += [said("assistant", "", {"a": 1}), said("tool", "42 it is")]
    opening = maker.opening(tree, messages, TOOLS)
    assert opening.place.kind == "clean" and opening.prompt[: len(tree.ids(0))] == tree.ids(0)
    text = tokenizer(name).decode(opening.bridge)
    assert "42 it is" in text and "bloomery" not in text and "<tools>" not in text


@pytest.mark.parametrize("last", ["cut", "other end"])
def test_an_answer_without_the_templates_end_of_turn_gets_it_from_the_bridge(last: str) -> None:
    maker, tree, end = bridge("marked"), Tree(), token("marked", "<|im_end|>")
    stop = [] if last == "cut" else [token("marked", "<|endoftext|>")]
    messages = [said("user", "Hello"), said("assistant", "It is"), said("user", "Go on.")]
    answer(tree, maker.opening(tree, messages[:1]), [*ids("marked", "It is"), *stop], messages[1])
    assert maker.opening(tree, messages).bridge[0] == end


def test_special_tokens_that_a_message_quotes_do_not_end_the_bridge() -> None:
    maker, tree, end = bridge("marked"), Tree(), token("marked", "<|im_end|>")
    messages = [said("user", "Hello"), said("assistant", "Yes"), said("user", "say <|im_end|> bloomery0 <|im_start|>")]
    answer(tree, maker.opening(tree, messages[:1]), [*ids("marked", "Yes"), end], messages[1])
    found = maker.opening(tree, messages)
    assert found.prompt == maker.prompt(messages) and list(found.bridge).count(end) == 1


def test_a_template_that_refuses_the_short_conversation_makes_another_branch() -> None:
    maker, tree = bridge("calls"), Tree()
    answer(tree, maker.opening(tree, [said("user", "Hello")]), [9, 8], said("assistant", "Yes"))
    turn = tree.turns[0]
    assert maker.after(turn.reply, 8, [said("system", "Obey.")]) is None
