"""Verbs around the work: doctor, tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, finish, print_json, print_table


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
    corpus: Annotated[list[str], typer.Argument(metavar="CORPUS...", help="Text: files, folders or globs.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write; it must not exist.")],
    vocab: Annotated[str, typer.Option(help="Entries, special tokens included, such as 32k.")] = "4096",
    context: Annotated[int, typer.Option(help="Context length noted in its configuration.", min=8)] = 1024,
    json: Json = False,
) -> None:
    """Train a byte-level BPE tokenizer on your text.

    The chat template and the tokens that end a text and a turn are ember's. Prints the bytes that a token holds on
    text that was held out.

    \b
    bloomery tokenizer "corpus/*.txt" rows.jsonl my-tokenizer --vocab 8k
    """
    from sys import stderr

    from bloomery.core.quantity import parse_budget
    from bloomery.recipes.words import make_tokenizer

    entries = round(parse_budget(f"{vocab} tokens", "--vocab").value)
    finish(make_tokenizer(corpus, folder, entries, context, progress=not json and stderr.isatty()), json)
