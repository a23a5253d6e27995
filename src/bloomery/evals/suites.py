"""A suite: rows, how they are scored, and what the score stands for in a report. Plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bloomery.core.errors import InputError, Where, nearest

Kind = Literal["bpb", "choice", "generate", "preference", "judged"]
Group = Literal["domain", "general", "skills", "instruction", "refusal", "over_refusal"]
Row = Mapping[str, Any]

NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "bpb": (("text",), ("messages",), ("prompt", "response")),
    "choice": (("prompt", "choices", "answer"),),
    "generate": (("prompt",), ("messages",)),
    "preference": (("prompt", "chosen", "rejected"),),
    "judged": (("prompt", "chosen"), ("prompt", "rejected")),
}
"""Kind -> sets of keys, one of which every row must have."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Rows scored one way. Raises `InputError` for a kind, group or grader that cannot be."""

    name: str
    kind: Kind
    """`bpb`: bits per byte of text or of the last answer; `choice`: by log-likelihood; `generate`: graded answers;
    `preference`: whether the better of two conversations is likelier, after the first `prompt` messages; `judged`:
    whether a good one (`chosen`) is of the likelier half, and a bad one (`rejected`) of the other."""
    rows: Sequence[Row] | Path
    """Rows, or a JSONL file of them. A row's `skill`, where it has one, splits the suite's figures."""
    group: Group
    grader: Mapping[str, Any] | None = None
    """Spec of the grader, for `generate`."""
    max_new_tokens: int = 64
    render: Literal["auto", "chat", "plain"] = "auto"
    """`plain` shows the prompt and a line end; `auto` uses the chat template where the tokenizer has one."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, beside the model's own end tokens."""
    temperature: float = 0.0
    limit: int | None = None
    """Most rows used, the first ones."""

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))
        _one_of("group", self.group, get_args(Group))
        _one_of("render", self.render, ("auto", "chat", "plain"))
        if (self.kind == "generate") != (self.grader is not None):
            raise InputError(
                f"the suite `{self.name}`: `grader` belongs to `kind: generate`, and is needed there",
                fix="add or remove `grader`",
            )

    def load_rows(self) -> list[Row]:
        """The rows, each with what its kind needs. Raises `InputError` naming the first one that is broken."""
        where = self.rows if isinstance(self.rows, Path) else None
        rows = read_jsonl(self.rows) if isinstance(self.rows, Path) else list(self.rows)
        if not rows:
            raise InputError(f"the suite `{self.name}` has no rows", where=Where(where) if where else None)
        for line, row in enumerate(rows, 1):
            if not any(all(row.get(key) is not None for key in keys) for keys in NEEDS[self.kind]):
                wanted = " or ".join(" and ".join(f"`{key}`" for key in keys) for keys in NEEDS[self.kind])
                raise InputError(
                    f"row {line} of the suite `{self.name}` has no {wanted}",
                    where=Where(where, line) if where else None,
                )
        return rows[: self.limit]


def read_jsonl(path: Path) -> list[Row]:
    """One JSON object a line. Raises `InputError` with the line that is none."""
    if not path.is_file():
        raise InputError("is not a file", where=Where(path))
    rows: list[Row] = []
    with open(path, "rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                row = json.loads(raw) if raw.strip() else None
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise InputError(f"is not JSON: {error}", where=Where(path, line)) from None
            if row is not None and not isinstance(row, dict):
                raise InputError("is not a JSON object", where=Where(path, line))
            rows += [row] if row is not None else []
    return rows


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"`{key}: {value}` of a suite is unknown{nearest(str(value), known)}", fix=f"change `{key}`")
