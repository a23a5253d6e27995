"""Verbs about work made of several runs: sweep, tune, reenter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, finish
from bloomery.cli.recipes import Changes, Name


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command()(sweep)
    app.command()(tune)
    app.command()(reenter)


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


def tune(
    recipe: Name,
    changes: Changes = None,
    runs: Annotated[int, typer.Option(help="Micro-runs that the law is fitted on.")] = 12,
    tokens: Annotated[str, typer.Option(help="Length of a micro-run; with --shares of its domain part.")] = "40k",
    categories: Annotated[bool, typer.Option("--categories", help="Weigh the curated categories too.")] = False,
    shares: Annotated[str | None, typer.Option(help="Compare these domain shares instead: 100,90,70,50.")] = None,
    json: Json = False,
) -> None:
    """Search the blend with short runs, and write a recipe with what is found.

    Needs `keep.general`. Called again it goes on where it stopped.

    \b
    bloomery tune recipe.yaml --runs 12 --tokens 40k
    bloomery tune recipe.yaml --categories
    bloomery tune recipe.yaml --shares 100,90,70,50
    """
    from bloomery.recipes.load import load_recipe
    from bloomery.studies.shares import compare_shares, percents
    from bloomery.studies.tune import tune as search

    loaded, length = load_recipe(recipe, changes or []), _length(tokens)
    if shares is not None:
        finish(compare_shares(loaded, percents(shares), length, _say), json)
    else:
        finish(search(loaded, runs, length, _say, categories=categories), json)


def _length(tokens: str) -> float:
    """Tokens as `40k` or `40k tokens`."""
    from bloomery.core.quantity import parse_budget

    amount = parse_budget(tokens if "token" in tokens else f"{tokens} tokens", "--tokens")
    return amount.value


def _say(text: str) -> None:
    typer.echo(text, err=True)


def reenter(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run from an early stage of a family.")],
    to: Annotated[str | None, typer.Option(help="The later stage to go back to. Default: the family's last.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Tokens of the re-anneal and its fine-tuning together. Default: the run's own.")
    ] = None,
    strengths: Annotated[str, typer.Option(help="Strengths of the merges, from 0 to 1.")] = "0.3,0.6,1.0",
    keep: Annotated[
        str | None, typer.Option(help="How far it may fall behind the stage. Default: the run's `keep`, or 2 %.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the re-entry. Default: the run's.")] = None,
    json: Json = False,
) -> None:
    """Lead a run from an early stage back to the later one, by the way that is measured to be best.

    A short re-anneal with fine-tuning, grafts and merges are scored on the same rows; the winner is kept as a model.
    Called again it goes on where it stopped.

    \b
    bloomery reenter early
    bloomery reenter early --to posttrained --budget "200k tokens" --strengths 0.3,0.6,1.0
    """
    from bloomery.studies.reenter import run_reentry
    from bloomery.studies.reentry import read_options, read_reentry

    finish(run_reentry(read_reentry(run, to, *read_options(budget, strengths, keep)), name), json)
