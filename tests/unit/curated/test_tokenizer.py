"""Ember's tokenizer: every text survives it, digits stand alone, the template marks what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.data.tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS, save_tokenizer, train_tokenizer

FOLDER = families_dir() / "ember" / "tokenizer"
EMBER = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TEXTS = ["the cat sat on the mat, the cat ran", "a bird in the hand", "numbers 12 and 345", "the end of the text"] * 20


def test_the_vocabulary_is_4096_with_the_special_tokens_first() -> None:
    assert EMBER.get_vocab_size() == 4096
    assert [EMBER.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    assert EMBER.decode(EMBER.encode(text).ids, skip_special_tokens=False) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_every_digit_is_one_token(number: int) -> None:
    assert EMBER.encode(str(number)).tokens == list(str(number))


def test_the_words_of_the_skills_are_single_tokens() -> None:
    from bloomery.data.curated.skills.words import COLOURS, NAMES, PLACES, WORDS

    assert all(len(EMBER.encode(f" {word}").ids) == 1 for word in (*WORDS, *NAMES, *PLACES, *COLOURS))


def test_training_twice_gives_the_same_file() -> None:
    first, second = (train_tokenizer(TEXTS, 290).to_str() for _ in range(2))
    assert first == second


def test_too_little_text_or_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="fills only"):
        train_tokenizer(["ab"], 1024)
    with pytest.raises(InputError, match="no room"):
        train_tokenizer(TEXTS, 100)


def test_the_saved_template_is_the_one_in_the_code(tmp_path: Path) -> None:
    save_tokenizer(train_tokenizer(TEXTS, 290), tmp_path, context=64)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 64
    assert (FOLDER / "chat_template.jinja").read_text() == CHAT_TEMPLATE


def test_only_the_assistant_and_its_end_of_turn_are_marked() -> None:
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    messages = [
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": [{"type": "text", "text": "And 4?"}]},
        {"role": "assistant", "content": "Four."},
    ]
    out = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, mark in zip(out["input_ids"], out["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(marked, skip_special_tokens=False) == "3<|im_end|>Four.<|im_end|>"
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nWhat is 1 + 2?<|im_end|>\n<|im_start|>assistant\n"
