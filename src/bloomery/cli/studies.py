"""Verbs about work made of several runs: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, finish
from bloomery.cli.recipes import Changes


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command()(sweep)


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file: `recipe`, and `grid` or `runs`.")],
    changes: Changes = None,
    json: Json = False,
) -> None:
    """Run many experiments as a queue, and show one table.

    Called again it goes on where it stopped: finished runs stay, interrupted ones are resumed, the rest begins.

    \b
    bloomery sweep shares.yaml
    bloomery sweep shares.yaml budget="1M tokens" --json
    """
    from bloomery.studies.sweep import run_sweep
    from bloomery.studies.sweep_file import read_sweep

    finish(run_sweep(read_sweep(file, changes or [])), json)
