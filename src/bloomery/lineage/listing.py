"""Lists of runs and models as people read them: the columns of the command line and of notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from bloomery.core.table import html_table
from bloomery.lineage.index import ModelRecord, models, runs
from bloomery.lineage.record import RunRecord

Record = TypeVar("Record")


class Listing(list[Record]):
    """Records with the columns they are shown in; otherwise a list as any other."""

    def __init__(self, records: Iterable[Record], columns: Mapping[str, Callable[[Record], str]]) -> None:
        super().__init__(records)
        self.columns = columns

    def rows(self) -> list[list[str]]:
        """The text of every column, record by record."""
        return [[text(record) for text in self.columns.values()] for record in self]

    def _repr_html_(self) -> str:
        return html_table(list(self.columns), self.rows())


def list_runs(root: Path) -> Listing[RunRecord]:
    """All runs under `root`, newest first."""
    return Listing(
        runs(root),
        {
            "run": lambda run: run.name,
            "status": lambda run: run.status,
            "created": lambda run: day(run.created),
            "step": lambda run: f"{run.step:,}",
            "tokens": lambda run: f"{run.tokens:,}",
            "from": lambda run: run.start.ref if run.start else "",
        },
    )


def list_models(root: Path) -> Listing[ModelRecord]:
    """All exported models under `root`, newest run first."""
    return Listing(
        models(root),
        {
            "model": lambda model: model.name,
            "made from": _made_from,
            "folder": lambda model: model.path,
        },
    )


def _made_from(model: ModelRecord) -> str:
    """The chain of starts; several parents beside each other, before what they in turn were made from."""
    parents, further = len(model.parents), list(model.ancestry[len(model.parents) :])
    return " < ".join([" + ".join(model.parents), *further] if parents else model.ancestry)


def day(seconds: float | None) -> str:
    """Seconds since the epoch as local day and minute; nothing for None."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
