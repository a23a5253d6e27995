"""Raw rows to rendered documents, in order: the part of building a store that costs time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.overlap import digest
from bloomery.data.render import Rendered, Renderer
from bloomery.data.shapes import Columns, Example, detect, to_example
from bloomery.data.sources import Record, iter_records
from bloomery.data.writer import Document, Stats

BATCH_ROWS = 512


class Preparation:
    """Turns batches of records into documents; bad rows stop the work or are counted, as the source says."""

    def __init__(self, renderer: Renderer, columns: Columns, skip: bool) -> None:
        self._renderer, self._columns, self._skip = renderer, columns, skip

    def __call__(self, records: list[tuple[int, Record]]) -> tuple[list[Document], list[str]]:
        """Documents of (row number, record) pairs in order, and the reason for every row that was skipped."""
        reasons: list[str] = []
        examples = []
        for number, record in records:
            try:
                examples.append((number, to_example(record, self._columns)))
            except InputError as error:
                self._bad(error, reasons)
        rendered = self._render([example for _, example in examples], reasons)
        documents = [
            Document(one, example.example_id, number, digest(example))
            for (number, example), one in zip(examples, rendered, strict=True)
            if one is not None
        ]
        return documents, reasons

    def _render(self, examples: list[Example], reasons: list[str]) -> list[Rendered | None]:
        try:
            rendered: list[Rendered | None] = list(self._renderer.encode_batch(examples))
        except InputError as error:
            if len(examples) == 1:
                self._bad(error, reasons)
                return [None]
            # One bad row fails its batch: go through it one by one, to name or to skip that row only.
            return [one for example in examples for one in self._render([example], reasons)]
        return [self._trainable(example, one, reasons) for example, one in zip(examples, rendered, strict=True)]

    def _trainable(self, example: Example, rendered: Rendered | None, reasons: list[str]) -> Rendered | None:
        if rendered is None or (rendered.trained.any() and _says_something(example)):
            return rendered
        what = "no text" if example.text is not None else "no assistant turn with text"
        self._bad(InputError(f"has no token to train on: {what}", where=example.where, fix="remove the row"), reasons)
        return None

    def _bad(self, error: InputError, reasons: list[str]) -> None:
        if not self._skip:
            if error.fix is None:
                error.fix = "correct the row, or set `bad_rows: skip` on the source"
            raise error
        reasons.append(error.message)


class documents:
    """Iterates over a source's documents in batches; `columns` says how its rows are read, `stats` counts."""

    def __init__(self, spec: SourceSpec, base: Path, renderer: Renderer, stats: Stats, workers: int | None) -> None:
        records = iter_records(spec, base)
        first = next(records)
        found = detect(first, spec)
        self.columns, self._stats = str(found), stats
        self._prepare = Preparation(renderer, found, spec.bad_rows == "skip")
        self._batches = _batches(first, records)

    def __iter__(self) -> Iterator[list[Document]]:
        for batch in self._batches:
            prepared, reasons = self._prepare(batch)
            self._stats.read += len(batch)
            self._stats.dropped.update(reasons)
            yield prepared


def _batches(first: Record, rest: Iterator[Record]) -> Iterator[list[tuple[int, Record]]]:
    numbered = enumerate(record for source in ([first], rest) for record in source)
    while batch := list(islice(numbered, BATCH_ROWS)):
        yield batch


def _says_something(example: Example) -> bool:
    if example.text is not None:
        return bool(example.text.strip())
    said = [part["text"] for m in example.messages if m["role"] == "assistant" for part in m["content"]]
    return any(text.strip() for text in said) or any("tool_calls" in m for m in example.messages)
