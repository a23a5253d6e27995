"""Chat templates are programs: before one is used, it is rendered in a process of its own, under 1 s and 256 MB.

Attribute tricks are stopped by jinja's sandbox, which transformers uses too; nested loops and giant strings
are not. `render` serves callers that render what they do not trust; `check` tries a template on sample
conversations when a tokenizer is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.sandbox import Limits, call_each
from bloomery.models import template_worker

LIMITS = Limits(seconds=8.0, memory=256 << 20)
"""By the clock, for a machine that has other work; the worker's own limit is by processor time."""
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
    for name, text in templates.items():
        if not isinstance(text, str) or len(text) > MAX_TEMPLATE:
            raise InputError(f"chat template `{name}` is no text below {MAX_TEMPLATE >> 20} MB", where=where)
        _refuse_runaway(name, text, tokenizer, where)


def render(template: str, messages: Sequence[dict[str, Any]], variables: dict[str, Any] | None = None) -> str:
    """One conversation through one template, in a process of its own.

    `variables` are what the template may read besides `messages`: tokens, `add_generation_prompt`, tools.
    Raises `InputError` with the template's own error, or naming the limit it outgrew.
    """
    error, text = _renders([{"template": template, "messages": list(messages), "variables": variables or {}}])[0]
    if error is not None:
        raise InputError(f"the chat template fails: {error}")
    return text


def _refuse_runaway(name: str, text: str, tokenizer: Any, where: Where) -> None:
    tokens = {key: str(getattr(tokenizer, key, None) or "") for key in NAMES}
    variables: dict[str, Any] = {**tokens, "add_generation_prompt": True}
    samples = [{"template": text, "messages": list(TURNS[:count]), "variables": variables} for count in (1, 3)]
    for error, _ in _renders(samples):
        if error is not None and not error.startswith(template_worker.REFUSAL):
            raise InputError(
                f"chat template `{name}` outgrows {template_worker.SECONDS:g} s or {LIMITS.memory >> 20} MB: {error}",
                where=where,
                fix="replace chat_template.jinja",
            )


def _renders(items: list[dict[str, Any]]) -> list[tuple[str | None, str]]:
    outcomes = call_each(Path(template_worker.__file__), "render", items, LIMITS)
    return [(o.error or o.value.get("error"), o.value.get("text", "")) if o.value else (o.error, "") for o in outcomes]
