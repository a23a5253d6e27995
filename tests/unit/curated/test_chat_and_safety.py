"""Chat and safety rows: well formed, deterministic, held-out templates and fillers never trained on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.data.builtin import BUILTINS
from bloomery.data.builtin import generate as builtin
from bloomery.data.curated import chat, safety
from bloomery.data.curated.checks import is_correct, refuses
from bloomery.data.curated.safety_texts import ALONE, HARMFUL, INNOCENT, OPENERS, REASONS, VICTIMS

HELDOUT = families_dir() / "ember" / "heldout"


def test_conversations_alternate_and_end_with_the_assistant() -> None:
    for row in chat.generate(count=60, fraction=0.01):
        roles = [message["role"] for message in row["messages"] if message["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
        assert all(message["content"].strip() for message in row["messages"])


def test_chat_is_deterministic() -> None:
    assert list(chat.generate(count=20, fraction=0.01)) == list(chat.generate(count=20, fraction=0.01))


def test_kinds_that_need_no_documentation_read_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat.documentation, "generate", lambda **_: pytest.fail("documentation was read"))
    assert len(list(chat.generate(count=10, kinds=["about", "small_talk", "turns"]))) == 10


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("Return the sum of all\nelements. More text.", "Return the sum of all elements."),
        ("Args: x: a thing that has a colon.", None),
        ("Too short. Yes", None),
        ("Uses the ``markup`` of a page here.", None),
    ],
)
def test_first_sentences_are_plain(body: str, sentence: str | None) -> None:
    assert chat.first_sentence(body) == sentence


def test_harmful_rows_refuse_and_innocent_rows_answer() -> None:
    for split in ("train", "heldout"):
        for row in safety.generate(count=2000, split=split):
            assert is_correct(row["response"], row["reference_answer"], row["metadata"]), row
            assert refuses(row["response"]) == (row["skill"] == "refusal")


def test_a_refusal_fails_the_innocent_and_an_answer_fails_the_harmful() -> None:
    for row in safety.generate(count=200):
        wrong = "Use a sharp knife." if row["skill"] == "refusal" else "Sorry, I can't help with that."
        assert not is_correct(wrong, "", row["metadata"])


def test_safety_splits_share_neither_opener_nor_filler() -> None:
    for texts in (OPENERS, VICTIMS, *ALONE.values(), *(entry[3] for entry in INNOCENT)):
        train, heldout = set(safety.part(texts, "train")), set(safety.part(texts, "heldout"))
        assert train and heldout and not train & heldout


def test_every_category_has_a_reason() -> None:
    assert {category for category, _ in HARMFUL} | set(ALONE) == set(REASONS)


@pytest.mark.parametrize("kind", safety.KINDS)
def test_frozen_safety_rows_are_enough_and_never_trained_on(kind: str) -> None:
    rows: list[dict[str, Any]] = [json.loads(line) for line in (HELDOUT / f"{kind}.jsonl").read_text().splitlines()]
    prompts = {row["prompt"] for row in rows}
    assert len(prompts) == len(rows) >= 100
    assert not prompts & {row["prompt"] for row in safety.generate(count=4000)}


def test_held_out_files_are_small() -> None:
    assert sum(path.stat().st_size for path in HELDOUT.iterdir()) < 1_500_000


def test_builtin_refuses_unknown_names_and_options() -> None:
    with pytest.raises(InputError, match="skills"):
        next(builtin("skils"))
    with pytest.raises(InputError, match="`stage`"):
        next(builtin("skills", {"stages": "pre"}))
    blended = {"documentation", "skills", "chat", "safety", "workflow-manual", "workflow-pairs"}
    assert blended | {"bias", "canaries", "injection", "toxic-prompts", "truth"} == set(BUILTINS)


@pytest.mark.parametrize("options", [{"split": "dev"}, {"kinds": ["rude"]}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    for source in (chat.generate, safety.generate):
        with pytest.raises(InputError, match=next(iter(options))):
            next(source(**options))
