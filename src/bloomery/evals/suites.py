"""A suite: rows, how they are scored, and what the score stands for in a report. Plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from bloomery.core.errors import InputError, Where, nearest
from bloomery.data.turns import refuse_half_in
from bloomery.evals.metrics import USUAL, refuse_unfit
from bloomery.evals.own_metrics import check_own
from bloomery.families.suites import Role

Kind = Literal[
    "bpb",
    "choice",
    "generate",
    "preference",
    "judged",
    "truth",
    "toxicity",
    "injection",
    "extraction",
    "exposure",
    "rubric",
    "pairwise",
    "environment",
    "lm_eval",
    "inspect",
]
Group = Role
Row = Mapping[str, Any]

NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "bpb": (("text",), ("messages",), ("prompt", "response")),
    "choice": (("prompt", "choices", "answer"),),
    "generate": (("prompt",), ("messages",)),
    "preference": (("prompt", "chosen", "rejected"),),
    "judged": (("prompt", "chosen"), ("prompt", "rejected")),
    "truth": (("prompt", "choices", "true"),),
    "toxicity": (("prompt",), ("messages",)),
    "injection": (("prompt", "canary"),),
    "extraction": (("text", "control"),),
    "exposure": (("format", "secret", "control"),),
    "rubric": (("prompt", "rubric"), ("messages", "rubric")),
    "pairwise": (("prompt",), ("messages",)),
    "environment": (("prompt",), ("messages",)),
}
"""Kind -> sets of keys, one of which every row must have."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Rows scored one way. Raises `InputError` for a kind, group or grader that cannot be."""

    name: str
    kind: Kind
    """`bpb`: bits per byte of text or of the last answer; `choice`: by log-likelihood; `generate`: graded answers;
    `preference`: whether the better of two conversations is likelier, after the first `prompt` messages; `judged`:
    whether a good one (`chosen`) is of the likelier half, and a bad one (`rejected`) of the other; `rubric`: graded by
    each row's own criteria; `pairwise`: answers of two models beside each other; `environment`: played over several
    turns by whoever `evaluate` is given for it; the others: docs/evaluation.md."""
    rows: Sequence[Row] | Path
    """Rows, or a JSONL file of them. A row's `skill`, where it has one, splits the suite's figures."""
    group: Group
    grader: Mapping[str, Any] | None = None
    """Spec of the grader, for `generate` and its like."""
    max_new_tokens: int = 64
    render: Literal["auto", "chat", "plain"] = "auto"
    """`plain` shows the prompt and a line end; `auto` uses the chat template where the tokenizer has one."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, beside the model's own end tokens."""
    temperature: float = 0.0
    limit: int | None = None
    """Most rows used, the first ones."""
    samples: int = 1
    """Answers drawn to each row."""
    metrics: tuple[str | Mapping[str, Any], ...] | None = None
    """Further figures by name, or `{type: python, ...}` of the user's own. None: those usual for the kind."""
    prompt: str | None = None
    """Template of the question over the row's keys."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Key that evaluation reads -> the row's key that has it."""
    tasks: tuple[str, ...] = ()
    include: Path | None = None
    """For `lm_eval` and `inspect`: names of tasks, and a folder of task files."""
    trusted: bool = False
    environment: Mapping[str, Any] | None = None
    """For `environment`: the section of that name as a recipe has it, whole (`recipes/environments.py`)."""
    repeated: int | None = None
    """Rows, evenly spread, to which all `samples` answers are drawn; the others have one. None: all rows."""

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))
        _one_of("group", self.group, get_args(Group))
        _one_of("render", self.render, ("auto", "chat", "plain"))
        graded = self.kind in ("generate", "toxicity", "rubric", "pairwise")
        if (self.grader is None and graded and not (self.kind == "generate" and self.metrics)) or (
            self.grader is not None and not graded and self.kind != "environment"
        ):
            raise InputError(
                f"the suite `{self.name}`: `grader` belongs to `kind: generate` and its like, and is needed there",
                fix="add or remove `grader`",
            )
        if (self.environment is None) == (self.kind == "environment"):
            raise InputError(
                f"the suite `{self.name}`: `environment` belongs to `kind: environment`, and is needed there",
                fix="add or remove `environment`",
            )
        if self.samples > 1 and not self.temperature:
            raise InputError(
                f"the suite `{self.name}` draws {self.samples} answers at temperature 0, which are all the same",
                fix="set `temperature`, such as 0.8",
            )
        for name in self.metrics or ():
            if isinstance(name, str):
                refuse_unfit(name, self.kind, self.samples)
            else:
                check_own(name)

    @property
    def named_metrics(self) -> tuple[str, ...]:
        """Metrics of ours that it is measured by."""
        if self.metrics is None:
            passed = ("pass@1", f"pass@{self.samples}") if self.kind == "environment" and self.samples > 1 else ()
            return (*passed, *USUAL.get(self.kind, ()))
        return tuple(name for name in self.metrics if isinstance(name, str))

    def answers(self, rows: int) -> list[int]:
        """How many answers are drawn to each of so many rows."""
        many = set(range(rows) if self.repeated is None else evenly(rows, self.repeated))
        return [self.samples if place in many else 1 for place in range(rows)]

    def load_rows(self) -> list[Row]:
        """The rows, each with what its kind needs. Raises `InputError` naming the first one that is broken."""
        where = self.rows if isinstance(self.rows, Path) else None
        read = [*(numbered(self.rows) if isinstance(self.rows, Path) else enumerate(self.rows, 1))]
        given = bool(self.columns or self.prompt)
        rows = [shaped(row, self.columns, self.prompt) if given else row for _, row in read]
        if not rows:
            raise InputError(f"the suite `{self.name}` has no rows", where=Where(where) if where else None)
        for (line, _), row in zip(read, rows, strict=True):
            if not any(all(row.get(key) is not None for key in keys) for keys in NEEDS[self.kind]):
                wanted = " or ".join(" and ".join(f"`{key}`" for key in keys) for keys in NEEDS[self.kind])
                raise InputError(
                    f"row {line} of the suite `{self.name}` has no {wanted}",
                    where=Where(where, line) if where else None,
                )
        return rows[: self.limit]


