"""A look at the beginning of the domain's sources: their shape, and about how many tokens they have."""

from __future__ import annotations

import importlib
import inspect
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from bloomery.data.builtin import BUILTINS
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.shapes import detect
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import source_names, spec_of
from bloomery.recipes.sections import absolute

ROWS = 200
SECONDS = 0.2
"""Most rows looked at in one source, and most time."""

MEASURED_CHARACTERS = 50_000
LARGEST_TOKENIZER = 4_000_000
"""Bytes of tokenizer.json; a 128k vocabulary takes half a second to load, which `explain` does not have."""

COMPRESSION = {".gz": 4, ".xz": 5, ".zst": 4, ".parquet": 2}
"""Bytes of text in a byte of file, roughly."""

CHARACTERS_PER_TOKEN = 4.0
"""English under a vocabulary of 32k to 128k, where the tokenizer is not at hand."""

Kind = Literal["text", "sft", "mixed", "unknown"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the beginning of a source tells about all of it; `exact` when all of it was read."""

    shape: str
    rows: float
    characters: float
    tokens: float
    exact: bool


def sample_domain(loaded: Loaded) -> dict[str, Sample]:
    """A sample of each domain source by name, at four characters a token. Unreadable sources raise `InputError`."""
    specs = loaded.recipe.data.domain
    return {
        name: sample_source(absolute(spec_of(spec), loaded.base), loaded.base)
        for name, spec in zip(source_names(specs), specs, strict=True)
    }


def kind_of(samples: Mapping[str, Sample]) -> Kind:
    """text, sft (conversations and pairs only), mixed, or unknown when there is nothing to look at."""
    kinds = {"text" if sample.shape == "text" else "sft" for sample in samples.values() if sample.rows}
    return "unknown" if not kinds else "mixed" if len(kinds) == 2 else "text" if kinds == {"text"} else "sft"


def sample_source(spec: Mapping[str, Any], base: Path, tokenizer: Path | None = None) -> Sample:
    """Read at most `ROWS` rows of a source and scale up by its size in bytes.

    `tokenizer` is a folder with a tokenizer.json: the sampled text is then encoded to count tokens.
    """
    whole = SourceSpec.model_validate(dict(spec))
    if is_remote(whole):
        return Sample(whole.shape, 0, 0, 0, False)
    records, ended = _first_rows(whole, base)
    shape = detect(records[0], whole).shape
    texts = ["\n".join(_strings(record.fields)) for record in records]
    factor = 1.0 if ended else _times(whole, base, records)
    characters = sum(map(len, texts)) * factor
    return Sample(shape, len(records) * factor, characters, characters / _density(texts, tokenizer), ended)


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


def _density(texts: list[str], tokenizer: Path | None) -> float:
    """Characters a token: measured on the sample where the tokenizer is here and small enough to load in time."""
    file = tokenizer / "tokenizer.json" if tokenizer else None
    if file is None or not file.is_file() or file.stat().st_size > LARGEST_TOKENIZER:
        return CHARACTERS_PER_TOKEN
    text = "\n".join(texts)[:MEASURED_CHARACTERS]
    return max(1, len(text)) / max(1, len(_tokenizer(str(file)).encode(text, add_special_tokens=False).ids))


@lru_cache(maxsize=4)
def _tokenizer(file: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(file)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key in value:
            if key not in ("id", "metadata", "skill", "reference_answer"):
                yield from _strings(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
