"""Verbs about graders: validate, run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bloomery.cli.output import Json, print_json, print_table, refuse_over

if TYPE_CHECKING:
    from bloomery.graders.payload import Grader, Score

File = Annotated[Path, typer.Argument(metavar="GRADER", help="A grader's YAML, or an OpenAI grader's JSON.")]
Rows = Annotated[Path, typer.Option(help="JSON lines: messages or prompt and response, reference_answer, metadata.")]

app = typer.Typer(help="Try a grader on rows, and score answers with it.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def validate(
    grader: File,
    rows: Rows,
    limit: Annotated[int, typer.Option(min=1, help="How many rows are tried.")] = 100,
    json: Json = False,
) -> None:
    """Try a grader before anything depends on it.

    Prints each row's score or why it has none, and whether the rows' reference answers get full marks. Status 2 where
    they do not, or nothing got a score.

    \b
    bloomery grade validate grader.yaml --rows sample.jsonl
    """
    from bloomery.graders.dry_run import dry_run
    from bloomery.graders.rows import read_samples

    spec, made = _load(grader)
    samples, answered = read_samples(rows)
    result = dry_run(made, samples[:limit], answered[:limit], spec)
    if json:
        print_json(result.to_json())
    else:
        table = [
            [row.id, _shown(row.own), _shown(row.reference), row.problem or _reason(row.own)] for row in result.rows
        ]
        print_table(["row", "answer", "reference", "reason"], table, "no rows")
        kind = "checked" if result.verified else "judged"
        count = len(result.scored)
        typer.echo(f"{made.name}: {kind}; {result.unscorable:.0%} of {count} answers have no score")
    if not result.fine:
        raise typer.Exit(2)


@app.command()
def run(
    grader: File,
    rows: Rows,
    out: Annotated[Path | None, typer.Option(help="Where the scores go, one JSON object a line.")] = None,
    json: Json = False,
) -> None:
    """Score the answers of a file.

    Rows without a score stay in the result, with the reason; they are in no mean.

    \b
    bloomery grade run grader.yaml --rows answers.jsonl --out scores.jsonl
    """
    from json import dumps

    from bloomery.core.files import write_text
    from bloomery.graders.rows import read_samples

    refuse_over(out, grader, rows)
    _, made = _load(grader)
    samples, answered = read_samples(rows)
    asked = [sample for sample, has in zip(samples, answered, strict=True) if has]
    scores = made.grade(asked)
    if out is not None:
        write_text(out, "".join(dumps(score.payload(), ensure_ascii=False) + "\n" for score in scores), 0o600)
    known = [score.aggregate_reward_score for score in scores if score.aggregate_reward_score is not None]
    summary: dict[str, Any] = {
        "grader": made.name,
        "verified": made.verified,
        "rows": len(samples),
        "without an answer": len(samples) - len(asked),
        "unscorable": len(scores) - len(known),
        "mean": sum(known) / len(known) if known else None,
    }
    if json:
        print_json(summary | {"scores": [score.payload() for score in scores]})
    else:
        typer.echo("\n".join(f"{name}: {value}" for name, value in summary.items()))


def _load(path: Path) -> tuple[dict[str, Any], Grader]:
    """A grader and what its file says; its relative paths count from the file, judges are loaded when asked."""
    from bloomery.core.errors import BloomeryError, InputError, Where
    from bloomery.core.yaml import load_yaml
    from bloomery.graders.load import load_grader
    from bloomery.graders.nested import walk
    from bloomery.recipes.judges import Judges, refuse_judge
    from bloomery.recipes.proof_sections import whole_grader

    spec, _ = load_yaml(path)
    if not isinstance(spec, dict):
        raise InputError("is no grader", where=Where(path), fix="write `type: ...` and the grader's keys")
    try:
        whole = whole_grader(spec, path.parent, trusted=False)
        grader = load_grader(whole, given=Judges().given())
        for _, part in walk(whole):
            refuse_judge(part)
        return spec, grader
    except BloomeryError as error:
        raise InputError(error.message, where=error.where or Where(path), fix=error.fix) from None


def _shown(score: Score | None) -> str:
    if score is None:
        return ""
    return "none" if score.aggregate_reward_score is None else f"{score.aggregate_reward_score:.3g}"


def _reason(score: Score | None) -> str:
    return "" if score is None else score.reason
