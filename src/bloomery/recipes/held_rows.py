"""Rows as evaluation reads them: text, a conversation, or answers after the first `prompt` messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.readers import once
from bloomery.data.shapes import PREFERENCES, Example, detect, to_example
from bloomery.data.sources import Record, iter_records

if TYPE_CHECKING:
    from bloomery.evals.suites import Suite
    from bloomery.recipes.judges import Judge

KEPT = ("skill", "reference_answer", "metadata")
"""What a grader may need, which goes along."""


def own_records(spec: SourceSpec, base: Path) -> Iterator[Record]:
    """The rows of a source. Raises `InputError` for two rows of one id in a file of the user's own."""
    records = iter_records(spec, base)
    return once(records) if spec.paths else records


def evaluation_rows(records: Iterable[Record], spec: SourceSpec) -> Iterator[dict[str, Any]]:
    """Plain JSON of each row. Raises `InputError` with file and row for one that is of no shape."""
    columns = None
    for record in records:
        columns = columns or detect(record, spec)
        example = to_example(record, columns)
        kept = {key: record.fields[key] for key in KEPT if key in record.fields}
        if columns.shape == "task":  # its answer is empty, so that a row of the blend ends where one would begin
            example = replace(example, messages=example.messages[:-1])
        yield {"id": example.example_id, **_body(example), **kept}


def own_suites(data: Sequence[Path], judged: bool = False) -> list[Suite]:
    """A suite for each file: preferences are ranked, anything else counts bits per byte; prompts alone are left out
    where a judge is there for them.

    Raises `InputError` for a file that is not there, and for two of one name.
    """
    names = [path.stem for path in data]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two files of `--data` are called `{twice}`, and figures go by name", fix="rename one")
    for path in data:
        if not path.is_file():
            raise InputError("there is no such file", where=Where(path), fix="change --data")
    return [_own_suite(path) for path in data if not (judged and _only_asks(path))]


def own_pairs(data: Sequence[Path], judge: Judge | None, limit: int | None = None) -> list[Suite]:
    """With a judge, a suite of pairs for each file of prompts or conversations: every model answers them."""
    from bloomery.evals.suites import Suite

    if judge is None:
        return []
    asked = [path for path in data if (first := _first(path)) and (first.get("prompt") or first.get("messages"))]
    told: dict[str, Any] = {"grader": {"type": "pairwise", "judge": judge}, "max_new_tokens": 128, "limit": limit}
    return [Suite(f"{path.stem} pairs", "pairwise", path, "domain", **told) for path in asked]


def _only_asks(path: Path) -> bool:
    """Whether the first row is a prompt without an answer."""
    first = _first(path) or {}
    prompts = first.get("messages") is None and first.get("prompt") is not None
    return prompts and all(first.get(key) is None for key in ("text", "response", "completion", "output", "chosen"))


def _first(path: Path) -> dict[str, Any] | None:
    """The first row of a file of JSON lines; None where it is none."""
    from bloomery.evals.suites import read_jsonl

    rows = read_jsonl(path) if path.suffix == ".jsonl" else []
    return dict(rows[0]) if rows else None


def _own_suite(path: Path) -> Suite:
    from bloomery.evals.suites import Suite

    spec = SourceSpec(path=str(path))
    try:
        shape = detect(next(iter_records(spec, Path())), spec).shape
    except InputError:
        shape = ""  # the suite says what its rows lack
    if shape not in PREFERENCES:
        return Suite(path.stem, "bpb", path, "domain")
    rows = list(evaluation_rows(iter_records(spec, Path()), spec))
    return Suite(path.stem, "preference" if shape == "preference" else "judged", rows, "domain")


def _body(example: Example) -> dict[str, Any]:
    if example.text is not None:
        return {"text": example.text}
    if example.as_text:
        return {"text": example.plain_text}
    if not example.prompt and not example.rejected:
        return {"messages": list(example.messages)}
    answers = {"chosen": list(example.messages), "rejected": list(example.rejected)}
    return {"prompt": example.prompt, **{side: said for side, said in answers.items() if said}}
