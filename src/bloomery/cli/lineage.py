"""Verbs about what was made from what: runs, models, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, print_json, print_table

Root = Annotated[Path, typer.Option("--root", help="Folder of run folders.")]
RUNS = Path("runs")


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    for verb in (runs, models, show):
        app.command()(verb)


def runs(root: Root = RUNS, json: Json = False) -> None:
    """List runs, newest first.

    \b
    bloomery runs
    """
    from dataclasses import asdict

    from bloomery.lineage.listing import list_runs

    found = list_runs(root)
    if json:
        print_json([asdict(record) for record in found])
        return
    print_table(list(found.columns), found.rows(), f"no runs in {root} yet: bloomery run demo")


def models(root: Root = RUNS, json: Json = False) -> None:
    """List exported models and what each was made from.

    \b
    bloomery models
    """
    from dataclasses import asdict

    from bloomery.lineage.listing import list_models

    found = list_models(root)
    if json:
        print_json([asdict(record) for record in found])
        return
    print_table(list(found.columns), found.rows(), f"no models in {root} yet")


def show(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run, by name or folder.")],
    root: Root = RUNS,
    json: Json = False,
) -> None:
    """Show one run.

    What it started from, what became of it, its figures.

    \b
    bloomery show demo
    """
    from dataclasses import asdict

    from bloomery.lineage import index
    from bloomery.lineage.listing import day

    record = index.show(root, name)
    if json:
        print_json(asdict(record))
        return
    facts = asdict(record) | {
        "created": day(record.created),
        "finished": day(record.finished),
        "start": f"{record.start.ref} ({record.start.path or 'no weights: drawn at random'})" if record.start else "",
        "figures": "\n".join(f"{figure} {value:+.4f}" for figure, value in record.figures.items()),
    }
    print_table(["", name], [[key, str(value)] for key, value in facts.items() if value not in (None, "")], "")
