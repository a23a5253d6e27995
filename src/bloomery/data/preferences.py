"""Rows that say which answer is better, or whether one is good: their prompt and their answers as conversations.

The answers are strings or lists of messages, after a prompt that is one too; or both answers are whole conversations,
and the prompt is what they begin with alike. Whole conversations may also be transcripts, with turns that begin
`Human:` and `Assistant:`, as in Anthropic's hh-rlhf.
"""

from __future__ import annotations

import re
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.data.turns import Message, message, plain, turns

Messages = tuple[Message, ...]

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}

DESIRABLE = {"true": True, "1": True, "desirable": True, "false": False, "0": False, "undesirable": False}
"""What a label may be, in small letters; a fraction as CSV and Parquet may have it (1.0) counts too."""


def preferred(prompt: Any, chosen: Any, rejected: Any, system: str, where: Where) -> tuple[int, Messages, Messages]:
    """(messages of the prompt, the conversation with the better answer, with the worse one).

    Raises `InputError` for rows that teach nothing (the same answer twice, an empty one), and where the two
    do not answer one prompt.
    """
    before = _prompt(prompt, system, where)
    one, other = (_answer(value, name, where) for value, name in ((chosen, "chosen"), (rejected, "rejected")))
    if one[0]["role"] != "assistant" or other[0]["role"] != "assistant":
        before = (message("system", system),) if system and one[0]["role"] != "system" else ()
    alike = 0
    while alike < min(len(one), len(other)) and one[alike] == other[alike]:
        alike += 1
    if alike == len(one) == len(other):
        raise InputError("`chosen` and `rejected` are the same", where=where)
    rest = one[alike:], other[alike:]
    if not all(part and part[0]["role"] == "assistant" for part in rest) or (not before and not alike):
        raise InputError(
            "`chosen` and `rejected` do not answer one prompt",
            where=where,
            fix="give a column `prompt`, or two conversations that differ in what the assistant says",
        )
    for part, name in zip(rest, ("chosen", "rejected"), strict=True):
        _refuse_empty(part, name, where)
    return len(before) + alike, before + one, before + other


def judged(prompt: Any, completion: Any, system: str, where: Where) -> tuple[int, Messages]:
    """(messages of the prompt, the conversation with its answer)."""
    before, answer = _prompt(prompt, system, where), _answer(completion, "completion", where)
    if answer[0]["role"] != "assistant" or not before:
        raise InputError("`completion` must begin with what the assistant says to `prompt`", where=where)
    _refuse_empty(answer, "completion", where)
    return len(before), before + answer


def desirable(label: Any, where: Where) -> bool:
    """What a label means."""
    found = is_label(label)
    if found is None:
        message = f"`label` must be true or false, 1 or 0, desirable or undesirable; it is {label!r}"
        raise InputError(message, where=where)
    return found


def is_label(value: Any) -> bool | None:
    """True or False for a label of an answer, None for anything else."""
    number = int(value) if isinstance(value, float) and value in (0.0, 1.0) else value
    return DESIRABLE.get(str(number).strip().lower()) if isinstance(number, bool | int | str) else None


def _prompt(value: Any, system: str, where: Where) -> Messages:
    if value is None:
        return ()
    told = (message("user", value),) if _is_text(value) else turns(value, where, "prompt")
    return ((message("system", system),) if system and told[0]["role"] != "system" else ()) + told


def _answer(value: Any, name: str, where: Where) -> Messages:
    """The messages of an answer, or of a whole conversation."""
    if not _is_text(value):
        return turns(value, where, name)
    if not _SPEAKER.match(value):
        return (message("assistant", value),)
    _, *pieces = _SPEAKER.split(value)
    spoken = zip(pieces[::2], pieces[1::2], strict=True)
    return tuple(message(_ROLES[who], said.strip()) for who, said in spoken)


def _is_text(value: Any) -> bool:
    """Whether a column is plain text and not messages written as JSON."""
    return isinstance(value, str) and not value.lstrip().startswith('[{"')


def _refuse_empty(answer: Messages, name: str, where: Where) -> None:
    said = [turn for turn in answer if turn["role"] == "assistant"]
    if not any(plain(turn["content"]).strip() or turn.get("tool_calls") for turn in said):
        raise InputError(f"`{name}` is empty", where=where)
