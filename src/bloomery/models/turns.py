"""The tokens that end an assistant's turn, read off the chat template itself."""

from __future__ import annotations

from typing import Any

from bloomery.core.template import Conversation
from bloomery.models.template import template_of, unmarked

PROBE = "QX7"


def stop_ids(tokenizer: Any) -> list[int]:
    """Ids that generation stops at: the end of text, and the special token that the template puts after an answer.

    Raises `TemplateFault` for a template that does not parse or outgrows its limits.
    """
    found = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    if template := template_of(tokenizer):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": PROBE}]
        [rendering] = template([Conversation(messages)])
        after = tokenizer(unmarked(rendering).rpartition(PROBE)[2], add_special_tokens=False)["input_ids"]
        if after and after[0] in tokenizer.all_special_ids and after[0] not in found:
            found.append(after[0])
    return found
