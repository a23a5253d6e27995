"""A tokenizer's chat templates, tried when it is loaded and rendered later under the limits of `core/template.py`.

transformers would render them in this process, where nothing limits them: its `apply_chat_template` is not called.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.template import END, START, ChatTemplate, Conversation, Rendering, RunawayTemplate, TemplateFault

MAX_TEMPLATE = 1 << 20
TURNS = (
    {"role": "user", "content": "Question"},
    {"role": "assistant", "content": "Answer"},
    {"role": "user", "content": "Another question " * 40},
)
NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


def check(tokenizer: Any, where: Where) -> None:
    """Try each chat template of a tokenizer on samples; raises `InputError` when it outgrows the limits.

    A template may refuse a sample (some demand a system turn or tools); only running away counts.
    """
    tokens = {key: str(getattr(tokenizer, key, None) or "") for key in NAMES}
    for name, text in _templates(tokenizer).items():
        if not isinstance(text, str) or len(text) > MAX_TEMPLATE:
            raise InputError(f"chat template `{name}` is no text below {MAX_TEMPLATE >> 20} MB", where=where)
        if fault := _runs_away(text, tuple(tokens.items())):
            raise RunawayTemplate(f"`{name}`: {fault.message}", where=where, fix=fault.fix)


@lru_cache(maxsize=64)  # a run loads its model three times, and each trial starts a process
def _runs_away(text: str, tokens: tuple[tuple[str, str], ...]) -> RunawayTemplate | None:
    """What a template outgrew on the samples, if it did."""
    try:
        ChatTemplate(text, dict(tokens))([Conversation(TURNS[:count], prompt=True) for count in (1, 3)])
    except RunawayTemplate as fault:
        return fault.with_traceback(None)  # which holds the process that was ended
    except TemplateFault:
        pass  # one that does not parse matters only to those who render with it
    return None


def template_of(tokenizer: Any) -> ChatTemplate | None:
    """The template of a tokenizer's conversations, in a process of its own; None where it has none."""
    found = _templates(tokenizer).get("default")
    tokens = {key: str(token) for key, token in tokenizer.special_tokens_map.items()}
    return ChatTemplate(found, tokens) if found else None


def unmarked(rendering: Rendering) -> str:
    """The text of a rendering as transformers gives it, without the marks around what `generation` blocks render."""
    return rendering.text.replace(START, "").replace(END, "")


def _templates(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer's chat templates by name; one without a name is `default`, as in transformers."""
    found = getattr(tokenizer, "chat_template", None) or {}
    return {"default": found} if isinstance(found, str) else dict(found)
