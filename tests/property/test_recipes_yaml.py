"""Laws of YAML reading and of overrides, over arbitrary documents."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bloomery.core.errors import InputError
from bloomery.core.yaml import load_yaml

# A word that begins with a colon is left out: ruamel writes it in a way that it cannot read itself.
WORDS = st.text("abcdefgh-_ 0123456789.:'#%éß", max_size=12).filter(lambda word: not word.startswith(":"))
SCALARS = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | WORDS | st.floats(allow_nan=False, width=32)
DOCUMENTS = st.dictionaries(
    WORDS, st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(WORDS, v), max_leaves=12)
)


def dumped(value: Any) -> str:
    yaml = YAML(typ="safe", pure=True)
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS)
def test_what_a_yaml_library_writes_is_read_back(document: dict[str, Any]) -> None:
    assert load_yaml(dumped(document))[0] == document


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 99)), unique_by=lambda pair: pair[0]))
def test_keys_are_on_the_lines_they_were_written_on(pairs: list[tuple[str, int]]) -> None:
    data, lines = load_yaml("".join(f"{key}: {value}\n" for key, value in pairs))
    assert data == (dict(pairs) or None)
    for place, (key, _) in enumerate(pairs, 1):
        assert lines[key] == place


@settings(max_examples=150, deadline=None)
@given(st.text("[]{}:,-?&*!|>'\"%@` \n\tab1#", max_size=40))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    try:
        load_yaml(text, "r.yaml")
    except InputError as error:
        assert str(error).startswith("r.yaml")
