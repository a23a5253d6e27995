"""Rows as evaluation reads them: text, a conversation, or answers after the first `prompt` messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.shapes import PREFERENCES, Example, detect, to_example
from bloomery.data.sources import Record, iter_records

if TYPE_CHECKING:
    from bloomery.evals.suites import Suite

KEPT = ("skill", "reference_answer", "metadata")
"""What a grader may need, which goes along."""


def evaluation_rows(records: Iterable[Record], spec: SourceSpec) -> Iterator[dict[str, Any]]:
    """Plain JSON of each row. Raises `InputError` with file and row for one that is of no shape."""
    columns = None
    for record in records:
        columns = columns or detect(record, spec)
        example = to_example(record, columns)
        kept = {key: record.fields[key] for key in KEPT if key in record.fields}
        yield {"id": example.example_id, **_body(example), **kept}


def own_suites(data: Sequence[Path]) -> list[Suite]:
    """A suite for each file: preferences are ranked, anything else counts bits per byte.

    Raises `InputError` for a file that is not there, and for two of one name.
    """
    names = [path.stem for path in data]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two files of `--data` are called `{twice}`, and figures go by name", fix="rename one")
    for path in data:
        if not path.is_file():
            raise InputError("there is no such file", where=Where(path), fix="change --data")
    return [_own_suite(path) for path in data]


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
