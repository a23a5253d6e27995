"""Rows of a file as samples to grade."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.data.readers import once, read_jsonl
from bloomery.data.turns import refuse_half_in
from bloomery.graders.payload import Sample

PROMPTS, ANSWERS = ("prompt", "question"), ("response", "completion", "answer", "output")
OWN = ("id", "messages", "reference_answer", "metadata", *PROMPTS, *ANSWERS)


def read_samples(path: Path) -> tuple[list[Sample], list[bool]]:
    """The samples of a JSON-lines file, and which of them end with an answer.

    A row is `{id?, messages, reference_answer?, metadata?}`, or has `prompt` and `response` instead of messages; its
    other keys are metadata. Without an id it is called by its line. Raises `InputError` with the line of a row that is
    neither, or has the id of another.
    """
    if not path.is_file():
        raise InputError("is not a file", where=Where(path), fix="name a JSON-lines file: `--rows sample.jsonl`")
    samples, answered = [], []
    for record in once(read_jsonl(path)):
        refuse_half_in(record.fields, record.where)
        sample = _sample(record.fields, record.where)
        samples.append(sample)
        answered.append(bool(sample.messages) and sample.messages[-1].get("role") == "assistant")
    if not samples:
        raise InputError("holds no rows", where=Where(path), fix="write one JSON object a line")
    return samples, answered


def with_answer(sample: Sample, answer: str) -> Sample:
    """The same row with another answer."""
    asked = list(sample.messages[:-1] if _answered(sample) else sample.messages)
    messages = [*asked, {"role": "assistant", "content": answer}]
    return Sample(sample.id, messages, sample.reference_answer, sample.metadata)


def _answered(sample: Sample) -> bool:
    return bool(sample.messages) and sample.messages[-1].get("role") == "assistant"


def _sample(fields: Mapping[str, Any], where: Where) -> Sample:
    messages = fields.get("messages")
    if messages is None:
        messages = [
            {"role": role, "content": str(fields[key])}
            for role, keys in (("user", PROMPTS), ("assistant", ANSWERS))
            for key in keys
            if fields.get(key) is not None
        ]
    whole = isinstance(messages, list) and messages and all(isinstance(one, Mapping) for one in messages)
    if not whole or not all(isinstance(one.get("role"), str) for one in messages):
        raise InputError(
            "the row has no messages",
            where=where,
            fix="write `messages: [{role, content}]`, or `prompt` and `response`",
        )
    metadata = fields.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise InputError("the row's `metadata` is no object", where=where, fix="write `metadata: {...}`")
    more = {key: value for key, value in fields.items() if key not in OWN}
    reference = fields.get("reference_answer", metadata.get("reference_answer"))
    return Sample(str(fields.get("id", where.line)), messages, reference, {**more, **metadata})
