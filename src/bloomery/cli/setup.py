"""Verbs around the work: doctor, tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, print_json, print_table


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    for verb in (doctor, tokenizer):
        app.command()(verb)


def doctor(json: Json = False) -> None:
    """Find what would stop or slow runs here.

    Each finding comes with its one-line fix.

    \b
    bloomery doctor
    """
    from dataclasses import asdict

    from bloomery.doctor import diagnose

    found = diagnose()
    if json:
        print_json([asdict(finding) for finding in found])
    else:
        rows = [[finding.level, finding.what, finding.fix] for finding in found]
        print_table(["", "found", "fix"], rows, "nothing found: this machine is ready")
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(2)


def tokenizer(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Text: files, folders or globs.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")],
    vocabulary: Annotated[int, typer.Option(help="Entries, special tokens included.", min=300)] = 4096,
    context: Annotated[int, typer.Option(help="Context length noted in its configuration.", min=8)] = 1024,
) -> None:
    """Train a byte-level BPE tokenizer on your text.

    \b
    bloomery tokenizer "corpus/*.txt" --to my-tokenizer --vocabulary 8192
    """
    from bloomery.recipes.words import make_tokenizer

    typer.echo(f"wrote {make_tokenizer(data, to, vocabulary, context)}")
