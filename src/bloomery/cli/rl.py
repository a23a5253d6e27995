"""Verbs about reinforcement learning: tasks, show, report, check."""

from __future__ import annotations

from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bloomery.cli.output import Json, print_json, print_table

app = typer.Typer(help="Look at rollouts, and try what sends rewards.", no_args_is_help=True, rich_markup_mode=None)
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")]
Sort = Literal["reward", "-reward", "length", "-length", "advantage", "-advantage"]


@app.command()
def show(
    run: Run,
    step: Annotated[int | None, typer.Option(min=0, help="Which step. Default: the last.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rollouts are shown.")] = 16,
    group: Annotated[str | None, typer.Option(help="Only those of one task, whole: messages and parts.")] = None,
    why: Annotated[str | None, typer.Option(help="Only those used or dropped so, such as trained, unscorable.")] = None,
    sort: Annotated[Sort | None, typer.Option(help="Least first; with a minus most first.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also each token with its log-probability.")] = False,
    json: Json = False,
) -> None:
    """Show what was sampled in a step: answers, rewards, advantages, and why a rollout was used or not.

    \b
    bloomery rl show my-run --step 12
    bloomery rl show my-run --sort=-reward --why trained
    bloomery rl show my-run --group task-7
    """
    from bloomery.rl.log import RolloutLog

    log = RolloutLog(_folder(run))
    steps = log.steps()
    every = list(log.read(steps[-1] if step is None and steps else step or 0))
    chosen = [one for one in every if group in (None, one["task"], one["group"]) and (why or "") in one["why"]]
    found = _sorted(chosen, sort)[:rows]
    if json:
        print_json({"steps": steps, "rollouts": found})
        return
    print_table(
        ["task", "reward", "advantage", "tokens", "used", "answer"],
        [_line(one) for one in found],
        _none(every),
    )
    for one in found if group else ():
        typer.echo(_whole(one))
    if tokens:
        for one in found:
            typer.echo(f"{one['task']} {one['number']}: " + _tokens(one))


@app.command()
def report(run: Run) -> None:
    """Draw the course of a run so far into its `rollouts.html`: rewards and their parts, KL, entropy, length, time.

    \b
    bloomery rl report my-run
    """
    from bloomery.recipes.rewarding import draw_rollouts

    typer.echo(str(draw_rollouts(_folder(run))))


@app.command()
def check(
    url: Annotated[str | None, typer.Argument(metavar="URL", help="A reward endpoint, or a rollout server.")] = None,
    serve: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Deal tasks to whoever claims them.")] = None,
    rollouts: Annotated[bool, typer.Option("--rollouts", help="URL takes `POST /rollout`.")] = False,
    gateway: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it calls back.")] = "127.0.0.1:8100",
    rows: Annotated[Path | None, typer.Option(help="Tasks, or answered rows, as JSON lines. Default: one sum.")] = None,
    answers: Annotated[Path | None, typer.Option(help="What the toy model says, a line each.")] = None,
    reply: Annotated[str, typer.Option("--format", help="What a reward endpoint answers: see `endpoint`.")] = "nova",
    token: Annotated[str | None, typer.Option(metavar="NAME", help="Variable with the bearer token of URL.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Longest for all of it, or for one reward.")] = 120.0,
    json: Json = False,
) -> None:
    """Try a reward endpoint or an orchestrator before a run depends on it.

    A toy gateway deals tasks in which replies are lost, the gateway is busy, the rollout is ended or its lease is over.
    Status 0: every law held that could be seen; 1: one was broken; 2: nothing could be seen.

    \b
    bloomery rl check http://127.0.0.1:9000/reward
    bloomery rl check http://127.0.0.1:8200 --rollouts
    bloomery rl check --serve 127.0.0.1:8100
    """
    from bloomery.rl.laws import exit_status
    from bloomery.rl.trying import Trial

    trial = Trial(url, serve, rollouts, gateway, rows, answers, reply, token, seconds)
    laws = trial.laws(lambda text: typer.echo(text, err=True))
    if json:
        print_json([law.to_json() for law in laws])
    else:
        print_table(["", "law", "seen"], [law.row() for law in laws], "nothing")
    if status := exit_status(laws):
        raise typer.Exit(status)


