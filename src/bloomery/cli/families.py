"""Verbs about model families: list, show, verify."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
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
    from bloomery.families.describe import in_order, listed
    from bloomery.families.registry import all_families

    found = in_order(all_families())
    if json:
        print_json([family.file.model_dump(mode="json") for family in found])
        return
    print_table(["family", "weights", "stages", "licence"], [listed(family.file) for family in found], "no families")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="FAMILY", help="Name of a family.")], json: Json = False) -> None:
    """Show a family: checkpoints with the learning rate each was saved at, curated mixes, how all that is known.

    \b
    bloomery families show ember
    """
    from bloomery.families.describe import described
    from bloomery.families.registry import load_family

    family = load_family(name)
    if json:
        print_json(
            family.file.model_dump(mode="json")
            | {"mixes": {n: [s.model_dump() for s in m] for n, m in family.mixes.items()}}
        )
        return
    typer.echo(described(family))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[FAMILY]", help="Name of a family; without it, all.")] = None,
    token_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Variable that holds a Hub token, for gated families."),
    ] = None,
    json: Json = False,
) -> None:
    """Ask the Hub whether every checkpoint is where the family says: present, missing, moved or gated.

    Status 2 where one is missing or has moved. Where the Hub cannot be reached it says so, with status 0.

    \b
    bloomery families verify olmo2-1b
    bloomery families verify llama3-8b --token-env HF_TOKEN
    """
    from bloomery.core.secret import Secret
    from bloomery.families.describe import in_order
    from bloomery.families.hub import FAULTS, verify
    from bloomery.families.registry import all_families, load_family

    families = in_order(all_families()) if name is None else [load_family(name)]
    found = []
    for finding in verify(families, Secret(token_env) if token_env else None):
        found.append(finding)
        if not json:
            typer.echo(str(finding))
    if json:
        print_json([asdict(finding) for finding in found])
    else:
        states = Counter(finding.state for finding in found)
        total = ", ".join(f"{number} {state}" for state, number in states.items())
        typer.echo(f"\n{total}" if found else "nothing of it lies on the Hub")
    if any(finding.state in FAULTS for finding in found):
        raise typer.Exit(2)
