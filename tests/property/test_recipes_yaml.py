"""Laws of YAML reading, over arbitrary documents. JSON is YAML 1.2, so its writer serves as the independent one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.core.yaml import dump_yaml, load_yaml

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda word: word != "<<")
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=12)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(WORDS, VALUES))
def test_what_json_says_is_what_yaml_says(document: dict[str, Any]) -> None:
    assert load_yaml(json.dumps(document))[0] == document
    assert load_yaml(dump_yaml(document))[0] == document


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 99)), unique_by=lambda pair: pair[0]))
def test_keys_are_on_the_lines_they_were_written_on(pairs: list[tuple[str, int]]) -> None:
    data, lines = load_yaml("".join(f"{key}: {value}\n" for key, value in pairs))
    assert data == (dict(pairs) or None)
    for place, (key, _) in enumerate(pairs, 1):
        assert lines[key] == place


@settings(max_examples=80, deadline=None)
@given(st.text("[]{}:,-?&*!|>'\"%@` \n\tab1#", max_size=40))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    try:
        load_yaml(text, "r.yaml")
    except InputError as error:
        assert str(error).startswith("r.yaml")
