"""Prints rows as the model sees them: trained tokens marked, the others dim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bloomery.core.rows import TokenRow
from bloomery.data.blend import Blend
from bloomery.data.loader import rows_of
from bloomery.data.rows import RowTable
from bloomery.data.shapes import guess
from bloomery.data.vocabulary import load_tokenizer

TRAINED, REJECTED, MASKED, LONGEST = "bold green", "bold red", "dim", 2000
"""Styles, and the characters of a row that are printed."""

_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
"""Control characters as their pictures: data must not steer the terminal."""


def show_rows(rows: Iterable[TokenRow], tokenizer: Path, console: Console) -> None:
    """Print each row with its source, example and counts. Without colour, trained stretches stand in ⟦ ⟧.

    A row of a preference says in its title whether it is `chosen` or `rejected`; what is rejected is marked in red.
    """
    decode = load_tokenizer(tokenizer)
    marks = ("⟦", "⟧") if console.no_color or not console.color_system else ("", "")
    for row in rows:
        body, part, side = Text(overflow="fold"), learned(row), side_of(row)
        style = REJECTED if side == "rejected" else TRAINED
        for trained, ids in _stretches(row, part):
            text = decode.decode(ids, skip_special_tokens=False).translate(_VISIBLE)
            body.append(f"{marks[0]}{text}{marks[1]}" if trained else text, style if trained else MASKED)
        if len(body) > LONGEST:
            body = body[:LONGEST] + Text(f" ... {len(body) - LONGEST:,} more characters", "italic")
        named = " · ".join(filter(None, (row.source, row.example_id, side)))
        title = f"{named} · {row.trained(part):,} of {len(row):,} tokens trained"
        console.print(Panel(body, title=Text(title), title_align="left"))


def show_step(
    blend: Blend, tables: Mapping[str, RowTable], step: int, tokenizer: Path, console: Console, most: int | None = None
) -> None:
    """Print what each source gave to a step, and its rows (the first `most` of them)."""
    rows = [row for row in rows_of(blend.step(step), tables) if set(row.weight) != {"kl"}]
    total = sum(map(len, rows))
    table = Table("source", "rows", "tokens", "of the step", "trained", title=f"step {step}: {total:,} tokens")
    names = sorted({row.source for row in rows})
    for name in names:
        own = [row for row in rows if row.source == name]
        tokens = sum(map(len, own))
        trained = sum(row.trained(learned(row)) for row in own)
        table.add_row(Text(name), f"{len(own):,}", f"{tokens:,}", f"{tokens / total:.1%}", f"{trained:,}")
    console.print(Group(table))
    for line in filter(None, (guess(name, tables[name].store.columns) for name in names)):
        console.print(Text(line, MASKED))
    show_rows(rows[:most], tokenizer, console)


def learned(row: TokenRow) -> str:
    """The part of the loss that a row is there for."""
    return "pref" if "pref" in row.weight else "ce"


def side_of(row: TokenRow) -> str:
    """`chosen` or `rejected` for a row of a preference, else nothing."""
    weight = row.weight.get("pref")
    return "" if weight is None else "chosen" if weight.sum() > 0 else "rejected"


def _stretches(row: TokenRow, part: str) -> Iterable[tuple[bool, list[int]]]:
    weights = row.weight.get(part)
    start = 0
    flags = [bool(weight) for weight in weights] if weights is not None else [False] * len(row)
    for end in range(1, len(row) + 1):
        if end == len(row) or flags[end] != flags[start]:
            yield flags[start], row.ids[start:end].tolist()
            start = end
