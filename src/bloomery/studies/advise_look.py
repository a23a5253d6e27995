"""What data is: the kind of its rows, how many there are, how many tokens, how many twice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.data.builtin import BUILTINS
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.shapes import NAMES, PREFERENCES, Example, detect, to_example
from bloomery.data.sources import iter_records, source_files
from bloomery.data.turns import message, plain
from bloomery.families.rules import Kind
from bloomery.recipes.sample import is_remote, measured, sample_source

SAMPLED = 512
"""First rows of a source by which its kind is told."""

COUNTED = 32_000_000
"""Bytes of files up to which every token is counted; of more, the volume is estimated from the beginning."""

OFTEN = 0.1
"""Part of a source's rows with tool calls or thoughts that makes it a source of those: Olmo 3's mid-training mix had
14 % of traces and instructions."""

THOUGHT = re.compile(
    r"<think|<reasoning>|let's think|step by step|step 1\b|\btherefore\b.*\bso\b|<<[^>]+=|\n#### ", re.I
)
"""Marks of a chain of thought in an answer: think tags, the usual phrases, GSM8K's calculations and final line."""

DEMO = ("workflow-manual", "workflow-pairs")


@dataclass(frozen=True, slots=True)
class Looked:
    """One source: `spec` as a recipe names it, and what its rows are.

    `tokens` counts one epoch, `exact` where every row was tokenised; `twice` is the part of rows that repeat an earlier
    one, None where they were not all read.
    """

    spec: Mapping[str, Any]
    kind: Kind
    columns: str
    rows: int
    tokens: int
    exact: bool
    twice: float | None
    unnamed: tuple[str, ...] = ()
    """Columns of text that no role is guessed from, where there are only questions."""


@dataclass(frozen=True, slots=True)
class Look:
    """All sources together."""

    sources: tuple[Looked, ...]
    kind: Kind

    @property
    def rows(self) -> int:
        """Rows of all sources."""
        return sum(one.rows for one in self.sources)

    @property
    def tokens(self) -> int:
        """Tokens of all sources, one epoch."""
        return sum(one.tokens for one in self.sources)

    @property
    def exact(self) -> bool:
        """Whether all of them were counted."""
        return all(one.exact for one in self.sources)

    @property
    def twice(self) -> float | None:
        """Part of all rows that repeat an earlier one of their source; None where not all were read."""
        if any(one.twice is None for one in self.sources):
            return None
        return sum((one.twice or 0.0) * one.rows for one in self.sources) / max(1, self.rows)


def look_at(
    data: Sequence[str], tokenizer: str | None, template: str | None, columns: Mapping[str, str] | None = None
) -> Look:
    """Look at files, folders, globs, `builtin:NAME` and `demo`.

    `tokenizer` is a folder on this machine, None where it is not here: tokens are then a quarter of the characters.
    `columns` names columns by role, for every file. Rows that cannot be used are left out where others can be.
    Raises `InputError` for what is not there, is empty, or no run could read.
    """
    named = {"columns": dict(columns)} if columns else {}
    specs = [spec | (named if "path" in spec else {}) for word in data for spec in _specs(word)]
    if not specs:
        raise InputError("there is no data to look at", fix="name files, folders or globs")
    sources = tuple(_looked_at(spec, tokenizer, template) for spec in specs)
    return Look(sources, _together([one.kind for one in sources]))


def examples(spec: Mapping[str, Any], most: int | None = None) -> Iterator[Example]:
    """The first rows of a source, ready to render; questions without answers come as conversations of one turn."""
    source = SourceSpec.model_validate(dict(spec))
    columns = None
    for record in islice(iter_records(source, Path()), most):
        if columns is None and (source.columns or not _asks_only(record)):
            columns = detect(record, source)
        try:
            if columns is None:
                yield Example("", record.where, messages=_question(record))
            else:
                yield to_example(record, columns)
        except InputError:
            if source.bad_rows == "stop":
                raise


def _specs(word: str) -> list[dict[str, Any]]:
    if word == "demo":
        return [{"builtin": name} for name in DEMO]
    if word.startswith("builtin:"):
        return [{"builtin": word.removeprefix("builtin:")}]
    path = Path(word).expanduser()
    if "://" not in word and path.is_dir():
        files = source_files(SourceSpec(path=word), Path())
        tables = [file for file in files if _is_table(file)]
        texts = [{"path": word}] if len(tables) < len(files) and not tables else []
        loose = [{"path": str(file)} for file in files if file not in tables] if tables else []
        return [{"path": str(file)} for file in tables] + texts + loose
    return [{"path": word}]


def _is_table(file: Path) -> bool:
    from bloomery.data.paths import format_of

    return format_of(file) != "text"


def _looked_at(spec: dict[str, Any], tokenizer: str | None, template: str | None) -> Looked:
    """A source as it is, or without its bad rows where these are few."""
    try:
        return _looked(spec, tokenizer, template)
    except InputError as error:
        with contextlib.suppress(InputError):
            return _looked({**spec, "bad_rows": "skip"}, tokenizer, template)
        if error.fix and "`columns:" in error.fix:
            error.fix = f"{error.fix}; here by --columns ROLE=NAME"
        raise


