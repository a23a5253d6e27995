"""The command line: each verb parses its arguments and calls one function, imported when it is needed.

Exit status: 0 done and within `keep`, 1 a run stopped itself, 2 bad input, 3 forgetting budget broken,
4 not proven either way; 143 by SIGTERM and 130 by Ctrl-C, stopped after a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

from bloomery import __version__
from bloomery.cli import (
    advise,
    families,
    grade,
    lineage,
    models,
    policy,
    queue,
    recipes,
    review,
    rl,
    serve,
    setup,
    studies,
)

app = typer.Typer(
    name="bloomery",
    help="Build your own foundation model from a stage checkpoint, and prove what was gained and what was forgotten.",
    epilog="Start with: bloomery init my-project · bloomery explain demo · bloomery run demo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (recipes, advise, studies, models, serve, lineage, setup):
    group.add_to(app)
app.add_typer(families.app, name="families")
app.add_typer(grade.app, name="grade")
app.add_typer(policy.app, name="policy")
queue.add_to(review.app)
app.add_typer(review.app, name="review")
app.add_typer(rl.app, name="rl")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bloomery {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options before the verb."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `bloomery` command: runs a verb and exits with its status.

    An error of ours is printed as one paragraph, without a traceback; anything else is a bug and keeps it.
    """
    from bloomery.launch.local import leave, run_here

    def job() -> int:
        app(args=None if arguments is None else list(arguments), prog_name="bloomery")
        return 0

    leave(run_here(job))
