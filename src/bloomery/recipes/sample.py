"""A look at the beginning of the domain's sources: their shape, and about how many tokens they have."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bloomery.core.errors import InputError
from bloomery.data.builtin import BUILTINS
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.shapes import Columns, detect, to_example
from bloomery.data.turns import plain
from bloomery.recipes.data_section import absolute
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import source_names, spec_of
from bloomery.recipes.plan import Value
from bloomery.recipes.words import strings

ROWS = 64
SECONDS = 0.3
"""Most rows looked at in one source; and the time after which no more are, as `explain` has a second in all."""

EXCERPT = 50_000
"""Characters of a source that are encoded to count its tokens."""

LARGEST_TOKENIZER = 4_000_000
"""Bytes of tokenizer.json; a 128k vocabulary takes half a second to load, which `explain` does not have."""

COMPRESSION = {".gz": 4, ".xz": 5, ".zst": 4, ".parquet": 2}
"""Bytes of text in a byte of file, roughly."""

CHARACTERS_PER_TOKEN = 4.0
"""English under a vocabulary of 32k to 128k, where the tokenizer is not at hand."""

USUAL_DOCUMENT = 256
"""Tokens of the document that a token is typically in: instruction rows of 175 tokens have 250, weighted by token."""

ANSWERED = ("messages", "instruction", "prompt")
"""Shapes whose rows end with an answer."""

Kind = Literal["text", "sft", "mixed", "preference", "judged", "unknown"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the beginning of a source tells about all of it; `exact` when all of it was read.

    `tokens` is at `CHARACTERS_PER_TOKEN` until `measured` has counted those of the `excerpt`.
    """

    shape: str
    rows: float
    characters: float
    exact: bool
    excerpt: str = ""
    density: float = CHARACTERS_PER_TOKEN
    columns: str = ""
    typical: float = 0.0
    """Characters of the document that a character is typically in: the mean length, weighted by length."""
    answers: tuple[str, ...] = ()
    """What the rows end with, where that is an answer; `answer` is about how many tokens one has, 0 without any."""
    answer: float = 0.0

    @property
    def tokens(self) -> float:
        """About how many tokens all of the source has, one epoch."""
        return self.characters / self.density


def sample_domain(loaded: Loaded) -> dict[str, Sample]:
    """A sample of each domain source by name, at four characters a token. Unreadable sources raise `InputError`."""
    specs = loaded.recipe.data.domain
    return {
        name: sample_source(absolute(spec_of(spec), loaded.base), loaded.base)
        for name, spec in zip(source_names(specs), specs, strict=True)
    }


def kind_of(samples: Mapping[str, Sample]) -> Kind:
    """text, sft (conversations and answers only), mixed; preference or judged where there are any; unknown when there
    is nothing to look at."""
    if said := {"judged", "preference"} & {sample.shape for sample in samples.values()}:
        return "judged" if "judged" in said else "preference"
    kinds = {"text" if sample.shape == "text" else "sft" for sample in samples.values() if sample.rows}
    return "unknown" if not kinds else "mixed" if len(kinds) == 2 else "text" if kinds == {"text"} else "sft"


def sample_source(spec: Mapping[str, Any], base: Path) -> Sample:
    """Read at most `ROWS` rows of a source and scale up by its size in bytes, or by the rows it will make.

    Raises `InputError` for rows that the run would refuse, as far as they were read.
    """
    whole = SourceSpec.model_validate(dict(spec))
    if is_remote(whole):
        return Sample(whole.shape, 0, 0, False)
    records, ended = _first_rows(whole, base)
    columns = detect(records[0], whole)
    for record in records if whole.bad_rows == "stop" else ():
        to_example(record, columns)
    texts = ["\n".join([*strings(record.fields), *_again(record, columns)]) for record in records]
    factor = 1.0 if ended else _times(whole, base, records)
    # half a surrogate pair may stand in a column that is not read, or in a row that is skipped
    excerpt = "\n".join(texts)[:EXCERPT].encode("utf-8", "replace").decode()
    shown = "" if whole.builtin else str(columns)
    characters = sum(map(len, texts))
    typical = sum(len(text) ** 2 for text in texts) / max(1, characters)
    count = len(records) * factor
    answers = tuple(_answers(records, columns))
    answer = sum(map(len, answers)) / CHARACTERS_PER_TOKEN / max(1, len(answers))
    told = (columns.trained_as, count, characters * factor, ended, excerpt)
    return Sample(*told, columns=shown, typical=typical, answers=answers, answer=answer)


