"""Verbs of people at the review queue: next, label, work, disagree, stats, export, explain, audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bloomery.cli.output import Json, plain, print_json, print_table, refuse_over

if TYPE_CHECKING:
    from bloomery.review.queue import Lease, ReviewQueue

Queue = Annotated[Path, typer.Argument(metavar="QUEUE", help="The queue, one SQLite file.")]
Person = Annotated[str, typer.Option(help="Who answers.")]
Question = Annotated[str | None, typer.Option(help="Only items of this question.")]
Disagreed = Annotated[bool, typer.Option("--disagreed", help="What two people answered differently, for a third.")]
Seconds = Annotated[float, typer.Option("--lease", help="Seconds that the item is kept for you.", min=1)]


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command("next")(take)
    for verb in (label, work, disagree, stats, export, explain, audit):
        app.command()(verb)


def take(
    queue: Queue,
    person: Person,
    question: Question = None,
    disagreed: Disagreed = False,
    lease: Seconds = 900,
) -> None:
    """Take the most valuable item, as JSON; it is kept for you until the lease ends.

    \b
    bloomery review next queue.sqlite --person ann
    """
    found = _open(queue).next(person, question=question, disagreed=disagreed, lease=lease)
    print_json(_told(found) if found else None)


def label(
    queue: Queue,
    fence: Annotated[int, typer.Argument(help="Number of the lease, as `next` gave it.")],
    answer: Annotated[str, typer.Argument(metavar="LABEL", help="One of the item's labels.")],
    note: Annotated[str, typer.Option(help="Why, for the trail.")] = "",
) -> None:
    """Answer a leased item.

    \b
    bloomery review label queue.sqlite 17 yes --note "names a person"
    """
    typer.echo(_open(queue).label(fence, answer, note))


def work(queue: Queue, person: Person, question: Question = None, disagreed: Disagreed = False) -> None:
    """Answer items one after the other: a label or its number, `s` to skip, `q` to stop.

    \b
    bloomery review work queue.sqlite --person ann
    """
    here, done = _open(queue), 0
    skipped: set[tuple[str, str]] = set()
    while found := here.next(person, question=question, disagreed=disagreed, without=skipped):
        answer = _ask(found)
        if not answer:
            here.release(found.fence)
        if answer is None:
            break
        if answer == "":
            skipped.add((found.item.id, found.item.question))
            continue
        here.label(found.fence, answer)
        done += 1
    typer.echo(f"{done} answered")


def disagree(queue: Queue, json: Json = False) -> None:
    """List what two people answered differently.

    \b
    bloomery review disagree queue.sqlite
    """
    found = _open(queue).disagreements()
    if json:
        print_json([{"id": item.id, "question": item.question, "votes": votes} for item, votes in found])
        return
    rows = [[i.id, i.question, ", ".join(f"{who}: {said}" for who, said in v.items())] for i, v in found]
    print_table(["id", "question", "votes"], rows, "nobody disagrees")


def stats(queue: Queue) -> None:
    """Count items by question and state, leases, votes and agreement.

    \b
    bloomery review stats queue.sqlite
    """
    print_json(_open(queue).stats())


def export(
    queue: Queue,
    spec: Annotated[Path, typer.Argument(metavar="CLASSIFIER", help="The classifier file it was filled with.")],
    out: Annotated[Path, typer.Option(help="JSON lines to write.")],
    kind: Annotated[str, typer.Option("--as", help="sft, preference or rl.")] = "sft",
) -> None:
    """Write what was decided as rows for the next run.

    \b
    bloomery review export queue.sqlite moderation.yaml --as sft --out decided.jsonl
    """
    import json

    from bloomery.core.files import write_text
    from bloomery.review.export import export_rows
    from bloomery.review.spec import load_spec

    refuse_over(out, queue, spec)
    rows = export_rows(load_spec(spec), _open(queue).decided(), kind)
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), mode=0o600)
    typer.echo(f"{len(rows):,} rows in {out}")


def explain(
    queue: Queue,
    row: Annotated[str, typer.Argument(metavar="ROW", help="The `id` of an exported row, ID:QUESTION.")],
    json: Json = False,
) -> None:
    """Say where the answer of an exported row comes from: what the model held, who was asked, what each said and when.

    \b
    bloomery review explain queue.sqlite c1:threat
    """
    from bloomery.cli.output import finish
    from bloomery.review.history import history

    finish(history(_open(queue), row), json)


def audit(
    queue: Queue,
    head: Annotated[str | None, typer.Option(help="A head noted earlier, which must be in the trail.")] = None,
    acts: Annotated[bool, typer.Option("--acts", help="Print every act.")] = False,
) -> None:
    """Check the trail, and print its head: note it elsewhere, and a trail cut short or written anew is found later.

    \b
    bloomery review audit queue.sqlite --head 3f1c...
    """
    here = _open(queue)
    count, last = here.audit(head)
    for act in here.acts() if acts else ():
        print_json(act)
    typer.echo(f"{count:,} acts, head {last}")


def _open(path: Path) -> ReviewQueue:
    from bloomery.core.errors import InputError, Where
    from bloomery.review.queue import ReviewQueue

    if not path.is_file():
        raise InputError("there is no such queue", where=Where(path), fix="fill one: bloomery review add")
    return ReviewQueue(path)


def _told(found: Lease) -> dict[str, Any]:
    item = found.item
    told = {"fence": found.fence, "ends": found.ends, "id": item.id, "question": item.question, "row": item.row}
    return told | {"labels": item.labels, "scores": item.scores, "votes": found.votes}


def _ask(found: Lease) -> str | None:
    """A label, "" to skip, None to stop. The model's own word is not shown: who sees it follows it."""
    item = found.item
    for name, value in item.row.items():
        typer.echo(f"{name}: {plain(str(value))}" if name != "labels" else "", nl=name != "labels")
    choices = "  ".join(f"{number} {name}" for number, name in enumerate(item.labels, 1))
    while True:
        said = typer.prompt(f"{item.question}?  {choices}  s skip  q stop").strip()
        if said in ("q", "s"):
            return None if said == "q" else ""
        if said in item.labels:
            return str(said)
        if said.isdigit() and 1 <= int(said) <= len(item.labels):
            return item.labels[int(said) - 1]
