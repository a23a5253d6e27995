"""The verb that looks at data and says what to do with it: advise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, print_json
from bloomery.core.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(advise)


def advise(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders or globs; `demo` for a demo.")],
    family: Annotated[str, typer.Option(help="The family to enter.")] = "ember",
    keep: Annotated[str, typer.Option(help="Forgetting budget, such as 0.5%; `none` for none.")] = "1%",
    out: Annotated[Path | None, typer.Option(help="File to write the recipe to.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Fork the stages in short runs and predict.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch weights that are not here, to measure.")] = False,
    columns: Annotated[list[str] | None, typer.Option(metavar="ROLE=NAME", help="Which column is what.")] = None,
    json: Json = False,
) -> None:
    """Say where your data should enter a family, how, and with what blend, as a ready recipe.

    \b
    bloomery advise "handbook/*.md" --keep 0.5% --out recipe.yaml
    bloomery advise tickets.jsonl --family olmo2-1b --measure --download
    """
    from bloomery.core.quantity import parse_share
    from bloomery.studies.advise import advise as look

    held = None if keep == "none" else parse_share(keep, "keep")
    folder = out.parent if out else Path()
    roles = _roles(columns or [])
    found = look(data, family, keep=held, measure=measure, download=download, columns=roles, folder=folder, say=_say)
    if json:
        print_json(found.to_json())
    else:
        typer.echo(str(found))
    if out:
        typer.echo(f"wrote {found.write(out)}", err=True)


def _roles(columns: list[str]) -> dict[str, str]:
    """`response=sql` by role. Raises `InputError` for what is no pair."""
    pairs = [one.partition("=") for one in columns]
    if wrong := next((one for one, (role, _, name) in zip(columns, pairs, strict=True) if not (role and name)), None):
        raise InputError(f"`--columns {wrong}` names no column", fix="write a role and a column: response=sql")
    return {role: name for role, _, name in pairs}


def _say(text: str) -> None:
    typer.echo(text, err=True)