def _answers(records: Iterable[Record], columns: Columns) -> Iterator[str]:
    """The answers that rows end with."""
    for record in records if columns.trained_as in ANSWERED else ():
        with contextlib.suppress(InputError):  # a row that is skipped
            *_, last = to_example(record, columns).messages
            if last["role"] == "assistant":  # a task ends with a question
                yield plain(last["content"])[:EXCERPT]


def _again(record: Record, columns: Columns) -> list[str]:
    """What a row says twice: the prompt of a pair, which comes before both answers."""
    if columns.shape != "preference":
        return []
    return list(strings(record.fields.get(columns.by_role.get("prompt", ""))))


def measured(samples: Mapping[str, Sample], tokenizer: Path | None) -> dict[str, Sample]:
    """The samples with the density of their excerpts, where the tokenizer is here and small enough to load in time."""
    file = tokenizer / "tokenizer.json" if tokenizer else None
    if file is None or not file.is_file() or file.stat().st_size > LARGEST_TOKENIZER:
        return dict(samples)
    from tokenizers import Tokenizer

    encode = Tokenizer.from_file(str(file)).encode

    def counted(sample: Sample) -> Sample:
        density = len(sample.excerpt) / max(1, len(encode(sample.excerpt).ids))
        said = "\n".join(sample.answers)[:EXCERPT]
        part = len(said) / max(1, sum(map(len, sample.answers)) + len(sample.answers))
        answer = len(encode(said).ids) / max(1e-9, part * len(sample.answers)) if said else 0.0
        return replace(sample, density=density, answer=answer)

    return {name: counted(sample) if sample.excerpt else sample for name, sample in samples.items()}


def document_tokens(samples: Mapping[str, Sample]) -> Value:
    """Tokens of the document that a token is typically in: `USUAL_DOCUMENT` where there is nothing to look at."""
    whole = sum(sample.tokens for sample in samples.values())
    if not whole:
        return Value(USUAL_DOCUMENT, "derived", "of usual instruction rows")
    mean = sum(sample.tokens * sample.typical / sample.density for sample in samples.values()) / whole
    return Value(max(1, round(mean)), "derived", "of the first domain rows, weighted by length")


def is_remote(spec: SourceSpec) -> bool:
    """Whether the source lies somewhere else, so that looking at it would use the network."""
    return spec.hf is not None or any("://" in path for path in spec.paths)


def _first_rows(spec: SourceSpec, base: Path) -> tuple[list[Record], bool]:
    """At most `ROWS` rows, stopping after `SECONDS`; and whether those are all there are."""
    from bloomery.data.sources import iter_records

    deadline = time.monotonic() + SECONDS
    rows: list[Record] = []
    for record in iter_records(spec, base):
        if len(rows) >= ROWS or (rows and time.monotonic() > deadline):
            return rows, False
        rows.append(record)
    return rows, True


def _times(spec: SourceSpec, base: Path, rows: list[Record]) -> float:
    """How often the sampled rows go into the source: by `count` for a generated one, by bytes for files."""
    if spec.builtin:
        return max(1.0, (_rows_generated(spec) or len(rows)) / len(rows))
    from bloomery.data.sources import source_files

    total = sum(path.stat().st_size * COMPRESSION.get(path.suffix, 1) for path in source_files(spec, base))
    seen = sum(len(json.dumps(row.fields, ensure_ascii=False, default=str).encode("utf-8", "replace")) for row in rows)
    return max(1.0, total / max(1, seen))


def _rows_generated(spec: SourceSpec) -> int | None:
    """How many rows a generated source is told to make, or makes by default; None where it does not say."""
    module, function = BUILTINS[str(spec.builtin)].split(":")
    parameter = inspect.signature(getattr(importlib.import_module(module), function)).parameters.get("count")
    count = spec.options.get("count", parameter.default if parameter else None)
    return count if isinstance(count, int) else None
