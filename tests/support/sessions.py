"""Conversations with made-up answers, and chat templates that treat earlier turns in their own ways."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tokens import MARKED, THINKING, UNMARKED, tokenizer_folder

from bloomery.evals.prompts import Prompter
from bloomery.models.load import load_tokenizer
from bloomery.rl.bridge import Bridge, Opening
from bloomery.rl.turns import Tree, Turn

STRIPPING = (
    "{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- if tools %}{{- '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{%- endif %}"
    "{%- for m in messages %}{%- set said = m.content %}"
    "{%- if m.role == 'assistant' and '</think>' in said and loop.index0 < ns.last %}"
    "{%- set said = said.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>' + m.role + '\n' + said }}"
    "{%- for call in m.tool_calls or [] %}{{- '\n<tool>' + (call.function | tojson) }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
"""Strips the thinking of answers before the last question, as Qwen3's does, and knows tools."""
CALLS_ONLY = (
    "{{- '<s>' }}{%- for m in messages %}{%- if m.role == 'user' %}{{- '[INST] ' + m.content + ' [/INST]' }}"
    "{%- elif m.role == 'tool' %}{{- '[RESULT] ' + m.content }}"
    "{%- elif m.tool_calls %}{{- ' [CALLS] ' + (m.tool_calls | map(attribute='function') | list | tojson) }}"
    "{{- '<|endoftext|>' }}"
    "{%- elif m.role == 'assistant' %}{{- ' ' + m.content + '<|endoftext|>' }}"
    "{%- else %}{{- raise_exception('no ' + m.role) }}{%- endif %}{%- endfor %}"
    "{%- if tools and false %}{{- tools }}{%- endif %}"
)
"""Says nothing beside calls and opens no answer, as Mistral's does; refuses a system turn."""
OPEN = (
    "{%- for m in messages %}{{- ('<|im_start|>' if m.role == 'assistant' else '<|im_end|>') + m.content }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>' }}{%- endif %}"
)
"""Has no end of turn: what begins the next one ends an answer, as GLM's does."""
TEMPLATES = {
    "marked": MARKED, "unmarked": UNMARKED, "thinking": THINKING, "stripping": STRIPPING, "calls": CALLS_ONLY,
    "open": OPEN, "none": None,
}  # fmt: skip
_FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


@lru_cache
def bridge(name: str) -> Bridge:
    """The bridge of a template by name."""
    return Bridge(Prompter(tokenizer(name), "auto"))


@lru_cache
def tokenizer(name: str) -> Any:
    """A toy tokenizer with that template."""
    return load_tokenizer(tokenizer_folder(_FOLDER / name, TEMPLATES[name]))


def said(role: str, text: str, *calls: Mapping[str, Any]) -> dict[str, Any]:
    """A message; `calls` are the arguments of calls of `add`."""
    told: dict[str, Any] = {"role": role, "content": text}
    if calls:
        told["tool_calls"] = [
            {"id": f"call_{number}", "type": "function", "function": {"name": "add", "arguments": dict(one)}}
            for number, one in enumerate(calls)
        ]
    return told


def answer(tree: Tree, opening: Opening, sampled: Sequence[int], reply: Mapping[str, Any], version: int = 0) -> Turn:
    """Put an answer into the tree; its log-probabilities tell turn and position."""
    number, place = len(tree.turns), opening.place
    logp = -np.arange(1, len(sampled) + 1, dtype=np.float32) - 100 * number
    turn = Turn(
        number, place.parent, place.kind, place.added, opening.tools, opening.bridge, tuple(sampled), logp, version,
        "stop", reply,
    )  # fmt: skip
    tree.add(turn)
    return turn