@app.command()
def tasks(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe with `rollouts.environment`.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 500,
    out: Annotated[Path | None, typer.Option(help="The file. Default: standard output.")] = None,
) -> None:
    """Write the tasks that a recipe's environment has as rows, a line each.

    \b
    bloomery rl tasks recipe.yaml --rows 500 --out tasks.jsonl
    """
    from bloomery.core.files import write_text
    from bloomery.recipes.environments import tasks_in
    from bloomery.recipes.load import load_recipe

    found = tasks_in(load_recipe(recipe, overrides or ()), rows)
    lines = "".join(dumps(row, ensure_ascii=False) + "\n" for row in found)
    if out is None:
        typer.echo(lines, nl=False)
        return
    write_text(out, lines)
    typer.echo(f"{out}: {len(found)} tasks", err=True)


def _none(every: list[dict[str, Any]]) -> str:
    """That no rollout of a step is as asked, and what there is."""
    if not every:
        return "none"
    tasks = sorted({one["task"] for one in every})
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    uses = "; ".join(sorted({one["why"] for one in every}))
    return f"none of {len(every)} rollouts of this step is so\ntasks: {', '.join(tasks[:NAMED])}{more}\nused: {uses}"


def _folder(run: str) -> Path:
    from bloomery.lineage.rundir import RunFolder
    from bloomery.recipes.start import RUNS

    return RunFolder.open(next((path for path in (RUNS / run, Path(run)) if path.is_dir()), RUNS / run)).path


NAMED = 3
"""Tasks that are named where none is as asked."""
SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "reward": lambda one: one["reward"],
    "length": lambda one: sum(len(turn["ids"]) for turn in one["turns"]),
    "advantage": lambda one: one["advantage"],
}


def _sorted(found: list[dict[str, Any]], by: str | None) -> list[dict[str, Any]]:
    """In the order asked for; what has no such value comes last."""
    if by is None:
        return found
    value = SORTS[by.lstrip("-")]
    known = sorted((one for one in found if value(one) is not None), key=value, reverse=by.startswith("-"))
    return known + [one for one in found if value(one) is None]


def _whole(one: dict[str, Any]) -> str:
    """A rollout with all that was said, and what its reward is made of."""
    reward = "none" if one["reward"] is None else f"{one['reward']:.4g}"
    parts = "".join(f", {name} {value:.4g}" for name, value in one["components"].items())
    parts += f", {one['penalty']:.4g} for its length" if "penalty" in one else ""
    lines = [f"\n--- {one['task']} {one['number']}: reward {reward}{parts}; {one['why']}"]
    for turn in one["turns"]:
        said = [*turn["added"], turn["reply"]]
        lines += [f"{message.get('role')}: {_text(message)}" for message in said]
    return "\n".join(lines)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    called = f" {message['tool_calls']}" if message.get("tool_calls") else ""
    text = content if isinstance(content, str) else "" if content is None else str(content)
    return "\n".join(_plain(line) for line in f"{text}{called}".split("\n"))


def _line(one: dict[str, Any]) -> list[str]:
    reward = "none" if one["reward"] is None else f"{one['reward']:.3g}"
    answer = " ⏎ ".join(one["answer"].split("\n"))
    return [
        one["task"],
        reward,
        f"{one['advantage']:+.3f}",
        str(sum(len(turn["ids"]) for turn in one["turns"])),
        one["why"],
        _plain(answer)[:100],
    ]


def _tokens(one: dict[str, Any]) -> str:
    told = [pair for turn in one["turns"] for pair in zip(turn["ids"], turn["logp"], strict=True)]
    return " ".join(f"{token}({logp:.2f})" for token, logp in told)


def _plain(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)
