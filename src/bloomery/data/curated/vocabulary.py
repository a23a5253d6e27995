"""Trains the embedded family's tokenizer: `python -m bloomery.data.curated.vocabulary families/ember/tokenizer`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bloomery.data.builtin import generate
from bloomery.data.tokenizer import save_tokenizer, train_tokenizer

VOCABULARY = 4096
CONTEXT = 1024
DOCUMENTATION_FRACTION = 0.4
"""Less than all of it, so that the words of the skills are frequent enough to be single tokens."""

SKILL_ROWS = 60_000


def texts() -> Iterator[str]:
    """What the tokenizer is trained on: documentation, skills as text, and the two sides of chat rows."""
    for row in generate("documentation", {"fraction": DOCUMENTATION_FRACTION}):
        yield row["text"]
    for row in generate("skills", {"stage": "mid", "count": SKILL_ROWS // 6}):
        yield row["text"]
    for row in generate("skills", {"stage": "post", "count": SKILL_ROWS}):
        yield row["prompt"]
        yield row["response"]


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread: the same merges on every machine
    save_tokenizer(train_tokenizer(texts(), VOCABULARY), Path(sys.argv[1]), CONTEXT)
