"""Verbs about confidence and the people who are asked: review fit, score, report, compare, and the queue's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli.models import Model
from bloomery.cli.output import Json, finish, refuse_over

if TYPE_CHECKING:
    from bloomery.review.calibration import Calibration
    from bloomery.review.spec import ClassifierSpec

app = typer.Typer(
    help="Know how sure a model is, and let people decide where it is not.", no_args_is_help=True, rich_markup_mode=None
)

Spec = Annotated[Path, typer.Argument(metavar="CLASSIFIER", help="A classifier file: prompt, questions, labels.")]
Rows = Annotated[Path, typer.Option(help="Rows with the columns that the classifier shows.")]
Labelled = Annotated[Path, typer.Option(help="Rows with `labels`: {QUESTION: LABEL}, which no training saw.")]
Fitted = Annotated[Path, typer.Option("--calibration", help="The file that `review fit` wrote.")]


@app.command()
def fit(
    spec: Spec,
    model: Model,
    rows: Labelled,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("calibration.json"),
) -> None:
    """Calibrate a classifier on held-out answers: temperature, conformal sets, thresholds.

    \b
    bloomery review fit moderation.yaml my-run --rows calibration.jsonl
    """
    from bloomery.studies.classifying import fit as calibrated

    refuse_over(out, spec, rows)
    found = calibrated(_read(spec), model, rows)
    found.save(out)
    for name, one in found.questions.items():
        kept = ", ".join(f"{float(risk):.0%} from {least:.3f}" for risk, least in one.thresholds.items())
        typer.echo(f"{name}: {one.scaling.told} on {one.answers:,} answers; risk {kept or 'of no size can be kept'}")
    typer.echo(f"wrote {out}", err=True)


@app.command()
def score(
    spec: Spec,
    model: Model,
    rows: Rows,
    calibration: Fitted = Path("calibration.json"),
    out: Annotated[Path | None, typer.Option(help="JSON lines to write. Default: standard output.")] = None,
) -> None:
    """Answer every question about every row, with probabilities and conformal sets.

    \b
    bloomery review score moderation.yaml my-run --rows comments.jsonl --out answers.jsonl
    """
    from bloomery.core.files import write_text
    from bloomery.studies import classifying

    refuse_over(out, spec, rows, calibration)
    read, opened = _read(spec), classifying.open_classifier(_read(spec), model)
    found = classifying.score(read, opened, _load(calibration, read, opened.sha256), classifying.read_rows(rows))
    if out:
        write_text(out, classifying.to_lines(found), mode=0o600)
        typer.echo(f"wrote {out}", err=True)
    else:
        typer.echo(classifying.to_lines(found), nl=False)


@app.command()
def report(
    spec: Spec,
    model: Model,
    rows: Labelled,
    calibration: Fitted = Path("calibration.json"),
    out: Annotated[Path | None, typer.Option(help="Folder for classifier.json and classifier.html.")] = None,
    json: Json = False,
) -> None:
    """Measure a calibrated classifier: reliability, ECE, Brier, AURC, risk at coverage, with intervals.

    \b
    bloomery review report moderation.yaml my-run --rows test.jsonl --out confidence
    """
    from bloomery.recipes.find import find_model
    from bloomery.studies import classifying

    read = _read(spec)
    fitted = _load(calibration, read, classifying.weights_hash(find_model(model).folder))
    found = classifying.report(read, model, fitted, rows)
    if out:
        found.write(out)
        typer.echo(f"wrote {out}", err=True)
    finish(found, json)


@app.command()
def compare(
    spec: Spec,
    one: Annotated[str, typer.Option(help="The model for all questions.")],
    each: Annotated[list[str], typer.Option(metavar="QUESTION=MODEL", help="The model of one question.")],
    fit_on: Annotated[Path, typer.Option(help="Rows with `labels` to calibrate both on.")],
    rows: Labelled,
    price: Annotated[float, typer.Option(min=0, help="What an hour of this machine costs.")] = 1.0,
    json: Json = False,
) -> None:
    """Compare one model for all questions with one model for each: quality, latency, cost, training.

    \b
    bloomery review compare two.yaml --one all --each toxic=t --each threat=u --fit-on cal.jsonl --rows test.jsonl
    """
    from bloomery.studies.classifying import compare as against

    pairs = dict(one_pair.partition("=")[::2] for one_pair in each)
    finish(against(_read(spec), one, pairs, fit_on, rows, price), json)


@app.command()
def loop(
    file: Annotated[
        str, typer.Argument(metavar="LOOP", help="A loop file (recipe, classifier, pool, rounds), or a shipped one.")
    ],
    changes: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes of the loop.")] = None,
    json: Json = False,
) -> None:
    """Train, score the pool, queue what a label is worth most for, take the answers, train again.

    Without an `oracle` column it stops where people are needed, and goes on when called again.

    \b
    bloomery review loop active
    bloomery review loop loop.yaml rounds=8 labels=100
    """
    from bloomery.studies.active import run_loop
    from bloomery.studies.active_file import read_loop

    finish(run_loop(read_loop(file, changes or []), say=lambda text: typer.echo(text, err=True)), json)


@app.command()
def add(
    queue: Annotated[Path, typer.Argument(metavar="QUEUE", help="The queue, one SQLite file; made where it is not.")],
    spec: Spec,
    model: Model,
    rows: Rows,
    calibration: Annotated[Path | None, typer.Option(help="The file that `review fit` wrote.")] = None,
    people: Annotated[int, typer.Option(help="How many answer an item: 1, or 2 with disagreements settled.")] = 1,
    most: Annotated[int | None, typer.Option(help="Only so many items, the most valuable.")] = None,
) -> None:
    """Score rows and queue them for people, the most valuable label first.

    \b
    bloomery review add queue.sqlite moderation.yaml my-run --rows comments.jsonl --calibration calibration.json
    """
    from bloomery.review.queue import ReviewQueue
    from bloomery.review.value import to_items
    from bloomery.studies import classifying

    read, opened = _read(spec), classifying.open_classifier(_read(spec), model)
    table = classifying.read_rows(rows)
    fitted = _load(calibration, read, opened.sha256) if calibration else None
    items = to_items(read, table, classifying.probabilities(read, opened, table, fitted))
    items = sorted(items, key=lambda item: -item.value)[:most]
    typer.echo(f"{ReviewQueue(queue).add(items, people):,} new items of {len(items):,}")


def _read(path: Path) -> ClassifierSpec:
    from bloomery.review.spec import load_spec

    return load_spec(path)


def _load(path: Path, spec: ClassifierSpec, sha256: str) -> Calibration:
    from bloomery.review.calibration import load_calibration

    return load_calibration(path, spec, sha256)
