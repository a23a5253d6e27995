"""Masks cover exactly what the assistant said, for any conversation and any kind of template."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import MARKED, THINKING, UNMARKED, tokenizer_folder, toy_tokenizer

from bloomery.core.errors import Where
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.render import Renderer
from bloomery.data.shapes import detect, to_example

_FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

TEMPLATES = {"marked": MARKED, "unmarked": UNMARKED, "thinking": THINKING}
RENDERERS = {name: Renderer(tokenizer_folder(_FOLDER / name, template)) for name, template in TEMPLATES.items()}
TOKENIZER = toy_tokenizer()

WORDS = st.text("ab é語😀.,'0 \n\t<|", min_size=1, max_size=12)
QUOTED = st.sampled_from(["<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "<tool>"])
SAID = st.lists(WORDS | QUOTED, min_size=1, max_size=3).map("".join).filter(lambda text: text.strip() != "")
TURNS = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4)


def spans(renderer: Renderer, turns: list[tuple[str, str]]) -> list[str]:
    """Text of each trained stretch, decoded from its bytes."""
    messages = [
        m for asked, said in turns for m in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]
    record = Record({"messages": messages}, Where("rows.jsonl", 1))
    ids, trained = renderer.encode(to_example(record, detect(record, SourceSpec(path="rows.jsonl"))))
    edges = [i for i in range(1, len(ids)) if trained[i] != trained[i - 1]]
    found = []
    for start, stop in zip(edges[::2], [*edges[1::2], len(ids)], strict=False):
        found.append(TOKENIZER.decode(ids[start:stop].tolist(), skip_special_tokens=False))
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=60, deadline=None)
@given(turns=TURNS)
def test_trained_tokens_spell_the_assistants_words(name: str, turns: list[tuple[str, str]]) -> None:
    found = spans(RENDERERS[name], turns)
    if name != "thinking":
        # White space at the edge of an answer may share its token with the template's line break.
        assert [text.strip() for text in found] == [(said + "<|im_end|>").strip() for _, said in turns]
    else:
        expected = [said.strip() + "<|im_end|>" for _, said in turns]
        expected[-1] = "<think>\n\n</think>\n\n" + expected[-1]
        assert [text.strip() for text in found] == expected
