"""Verbs about model families: list, show."""

from __future__ import annotations

from typing import Annotated

import typer

from bloomery.cli.output import Json, print_json, print_table

app = typer.Typer(help="The model families that can be started from.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_families(json: Json = False) -> None:
    """List families: those shipped, and those in ./families.

    \b
    bloomery families list
    """
    from bloomery.families.registry import family_files, load_family

    found = [load_family(name) for name in family_files()]
    if json:
        print_json([family.file.model_dump(mode="json") for family in found])
        return
    rows = [[f.name, f.file.title, f"{f.file.context:,}", f.file.licence, ", ".join(f.file.checkpoints)] for f in found]
    print_table(["family", "title", "context", "licence", "stages"], rows, "no families")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="FAMILY", help="Name of a family.")], json: Json = False) -> None:
    """Show a family: its checkpoints with the learning rate each was saved at, and its curated mixes.

    \b
    bloomery families show ember
    """
    from bloomery.families.registry import load_family

    family = load_family(name)
    if json:
        print_json(
            family.file.model_dump(mode="json")
            | {"mixes": {n: [s.model_dump() for s in m] for n, m in family.mixes.items()}}
        )
        return
    typer.echo(
        f"{family.file.title} ({family.file.licence}), {family.file.architecture}, context {family.file.context:,}\n"
    )
    stages = [
        [stage, c.heat(), _rate(c.saved_lr()), _rate(c.peak()), f"{c.tokens:,}", c.folder or f"{c.repo}@{c.revision}"]
        for stage, c in family.file.checkpoints.items()
    ]
    print_table(["stage", "class", "rate", "peak", "tokens", "weights"], stages, "")
    typer.echo("")
    mixes = [[name, ", ".join(f"{s.name} {s.share:.0%}" for s in mix)] for name, mix in family.mixes.items()]
    print_table(["mix", "curated sources"], mixes, "no curated data")


def _rate(rate: float | None) -> str:
    return "?" if rate is None else f"{rate:.5g}"
