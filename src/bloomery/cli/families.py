"""Verbs about model families: list, show, verify, fetch."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli.output import Json, fetching, print_json, print_table

if TYPE_CHECKING:
    from bloomery.core.errors import InputError
    from bloomery.recipes.fetching import Cached

TokenEnv = Annotated[
    str | None, typer.Option(metavar="NAME", help="Variable that holds a Hub token, for what is gated.")
]

app = typer.Typer(help="The model families that can be started from.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_families(json: Json = False) -> None:
    """List families: those shipped, and those in ./families. A file at fault is told after the others; status 2.

    \b
    bloomery families list
    """
    from bloomery.families.describe import in_order, listed
    from bloomery.families.registry import all_families

    families, faults = all_families()
    found = in_order(families)
    if json:
        print_json([family.file.model_dump(mode="json") for family in found])
    else:
        rows = [listed(family.file) for family in found]
        print_table(["family", "weights", "stages", "licence"], rows, "no families")
    _end_with(faults)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="FAMILY", help="Name of a family.")], json: Json = False) -> None:
    """Show a family: checkpoints with the learning rate each was saved at, curated mixes, how all that is known.

    Ends with what the cache holds of its curated data.

    \b
    bloomery families show ember
    """
    from bloomery.families.describe import described
    from bloomery.families.registry import load_family
    from bloomery.recipes.fetching import in_cache

    family = load_family(name)
    if json:
        mixes = {n: [s.model_dump() for s in m] for n, m in family.mixes.items()}
        cached = [asdict(one) for one in in_cache(family)]
        print_json(family.file.model_dump(mode="json") | {"mixes": mixes, "cached": cached})
        return
    typer.echo(described(family))
    if held := in_cache(family):
        typer.echo("\nin the cache")
        _print_cached(held)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[FAMILY]", help="Name of a family; without it, all.")] = None,
    token_env: TokenEnv = None,
    json: Json = False,
) -> None:
    """Ask the Hub whether checkpoints and curated data are where the family says: present, missing, moved or gated.

    Status 2 where one is missing or has moved. Where the Hub cannot be reached it says so, with status 0.

    \b
    bloomery families verify olmo2-1b
    bloomery families verify llama3-8b --token-env HF_TOKEN
    """
    from bloomery.core.secret import Secret
    from bloomery.families.describe import in_order
    from bloomery.families.hub import FAULTS, verify
    from bloomery.families.registry import all_families, load_family
    from bloomery.recipes.fetching import rows_on_hub

    families, faults = all_families() if name is None else ([load_family(name)], [])
    found = []
    for finding in verify(in_order(families), rows_on_hub(), Secret(token_env) if token_env else None):
        found.append(finding)
        if not json:
            typer.echo(str(finding))
    if json:
        print_json([asdict(finding) for finding in found])
    else:
        states = Counter(finding.state for finding in found)
        total = ", ".join(f"{number} {state}" for state, number in states.items())
        typer.echo(f"\n{total}" if found else "nothing of it lies on the Hub")
    _end_with(faults)
    if any(finding.state in FAULTS for finding in found):
        raise typer.Exit(2)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="FAMILY", help="Name of a family.")],
    stage: Annotated[
        str | None, typer.Option(help="Stage whose curated data it is. Default: where `start: auto` falls back to.")
    ] = None,
    tokens: Annotated[str, typer.Option(help="About how many tokens of the whole mix.")] = "50M",
    weights: Annotated[bool, typer.Option("--weights", help="Fetch the stage's weights too.")] = False,
    token_env: TokenEnv = None,
    json: Json = False,
) -> None:
    """Fetch the curated data of a stage into the cache, in its shares: runs that need no more need no network.

    Stopped or failed, it goes on where it was when it is called again.

    \b
    bloomery families fetch smollm3-3b --stage pretrained --tokens 50M
    """
    from bloomery.core.quantity import parse_tokens
    from bloomery.core.secret import Secret
    from bloomery.families.registry import load_family
    from bloomery.recipes.fetching import fetch_mix, fetch_weights

    family, token = load_family(name), Secret(token_env) if token_env else None
    with fetching() as progress:
        held = fetch_mix(family, stage, parse_tokens(tokens, "--tokens"), token, progress)
        folder = fetch_weights(family, stage, token) if weights else None
    if json:
        print_json({"cached": [asdict(one) for one in held], "weights": folder})
        return
    _print_cached(held)
    if folder:
        typer.echo(f"weights: {folder}")


def _end_with(faults: list[InputError]) -> None:
    """Say which family files are none, after what the others gave, and end with the status of bad input."""
    for fault in faults:
        typer.echo(f"\n{fault}", err=True)
    if faults:
        raise typer.Exit(2)


def _print_cached(held: list[Cached]) -> None:
    from bloomery.families.describe import count

    rows = [
        [
            one.mix,
            one.source,
            count(one.tokens) + (", all" if one.whole else ""),
            f"{one.disk / 1e6:.1f} MB",
            one.licence or "not stated",
            f"{one.origin}@{one.commit[:12]}" if one.commit else one.origin,
        ]
        for one in held
    ]
    print_table(["mix", "source", "tokens", "size", "licence", "from"], rows, "nothing of it lies elsewhere")
