"""A tokenizer's chat templates are tried when it is loaded, under the limits of `core/template.py`.

transformers renders them later in this process, without limits: a template that runs away must not get that far.
"""

from __future__ import annotations

from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.template import ChatTemplate, Conversation, RunawayTemplate, TemplateFault

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
    found = getattr(tokenizer, "chat_template", None) or {}
    templates = {"default": found} if isinstance(found, str) else dict(found)
    tokens = {key: str(getattr(tokenizer, key, None) or "") for key in NAMES}
    for name, text in templates.items():
        if not isinstance(text, str) or len(text) > MAX_TEMPLATE:
            raise InputError(f"chat template `{name}` is no text below {MAX_TEMPLATE >> 20} MB", where=where)
        try:
            ChatTemplate(text, tokens)([Conversation(TURNS[:count], prompt=True) for count in (1, 3)])
        except RunawayTemplate as fault:
            raise RunawayTemplate(f"`{name}`: {fault.message}", where=where, fix=fault.fix) from None
        except TemplateFault:
            continue  # one that does not parse matters only to those who render with it
