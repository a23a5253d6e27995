"""The word-by-word encoder gives the library's tokens or none at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from tokens import LLAMA3, O200K, SENTENCES, toy_tokenizer

from bloomery.core.resources import families_dir
from bloomery.data.wordwise import word_encoder

TOKENIZERS = {
    "gpt2": toy_tokenizer(),
    "llama3": toy_tokenizer(LLAMA3),
    "o200k": toy_tokenizer(O200K),
    "ember": Tokenizer.from_file(str(families_dir() / "ember/tokenizer/tokenizer.json")),
}
ENCODERS = {name: word_encoder(tokenizer) for name, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ordinary_text_never_needs_the_library(name: str) -> None:
    encoder = ENCODERS[name]
    assert encoder is not None
    for text in [*SENTENCES, "", "<|im_start|>user\nHi <tool> <|im_end|>\n"]:
        assert encoder.encode(text) == TOKENIZERS[name].encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text("aé 1'sS\n\r\t<>|.\u00a0\u0301\u017f\u212a語", max_size=30)
)
def test_any_text_gets_the_librarys_tokens_or_none(name: str, text: str) -> None:
    encoder = ENCODERS[name]
    assert encoder is not None
    assert encoder.encode(text) in (None, TOKENIZERS[name].encode(text, add_special_tokens=False).ids)


def test_special_tokens_can_be_plain_characters() -> None:
    tokenizer = toy_tokenizer()
    encoder = word_encoder(tokenizer)
    assert encoder is not None
    tokenizer.encode_special_tokens = True
    plain = encoder.with_plain_special_tokens()
    text = "a <|im_end|> b <tool>"
    assert plain.encode(text) == tokenizer.encode(text, add_special_tokens=False).ids
    assert 2 not in (plain.encode(text) or [2])
    assert 2 in (encoder.encode(text) or [])


def test_text_that_a_normalizer_would_change_is_left_to_the_library() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.normalizer = normalizers.NFC()
    encoder = word_encoder(tokenizer)
    assert encoder is not None
    assert encoder.encode("cafe\u0301") is None
    assert encoder.encode("caf\u00e9") == tokenizer.encode("caf\u00e9", add_special_tokens=False).ids


def test_other_kinds_of_tokenizer_are_left_to_the_library() -> None:
    lower = toy_tokenizer()
    lower.normalizer = normalizers.Lowercase()
    for tokenizer in (
        lower,
        toy_tokenizer(byte_level=False),
        toy_tokenizer(r"\d+|\p{L}+|\W"),
        toy_tokenizer(r"[^\S]+|\S+"),
    ):
        assert word_encoder(tokenizer) is None
