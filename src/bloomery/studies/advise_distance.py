"""How far data is from what a family's checkpoints know: bits per byte of both under each of them, one pass a text."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import DamagedError
from bloomery.core.files import canonical_hash, read_json, write_json
from bloomery.families.registry import Family
from bloomery.families.rules import FAR, Distance
from bloomery.lineage.provenance import model_hash
from bloomery.models.hub import fetch
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.start import Start, from_family
from bloomery.recipes.suites import with_rows
from bloomery.studies.advise_look import Look, examples, text_of

SAMPLE = 60_000
"""Characters of each text that are scored: some 20,000 tokens, a pass of seconds on a CPU at a few million
parameters."""

READ = 5_000
"""First rows of a source that the sample is drawn from."""

LONGEST = 4_000
"""Characters of one row that are scored, so that a sample has many rows."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StageDistance:
    """One checkpoint: bits per byte of the data and of the family's general text under it.

    `domain` is None where the weights are not on this machine, `general` also where the family has no such text.
    """

    stage: str
    start: Start
    domain: float | None = None
    general: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the bits of general text the data needs; None where either is not known."""
        return self.domain / self.general if self.domain and self.general else None


def distances(family: Family, look: Look, download: bool, say: Say = lambda text: None) -> tuple[StageDistance, ...]:
    """Every trained checkpoint that `start: auto` may take, in the family's order.

    Weights on the Hub are fetched only where `download` says so. A figure is kept by the hashes of weights and text, so
    that asking again is free. Raises `InputError` for weights that cannot be read.
    """
    domain, general = domain_texts(look), general_texts(family, download)
    found = []
    for name in stages_of(family):
        start = from_family(family, name)
        if start.folder is None and download:
            say(f"fetching {start.repo} at {start.revision}")
            fetch(str(start.repo), start.revision)
            start = from_family(family, name)
        if start.folder is None:
            found.append(StageDistance(name, start))
            continue
        say(f"reading {sum(map(len, domain)):,} characters with {name}")
        found.append(StageDistance(name, start, *_scored(start, [domain, general])))
    return tuple(found)


def stages_of(family: Family) -> list[str]:
    """Names of the trained checkpoints that a rule may choose."""
    return [name for name, one in family.file.checkpoints.items() if one.auto and not one.empty]


def far_or_near(found: Iterable[StageDistance]) -> Distance:
    """Near or far by the earliest checkpoint that was measured: later ones were shaped by other texts than general."""
    ratios = [one.ratio for one in found if one.ratio is not None]
    return "unknown" if not ratios else "far" if ratios[0] >= FAR else "near"


def domain_texts(look: Look) -> list[str]:
    """A sample of all sources by their tokens, the same whenever the data is."""
    whole = max(1, look.tokens)
    sampled = [
        text
        for one in look.sources
        for text in _sample((text_of(row) for row in examples(one.spec, READ)), SAMPLE * max(1, one.tokens) / whole)
    ]
    return sampled or [""]


def general_texts(family: Family, download: bool) -> list[str]:
    """A sample of the family's general held-out text; none where it has none here."""
    from bloomery.evals.suites import read_jsonl
    from bloomery.recipes.data_section import absolute

    rows: list[str] = []
    for suite in family.file.eval:
        if suite.role != "general" or suite.kind != "bpb" or (suite.hf and not download):
            continue
        here = with_rows(absolute(suite.model_dump(mode="json"), family.folder), cache_dir() / "suites")
        rows += [str(row["text"]) for row in read_jsonl(Path(here["path"])) if row.get("text")]
    return _sample(rows, SAMPLE)


def _sample(texts: Iterable[str], characters: float) -> list[str]:
    """Texts in an order that is drawn once, each cut, until they hold `characters`; at least one."""
    rows = [text[:LONGEST].encode("utf-8", "replace").decode() for text in texts if text.strip()]
    random.Random(0).shuffle(rows)
    chosen: list[str] = []
    for row in rows:
        if chosen and sum(map(len, chosen)) >= characters:
            break
        chosen.append(row)
    return chosen


def _scored(start: Start, texts: Sequence[list[str]]) -> list[float | None]:
    """Bits per byte of each of `texts`, from the cache where they were scored before; None for an empty one."""
    weights = start.commit or model_hash(Path(str(start.folder)))
    files = [_file(weights, text) for text in texts]
    found = [_read(file) for file in files]
    if any(value is None and text for value, text in zip(found, texts, strict=True)):
        engine, tokenizer = _engine(start)
        for place, (text, file) in enumerate(zip(texts, files, strict=True)):
            if text and found[place] is None:
                found[place] = _bits(engine, tokenizer, text)
                write_json(file, {"bits_per_byte": found[place]})
    return found


def _file(weights: str, texts: list[str]) -> Path:
    return cache_dir() / "distance" / f"{canonical_hash([weights, texts])}.json"


def _read(file: Path) -> float | None:
    try:
        return float(read_json(file)["bits_per_byte"]) if file.is_file() else None
    except (DamagedError, KeyError, TypeError, ValueError):
        return None


def _engine(start: Start) -> tuple[Any, Any]:
    from bloomery.core.files import verify_ours
    from bloomery.engine.native import NativeEngine
    from bloomery.models.load import load_model, load_tokenizer
    from bloomery.train.parallel import pick_device

    folder = Path(str(start.folder))
    verify_ours(folder)
    loaded = load_model(folder, device=str(pick_device()))
    return NativeEngine(loaded), loaded.tokenizer or load_tokenizer(str(start.tokenizer))


def _bits(engine: Any, tokenizer: Any, texts: list[str]) -> float:
    from bloomery.evals.runner import evaluate
    from bloomery.evals.suites import Suite

    suite = Suite("text", "bpb", [{"text": text} for text in texts], "domain", render="plain")
    return evaluate(engine, tokenizer, [suite]).suites["text"].value
