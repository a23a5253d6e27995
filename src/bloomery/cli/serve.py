"""The verb `serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(serve)


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, FAMILY/STAGE, or FAMILY.")],
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need BLOOMERY_TOKEN.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    name: Annotated[str | None, typer.Option(help="What requests call the model.")] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PLACE", help="A LoRA run or peft folder, asked by its name.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file: what is blocked, masked, reviewed.")] = None,
    log: Annotated[Path | None, typer.Option(help="File for decisions of the policy, JSON lines.")] = None,
    running: Annotated[int, typer.Option(help="Answers worked on at once.", min=1)] = 64,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more are refused with 429.", min=1)] = 256,
    patience: Annotated[float, typer.Option(help="Seconds a request waits for its turn before 429.", min=0.0)] = 0.5,
    memory: Annotated[str | None, typer.Option(help="Memory for keys and values, such as 2GB.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Host name by which the server may be called.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Origin of web pages that may call it.")] = None,
    batch: Annotated[Path | None, typer.Option(help="Answer the requests of this file and stop.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the batch's answers; goes on where it stopped.")] = None,
) -> None:
    """Serve a model behind an OpenAI-compatible endpoint, or answer a file of requests.

    The token is BLOOMERY_TOKEN, or made and printed once. BLOOMERY_ADMIN_TOKEN opens /admin/models/swap.

    \b
    bloomery serve ember
    bloomery serve runs/demo --adapter legal=runs/lora --policy policy.yaml
    bloomery serve ember --batch requests.jsonl --out answers.jsonl
    """
    from bloomery.core.errors import InputError
    from bloomery.recipes.serving import Serving, answer_batch
    from bloomery.recipes.serving import serve as run
    from bloomery.serve.limits import Limits

    if (batch is None) != (out is None):
        raise InputError("--batch and --out go together", fix="name the file of requests and the one for answers")
    limits = Limits(running=running, queue=queue, patience=patience)
    asked = Serving(
        model,
        name,
        _pairs(adapter or []),
        policy,
        log,
        _bytes(memory),
        host,
        port,
        allow_host or (),
        allow_origin or (),
    )
    if batch is not None and out is not None:
        with _progress() as told:
            counted = answer_batch(asked, limits, batch, out, told)
        typer.echo(f"{counted.done:,} of {counted.lines:,} answered, {counted.failed:,} of them refused: {out}")
        return
    run(asked, limits, typer.echo)


def _pairs(given: list[str]) -> dict[str, str]:
    from bloomery.core.errors import InputError

    found: dict[str, str] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not name or not place:
            raise InputError(f"`--adapter {text}` names no folder", fix="write --adapter NAME=PLACE")
        if name in found:
            raise InputError(f"`--adapter {name}=...` stands twice", fix="give each its own name")
        found[name] = place
    return found


def _bytes(text: str | None) -> int | None:
    from bloomery.core.quantity import parse_bytes

    return None if text is None else parse_bytes(text)


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on standard error that follows a batch."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("batch", total=None)
        yield lambda counted: bar.update(task, completed=counted.done, total=counted.lines)
