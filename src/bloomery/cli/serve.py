"""The verb `serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bloomery.serve.limits import PATIENCE, QUEUE, RUNNING

if TYPE_CHECKING:
    from bloomery.serve.batch import Counted

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, FAMILY/STAGE, or FAMILY.")]
Host = Annotated[str, typer.Option(help="Address to listen on; others than loopback need BLOOMERY_TOKEN.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
Name = Annotated[str | None, typer.Option(help="What requests call the model.")]
Adapters = Annotated[
    list[str] | None, typer.Option(metavar="NAME=PLACE", help="A LoRA run or peft folder, asked by its name.")
]
Policy = Annotated[Path | None, typer.Option(help="Policy file: what is blocked, masked, reviewed beyond the floor.")]
Log = Annotated[Path | None, typer.Option(help="File for decisions of policy and floor, JSON lines.")]
Running = Annotated[int, typer.Option(help="Answers worked on at once.", min=1)]
Queue = Annotated[int, typer.Option(help="Requests that may wait; more are refused with 429.", min=1)]
Patience = Annotated[float, typer.Option(help="Seconds a request waits before 429; not in a batch.", min=0.0)]
Memory = Annotated[str | None, typer.Option(help="Memory for keys and values, such as 2GB.")]
Hosts = Annotated[list[str] | None, typer.Option(help="Host name by which the server may be called.")]
Origins = Annotated[list[str] | None, typer.Option(help="Origin of web pages that may call it.")]
Batch = Annotated[Path | None, typer.Option(help="Answer the requests of this file and stop.")]
Out = Annotated[Path | None, typer.Option(help="File for the batch's answers; goes on where it stopped.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(serve)


def serve(
    model: Model,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Name = None,
    adapter: Adapters = None,
    policy: Policy = None,
    log: Log = None,
    running: Running = RUNNING,
    queue: Queue = QUEUE,
    patience: Patience = PATIENCE,
    memory: Memory = None,
    allow_host: Hosts = None,
    allow_origin: Origins = None,
    batch: Batch = None,
    out: Out = None,
) -> None:
    """Serve a model behind an OpenAI-compatible endpoint, or answer a file of requests.

    The token is BLOOMERY_TOKEN, or in the file BLOOMERY_TOKEN_FILE, or made and printed once. BLOOMERY_ADMIN_TOKEN,
    or a file's, opens /admin/models/swap.

    \b
    bloomery serve ember
    bloomery serve runs/demo --adapter legal=runs/lora --policy policy.yaml
    bloomery serve ember --batch requests.jsonl --out answers.jsonl

    \b
    Exit status of a batch: 1 where every request was refused.
    """
    from bloomery.recipes.serving import Serving
    from bloomery.serve.limits import Limits

    hosts, origins = allow_host or (), allow_origin or ()
    room = _bytes(memory)
    asked = Serving(model, name, _pairs(adapter or []), policy, log, room, host, port, hosts, origins)
    _run(asked, Limits(running=running, queue=queue, patience=patience), batch, out)


def _run(asked: Any, limits: Any, batch: Path | None, out: Path | None) -> None:
    """The endpoint, or the batch where there is one."""
    from bloomery.core.errors import InputError
    from bloomery.recipes.serving import answer_batch, serve

    if batch is None and out is None:
        serve(asked, limits, typer.echo)
        return
    if batch is None or out is None:
        raise InputError("--batch and --out go together", fix="name the file of requests and the one for answers")
    with _progress() as told:
        counted = answer_batch(asked, limits, batch, out, told)
    typer.echo(f"{counted.done:,} of {counted.lines:,} answered, {counted.failed:,} of them refused: {out}")
    if counted.failed == counted.lines:
        raise typer.Exit(1)


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
    """A bar on standard error that follows a batch, from its first word on: errors in the input come before it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("batch", total=None)
    with ExitStack() as shown:

        def told(counted: Counted) -> None:
            if not bar.live.is_started:
                shown.enter_context(bar)
            bar.update(task, completed=counted.done, total=counted.lines)

        yield told