def _looked(spec: dict[str, Any], tokenizer: str | None, template: str | None) -> Looked:
    source = SourceSpec.model_validate(spec)
    if is_remote(source):
        raise InputError(
            f"`{source.paths[0]}` lies on another machine",
            fix="advice is about data on this one: fetch it, or a part of it, and give that file",
        )
    if source.builtin and source.builtin not in BUILTINS:
        next(iter_records(source, Path()))
    first = list(examples(spec, SAMPLED))
    columns = _columns(source)
    if not columns:
        rows, characters = _size_of_questions(spec)
        others = _unnamed(source)
        return Looked(spec, "reward", "questions without answers", rows, round(characters / 4), False, None, others)
    kind = _kind_of(first, columns.partition(":")[0])
    if tokenizer and _bytes(source) <= COUNTED:
        return _counted(spec, source, kind, columns, tokenizer, template)
    sample = measured({"": sample_source(spec, Path())}, Path(tokenizer) if tokenizer else None)[""]
    return Looked(spec, kind, columns, round(sample.rows), round(sample.tokens), False, None)


def _counted(
    spec: dict[str, Any], source: SourceSpec, kind: Kind, columns: str, tokenizer: str, template: str | None
) -> Looked:
    """Every row tokenised, into the store that a run of these rows takes up again."""
    import numpy as np

    from bloomery.data.render import Renderer
    from bloomery.data.store import build_store
    from bloomery.recipes.counts import cache_dir

    text = Path(template).read_text(encoding="utf-8") if template else None
    store = build_store(source.label, source, Path(), Renderer(Path(tokenizer), text), cache_dir())
    if not store.n_docs:
        raise InputError(f"source `{source.label}` has no row that can be trained on", where=_where(source))
    twice = 1 - len(np.unique(store.digests)) / store.n_docs
    return Looked(spec, kind, columns, store.n_docs, store.n_tokens, True, twice)


def _columns(source: SourceSpec) -> str:
    """The shape and columns of a source as the first row has them; empty where its rows only ask."""
    record = next(iter_records(source, Path()))
    if not source.columns and _asks_only(record):
        return ""
    return str(detect(record, source))


def _asks_only(record: Record) -> bool:
    """Whether a row is a question that nobody answers, as a reward is given for."""
    fields = record.fields
    if turns := next((fields[name] for name in NAMES["messages"] if isinstance(fields.get(name), list)), None):
        last = turns[-1] if isinstance(turns[-1], Mapping) else {}
        return last.get("role", last.get("from")) in ("user", "human")
    answers = {name for role in ("output", "response", "text", "chosen") for name in NAMES[role]}
    return any(name in fields for name in NAMES["prompt"]) and not any(name in fields for name in answers)


BESIDE = frozenset({"reference_answer", "ground_truth", "data_source", "source", "category", "task", "difficulty"})
"""Columns beside a question that are about it, not its answer, as sets for rewards have them."""


def _unnamed(source: SourceSpec) -> tuple[str, ...]:
    fields = next(iter_records(source, Path())).fields
    known = {*NAMES["prompt"], *NAMES["id"], *NAMES["messages"], *NAMES["system"], *BESIDE}
    return tuple(name for name, value in fields.items() if isinstance(value, str) and name not in known)


def _question(record: Record) -> tuple[dict[str, Any], ...]:
    asked = next((record.fields[name] for name in NAMES["prompt"] if name in record.fields), None)
    if asked is None:
        asked = next(record.fields[name] for name in NAMES["messages"] if name in record.fields)
        asked = "\n".join(str(turn.get("content", turn.get("value", ""))) for turn in asked)
    return (message("user", str(asked)),)


def _size_of_questions(spec: Mapping[str, Any]) -> tuple[int, int]:
    rows = characters = 0
    for example in examples(spec):
        rows, characters = rows + 1, characters + len(text_of(example))
    return rows, characters


def _kind_of(rows: Sequence[Example], shape: str) -> Kind:
    """The kind of a source whose rows have this shape; tool calls and thoughts by how many rows have them."""
    if shape == "text":
        return "text"
    if shape in PREFERENCES:
        return "judged" if shape == "judged" else "preference"
    if sum(map(_calls, rows)) > OFTEN * len(rows):
        return "tools"
    return "reasoning" if sum(map(_thinks, rows)) > OFTEN * len(rows) else "sft"


def _calls(example: Example) -> bool:
    """Whether a conversation has tools, or speaks of their results."""
    return bool(example.tools) or any(turn.get("tool_calls") or turn["role"] == "tool" for turn in example.messages)


def _thinks(example: Example) -> bool:
    said = [turn for turn in example.messages if turn["role"] == "assistant"]
    return any(turn.get("reasoning_content") or THOUGHT.search(plain(turn["content"])) for turn in said)


def text_of(example: Example) -> str:
    """A row as plain text, its turns a line each: so every checkpoint reads it, with or without a chat template."""
    if example.text is not None:
        return example.text
    return "\n".join(plain(turn["content"]) for turn in (example.messages or example.rejected))


def _together(kinds: Sequence[Kind]) -> Kind:
    """The kind of several sources: judgements and preferences go before all else, text with anything else is mixed."""
    for kind in ("judged", "preference"):
        if kind in kinds:
            return kind
    trained: list[Kind] = [kind for kind in kinds if kind != "reward"] or ["reward"]
    if "text" in trained:
        return "text" if set(trained) == {"text"} else "mixed"
    for kind in ("tools", "reasoning", "sft"):
        if kind in trained:
            return kind
    return "reward"


def _bytes(source: SourceSpec) -> int:
    return 0 if source.builtin else sum(file.stat().st_size for file in source_files(source, Path()))


def _where(source: SourceSpec) -> Where:
    return Where(f"builtin:{source.builtin}") if source.builtin else Where(source_files(source, Path())[0])
