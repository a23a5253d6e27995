"""Raw rows to rendered documents: the part of building a store that costs time, done alike in every process."""

from __future__ import annotations

from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.template import TemplateFault
from bloomery.data.block import Block, block
from bloomery.data.digest import asked, digest, grouped
from bloomery.data.readers import Line, Record
from bloomery.data.render import Rendered, Renderer
from bloomery.data.shapes import Columns, Example, to_example

Batch = list[tuple[int, Line | Record]]
"""Rows with their numbers in the source, from 0."""


class Preparation:
    """Turns batches of rows into blocks; bad rows stop the work or are counted, as the source says."""

    def __init__(self, renderer: Renderer, columns: Columns, skip: bool) -> None:
        self._renderer, self._columns, self._skip = renderer, columns, skip

    def __call__(self, batch: Batch) -> Block:
        """The documents of a batch, in order, and the reason for every row that was skipped."""
        reasons: list[str] = []
        examples: list[tuple[int, Example]] = []
        for number, row in batch:
            try:
                record = row.parsed() if isinstance(row, Line) else row
                examples.append((number, to_example(record, self._columns)))
            except InputError as error:
                self._bad(error, reasons)
        rendered = self._render([example for _, example in examples], reasons)
        kept = [(number, example, one) for (number, example), one in zip(examples, rendered, strict=True) if one]
        return block(
            [one for _, _, one in kept],
            [example.example_id for _, example, _ in kept],
            [number for number, _, _ in kept],
            [digest(example) for _, example, _ in kept],
            [asked(example) for _, example, _ in kept],
            [grouped(example) for _, example, _ in kept],
            reasons,
        )

    def job(self) -> dict[str, Any]:
        """JSON from which a worker process builds the same preparation."""
        renderer = {"folder": str(self._renderer.folder.resolve()), "template": self._renderer.template}
        columns = {
            "shape": self._columns.shape,
            "by_role": dict(self._columns.by_role),
            "as_text": self._columns.as_text,
            "signals": self._columns.signals,
        }
        return renderer | columns | {"skip": self._skip}

    def _render(self, examples: list[Example], reasons: list[str]) -> list[Rendered | None]:
        try:
            rendered: list[Rendered | None] = list(self._renderer.encode_batch(examples))
        except InputError as error:
            if len(examples) == 1:
                if isinstance(error, TemplateFault):
                    raise  # no row's fault: skipping them would take a second for each
                self._bad(error, reasons)
                return [None]
            # One bad row fails its batch: go through it one by one, to name or to skip that row only.
            return [one for example in examples for one in self._render([example], reasons)]
        return [self._trainable(example, one, reasons) for example, one in zip(examples, rendered, strict=True)]

    def _trainable(self, example: Example, rendered: Rendered | None, reasons: list[str]) -> Rendered | None:
        task = self._columns.shape == "task"  # whose empty answer is not trained
        if rendered is None or (rendered.trained.any() and (task or _says_something(example))):
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


def _says_something(example: Example) -> bool:
    if example.text is not None:
        return not example.text.isspace()
    said = [part["text"] for m in example.spoken if m["role"] == "assistant" for part in m["content"]]
    return any(text.strip() for text in said) or any("tool_calls" in m for m in example.spoken)
