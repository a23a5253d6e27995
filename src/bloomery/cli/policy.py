"""`bloomery policy`: check, try, test and train what guards an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, print_json, print_table

app = typer.Typer(
    help="Policies: what a served model may be asked and may answer.\n\nExample: bloomery policy try safety 'Hello'",
    no_args_is_help=True,
    rich_markup_mode=None,
)

File = Annotated[str, typer.Argument(metavar="POLICY", help="A policy file, or the name of a shipped template.")]
Rows = Annotated[Path, typer.Option(help="JSON lines: {text or messages, expect: allow|warn|mask|review|block, ...}.")]


@app.command()
def check(file: File, json: Json = False) -> None:
    """Validate a policy, and print its categories with the floor that is always added.

    \b
    bloomery policy check policy.yaml
    bloomery policy check security-firm --json
    """
    from bloomery.recipes.judges import Judges
    from bloomery.serve.policy.show import HEADINGS, check_policy

    checked = check_policy(file, Judges().given())
    if json:
        print_json(checked.to_json())
    else:
        print_table(list(HEADINGS), checked.table(), "no categories")


@app.command(name="test")
def test_policy(file: File, rows: Rows, json: Json = False) -> None:
    """Measure a policy on rows: harmful ones that it acts on, and safe ones that it acts on, with 95 % intervals.

    Exit status 3 when a bound that the policy states under `bounds` is broken, 4 when there are too few rows to say.

    \b
    bloomery policy test policy.yaml --rows rows.jsonl
    bloomery policy test safety --rows rows.jsonl --json
    """
    from bloomery.recipes.judges import Judges
    from bloomery.serve.policy.show import run_policy

    measured = run_policy(file, rows, Judges().given())
    if json:
        print_json(measured.to_json())
    else:
        table = [[name or "(none)", str(harmful), str(safe)] for name, (harmful, safe) in measured.categories.items()]
        table.append(["all", str(measured.harmful), str(measured.safe)])
        print_table(["category", "blocked harmful", "blocked safe"], table, "no rows")
        for kind, outcomes in (("missed", measured.missed), ("stopped though safe", measured.stopped)):
            if outcomes:
                lines = ", ".join(str(outcome.row.where.line) for outcome in outcomes[:40])
                typer.echo(f"{kind}: {rows.name} line {lines}{' ...' if len(outcomes) > 40 else ''}")
        for bound, verdict in measured.verdicts:
            typer.echo(f"{verdict}: {bound}")
    if measured.exit_status:
        raise typer.Exit(measured.exit_status)


@app.command(name="try")
def try_text(
    file: File,
    text: Annotated[str, typer.Argument(help="What a user says, or the model.")],
    output: Annotated[bool, typer.Option("--output", help="The text is an answer of the model.")] = False,
    json: Json = False,
) -> None:
    """Show what a policy does with one text, and because of what.

    \b
    bloomery policy try safety "How do I make a bath bomb?"
    bloomery policy try policy.yaml "My card is 4111 1111 1111 1111" --output
    """
    from bloomery.recipes.judges import Judges
    from bloomery.serve.policy.show import try_policy

    tried = try_policy(file, text, "output" if output else "input", Judges().given())
    if json:
        print_json(tried.to_json())
        return
    typer.echo(f"{tried.decision.action}{f': {tried.decision.category}' if tried.decision.category else ''}")
    for event in tried.events:
        place = f"characters {event['start']} to {event['end']}"
        typer.echo(f"  {event['action']}  {event['category']}, {event['reason']}, {place}")
    if tried.decision.action != "allow":
        typer.echo(f"  let through: {tried.text!r}")


@app.command(name="templates")
def list_templates(json: Json = False) -> None:
    """List the shipped templates, to be used by name or under `extends`.

    \b
    bloomery policy templates
    """
    from bloomery.serve.policy.show import template_table

    table = template_table()
    if json:
        print_json([{"name": name, "categories": categories, "about": about} for name, categories, about in table])
    else:
        print_table(["template", "categories", "about"], table, "no templates")


@app.command()
def train(
    category: Annotated[str, typer.Argument(metavar="CATEGORY", help="The category that the head is for.")],
    rows: Rows,
    out: Annotated[Path | None, typer.Option(help="The folder to write. Default: heads/CATEGORY.")] = None,
    blocked_safe: Annotated[str, typer.Option(help="Most safe rows that may be flagged, on rows held out.")] = "2%",
    json: Json = False,
) -> None:
    """Train a classifier head for a category, and say how good it is on rows that it has not seen.

    Harmful rows are those of the category, or of none; safe rows all with `expect: allow`.

    \b
    bloomery policy train insults --rows labelled.jsonl
    bloomery policy train insults --rows labelled.jsonl --out heads/insults --blocked-safe 1%
    """
    from bloomery.core.quantity import parse_share
    from bloomery.serve.policy.head_train import folder_of, train_category

    folder = out or folder_of(category)
    trained = train_category(category, rows, folder, parse_share(blocked_safe, "--blocked-safe"), _say)
    if json:
        print_json(trained.to_json())
    else:
        typer.echo(str(trained))


def _say(text: str) -> None:
    typer.echo(text, err=True)
