"""What verbs print: JSON for programs, a rich console for people (plain when piped, or with NO_COLOR)."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

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
    """A table without lines, or the sentence `empty` where there are no rows."""
    from rich.table import Table

    if not rows:
        typer.echo(empty)
        return
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def finish(result: Any, as_json: bool = False) -> None:
    """Print a result of `recipes/run.py` and exit with its status where it has one."""
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo(str(result))
    status = getattr(result, "exit_status", 0)
    if status:
        raise typer.Exit(status)
