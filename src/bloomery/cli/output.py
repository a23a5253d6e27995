"""What verbs print: JSON for programs, a rich console for people (plain when piped, or with NO_COLOR)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bloomery.launch.local import this_place

STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of writing, halves of surrogate pairs."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option of verbs whose result programs read."""


def console() -> Any:
    """A rich console on standard output; it drops colour by itself when piped and when NO_COLOR is set."""
    from rich.console import Console

    return Console()


def print_json(value: Any) -> None:
    """One indented JSON value."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(headings: list[str], rows: list[list[str]], empty: str) -> None:
    """A table without lines, or the sentence `empty` where there are no rows. Cells are text, not rich's markup."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(empty)
        return
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console().print(table)


def plain(text: str) -> str:
    """Text that does not steer the terminal; spaces of any width and joined characters stay."""
    return STEERING.sub("\ufffd", text)


def refuse_over(out: Path | None, *read: Path) -> None:
    """Raise where `--out` is a file that is read: what it holds would be lost."""
    from bloomery.core.errors import InputError

    for path in read:
        if out is not None and out.exists() and path.exists() and out.samefile(path):
            raise InputError(f"`--out {out}` is what is read, and would be lost", fix="name another file")


def tell(text: str) -> None:
    """How far long work is, a line on standard error; the first of several processes tells it."""
    if this_place().first:
        typer.echo(text, err=True)


def finish(result: Any, as_json: bool = False) -> None:
    """Print a result of `recipes/run.py` and exit with its status where it has one."""
    if not this_place().first:
        pass  # the first of several processes tells it
    elif as_json:
        print_json(result.to_json())
    else:
        typer.echo(plain(str(result)))
    status = getattr(result, "exit_status", 0)
    if status:
        raise typer.Exit(status)


@contextmanager
def fetching() -> Iterator[Callable[[str, int, Any], None]]:
    """A bar for each source that is fetched, on standard error: tokens, bytes on disk, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = ("{task.description}", "{task.completed:,.0f} of {task.total:,.0f} tokens", "{task.fields[disk]}")
    name, done, disk = (TextColumn(column) for column in columns)
    with Progress(name, BarColumn(), done, disk, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def show(source: str, wanted: int, stream: Any) -> None:
            if source not in tasks:
                tasks[source] = bar.add_task(source, total=wanted, disk="")
            total = stream.tokens if stream.ended else max(wanted, stream.tokens)
            size = f"{stream.disk / 1e6:.1f} MB"
            bar.update(tasks[source], completed=stream.tokens, total=total, disk=size)

        yield show
