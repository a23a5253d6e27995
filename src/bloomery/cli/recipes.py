"""Verbs about recipes: init, run, resume, explain, schema, data show."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, console, finish, print_json

Name = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one (demo).")]
Changes = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys to change.")]

Processes = Annotated[
    int, typer.Option(min=1, help="Processes on this machine, under torchrun; the status is then torchrun's.")
]

data = typer.Typer(help="Look at the data of a recipe or a run.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    for verb in (init, run, resume, explain, schema):
        app.command()(verb)
    app.add_typer(data, name="data")


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; recipe.yaml is written into it.")],
    family: Annotated[str | None, typer.Option(help="Model family, or a folder or Hub id.")] = None,
    path: Annotated[str | None, typer.Option("--data", help="Your data: a file, folder or glob.")] = None,
    share: Annotated[str | None, typer.Option(help="Share of your data, such as 50%.")] = None,
    budget: Annotated[str | None, typer.Option(help="Length of the run, such as 2M tokens.")] = None,
    keep: Annotated[str | None, typer.Option(help="Forgetting budget, such as 1%.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the defaults, ask nothing.")] = False,
) -> None:
    """Ask five questions and write a working recipe.

    \b
    bloomery init my-project --data "handbook/*.md" -y
    """
    from bloomery.recipes.init import QUESTIONS, missing, write_recipe

    given = {"family": family, "data": path, "share": share, "budget": budget, "keep": keep}
    answers = {q.key: given[q.key] or (q.default if yes else typer.prompt(q.text, q.default)) for q in QUESTIONS}
    file = write_recipe(folder, answers)
    if note := missing(answers["data"]):
        typer.echo(note, err=True)
    quoted = shlex.quote(str(file))
    typer.echo(f"wrote {file}\nnext: bloomery explain {quoted}\n      bloomery run {quoted}")


def run(
    recipe: Name,
    changes: Changes = None,
    folder: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/NAME.")] = None,
    processes: Processes = 1,
    json: Json = False,
) -> None:
    """Train, evaluate and export as a recipe says.

    \b
    bloomery run demo
    bloomery run recipe.yaml data.share=30% budget="2M tokens" seeds=3
    """
    if processes > 1:
        place = [f"--folder={folder}"] if folder else []
        _in_processes(["run", recipe, *(changes or []), *place], processes)
    from bloomery.recipes.run import run as start

    finish(start(recipe, changes or [], folder=folder), json)


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run that was interrupted.")],
    processes: Processes = 1,
    json: Json = False,
) -> None:
    """Continue an interrupted run.

    It goes on where it stopped; the result is that of an uninterrupted one, bit for bit.

    \b
    bloomery resume demo
    """
    if processes > 1:
        _in_processes(["resume", run], processes)
    from bloomery.recipes.run import resume as again

    finish(again(run), json)


def _in_processes(arguments: list[str], processes: int) -> None:
    from bloomery.launch.torchrun import run_torchrun

    raise typer.Exit(run_torchrun("bloomery.cli", arguments, processes))


def explain(
    recipe: Name,
    changes: Changes = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every value of the plan.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw rate and blend over the run: a .svg or .html file.")] = None,
    json: Json = False,
) -> None:
    """Say what a run would do, without starting it.

    Tokens and epochs of each source, steps, memory, disk, time, and everything that would be refused.

    \b
    bloomery explain demo
    bloomery explain recipe.yaml data.share=30% --all
    bloomery explain demo --plot plan.svg
    """
    from bloomery.recipes.course import check_file, draw
    from bloomery.recipes.explain import explain as look
    from bloomery.recipes.load import load_recipe
    from bloomery.recipes.show import print_explanation

    if plot:
        check_file(plot)
    found = look(load_recipe(recipe, changes or []))
    if plot and found.plan:
        draw([one.plan for one in (found, *found.later) if one.plan], plot)
    if json:
        print_json(found.to_json())
    else:
        print_explanation(found, console(), everything)
    if not found.can_run:
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    \b
    bloomery schema > recipe.schema.json
    """
    from bloomery.recipes.json_schema import recipe_schema

    print_json(recipe_schema())


@data.command("show")
def show(
    of: Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or a run.")],
    changes: Changes = None,
    step: Annotated[int, typer.Option(help="Which step's batch.", min=0)] = 0,
    rows: Annotated[int, typer.Option(help="How many of its rows.", min=1)] = 8,
) -> None:
    """Print rows of one step's batch, with the trained tokens marked.

    \b
    bloomery data show demo --step 10
    """
    from bloomery.recipes.verbs import show_batch

    show_batch(of, changes or [], step=step, rows=rows)


@data.command("split")
def split(
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="Rows of any format.")],
    column: Annotated[str, typer.Option(help="Column of the time, or of the community.")],
    by: Annotated[str, typer.Option(help="`time`: the latest rows; `group`: whole communities.")] = "time",
    part: Annotated[str, typer.Option(help="How much to hold out.")] = "20%",
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl and heldout.jsonl.")] = Path(),
) -> None:
    """Hold out what a model will meet: later rows, or communities that it never saw.

    \b
    bloomery data split comments.jsonl --by time --column created
    bloomery data split comments.jsonl --by group --column community --part 10%
    """
    from bloomery.studies.classifying import split_rows

    seen, held = split_rows(rows, by, column, part, out)
    typer.echo(f"{seen:,} rows in {out / 'train.jsonl'}, {held:,} in {out / 'heldout.jsonl'}")