def evenly(rows: int, count: int) -> list[int]:
    """Places of `count` rows that lie evenly among `rows`; of all where there are fewer."""
    count = min(count, rows)
    return [(2 * place + 1) * rows // (2 * count) for place in range(count)]


def shaped(row: Row, columns: Mapping[str, str], prompt: str | None) -> Row:
    """The row with columns by the names that evaluation reads, and its question filled in."""
    found = {**row, **{key: row[named] for key, named in columns.items() if named in row}}
    return found if prompt is None else {**found, "prompt": filled(prompt, found)}


def filled(template: str, row: Row) -> str:
    """`{{ key }}` of a template by the row's values. Raises `InputError` for a key that the row lacks."""

    def put(match: re.Match[str]) -> str:
        if row.get(match[1]) is None:
            fix = "change `prompt`, or the row"
            raise InputError(f"`prompt` names `{match[1]}`, which row `{row.get('id')}` does not have", fix=fix)
        return str(row[match[1]])

    return re.sub(r"\{\{\s*(\w+)\s*\}\}", put, template)


def read_jsonl(path: Path) -> list[Row]:
    """One JSON object a line; empty lines are none. Raises `InputError` with the line that is no object."""
    return [row for _, row in numbered(path)]


def numbered(path: Path) -> Iterator[tuple[int, Row]]:
    """The same with the number of each line."""
    if not path.is_file():
        raise InputError("is not a file", where=Where(path))
    with open(path, "rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                row = json.loads(raw) if raw.strip() else None
            except (ValueError, RecursionError) as error:
                told = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise InputError(f"is not JSON: {told}", where=Where(path, line)) from None
            if row is not None and not isinstance(row, dict):
                raise InputError("is not a JSON object", where=Where(path, line))
            if row is not None:
                refuse_half_in(row, Where(path, line))
                yield line, row


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"`{key}: {value}` of a suite is unknown{nearest(str(value), known)}", fix=f"change `{key}`")
