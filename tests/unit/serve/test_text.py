"""Text of an answer comes whole: characters are never cut, and nothing of a stop string is shown."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import toy_tokenizer
from transformers import PreTrainedTokenizerFast

from bloomery.core.resources import families_dir
from bloomery.models.load import load_tokenizer
from bloomery.serve.text import BROKEN, Decoding, Stops, token_bytes


@lru_cache
def tokenizer(kind: str) -> Any:
    if kind == "ember":
        return load_tokenizer(families_dir() / "ember" / "tokenizer")
    made = toy_tokenizer(byte_level=kind == "bytes")
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize("kind", ["ember", "bytes", "metaspace"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_pieces_joined_are_the_text_decoded_at_once(kind: str, data: st.DataObject) -> None:
    known = tokenizer(kind)
    ids = data.draw(st.lists(st.integers(0, len(known) - 1), max_size=60))
    decoding = Decoding(known)
    pieces = [decoding.add(token) for token in ids]
    assert "".join([*pieces, decoding.finish()]) == known.decode(ids, skip_special_tokens=True)


@given(text=st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_piece_never_holds_half_a_character(text: str) -> None:
    known = tokenizer("ember")
    decoding = Decoding(known)
    pieces = [decoding.add(token) for token in known(text, add_special_tokens=False)["input_ids"]]
    assert BROKEN in text or all(BROKEN not in piece for piece in pieces)


@given(text=st.text("abc", max_size=30), cuts=st.lists(st.integers(1, 4), min_size=30, max_size=30), data=st.data())
@settings(max_examples=200, deadline=None)
def test_stops_cut_a_text_at_the_first_of_them_however_it_is_cut_into_pieces(
    text: str, cuts: list[int], data: st.DataObject
) -> None:
    strings = data.draw(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4))
    found = [text.find(string) for string in strings if string in text]
    stops, shown, hit, at = Stops(strings), "", False, 0
    for cut in cuts:
        released, hit = stops.feed(text[at : at + cut])
        shown, at = shown + released, at + cut
        if hit:
            break
    shown += "" if hit else stops.finish()
    assert hit == bool(found)
    if not found:
        assert shown == text
    else:
        # The stop that is whole first ends the answer; one that begins earlier may need letters that came later.
        ends = min(text.find(string) + len(string) for string in strings if string in text)
        assert text.startswith(shown) and len(shown) < ends and not any(string in shown for string in strings)


def test_the_bytes_of_a_token_are_exact_where_its_text_is_half_a_character() -> None:
    known = tokenizer("ember")
    ids = known("naïve 你", add_special_tokens=False)["input_ids"]
    assert b"".join(token_bytes(known, token) for token in ids) == "naïve 你".encode()
