"""A grader written by the user: a Python function, run at a sandbox level."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bloomery.core.errors import InputError, nearest
from bloomery.core.sandbox import Outcome, call_each
from bloomery.core.sandbox_level import Level, Limits, check_level
from bloomery.graders import signature as signatures
from bloomery.graders.payload import Metric, Sample, Score, number_or_reason
from bloomery.graders.template import item, output

Signature = Literal["bloomery", "trl", "openai"]
SIGNATURES = ("bloomery", "trl", "openai")


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """A function of a Python file, or of OpenAI's inline `source`, by one of three signatures.

    `bloomery`: `function(sample: dict)` returns a number, or `{aggregate_reward_score, metrics_list?}`. `openai`:
    `function(sample: dict, item: dict)` returns a number. `trl`: `function(prompts, completions, **columns)` returns a
    list of numbers, None where it does not score. Without `signature`, the parameters' names tell.
    """

    path: str | None = None
    source: str | None = None
    function: str = "grade"
    signature: Signature | None = None
    name: str = "python"
    level: Level | None = None
    """trusted, process or isolated; `process` when left out of a trusted grader, `isolated` for an inline source."""
    trusted: bool = False
    """The code runs with your rights to files and network: say that you know."""
    seconds: float = 10.0
    """What one call may take."""
    memory: int = 2 << 30
    """Bytes of address space, libraries included."""
    image_tag: str | None = None
    """OpenAI's image; the code runs with the packages that are installed here."""
    verified: bool = True

    def __post_init__(self) -> None:
        if (self.path is None) == (self.source is None):
            raise InputError("a python grader needs `path` or `source`, and only one", fix="name a Python file: `path`")
        if self.signature is not None and self.signature not in SIGNATURES:
            raise InputError(
                f"`signature: {self.signature}` is none we know{nearest(str(self.signature), SIGNATURES)}",
                fix="change `signature`",
            )
        if self.source is not None:
            _refuse_unreadable(self.source)
        where = self.path or "`source`"
        check_level(self._level(), self.trusted, f"grader `{self.name}` runs the Python code in {where}")

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The function's scores; unscorable where it raises, hangs, dies or returns no finite number.

        Raises `InputError` when the file is missing, does not import or lacks the function, or the machine does not
        offer the level.
        """
        if self.path is not None:
            return self._called(Path(self.path), samples)
        with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
            file = Path(folder, "source.py")
            file.write_text(str(self.source))
            return self._called(file, samples)

    def _called(self, file: Path, samples: Sequence[Sample]) -> list[Score]:
        if not file.is_file():
            call_each(file, self.function, [], Limits())  # says so
        source = file.read_text(encoding="utf-8", errors="replace")
        signature = self.signature or signatures.of(source, self.function)
        if signature == "trl":
            return self._batch(file, source, samples)
        items = [_arguments(sample, signature) for sample in samples]
        outcomes = self._outcomes(file, items, signature)
        return [_score(sample, outcome) for sample, outcome in zip(samples, outcomes, strict=True)]

    def _batch(self, file: Path, source: str, samples: Sequence[Sample]) -> list[Score]:
        """One call for all samples, as TRL makes it: one reason for all where it fails."""
        if not samples:
            return []
        columns = signatures.columns(samples)
        if lacking := signatures.missing(source, self.function, columns):
            hint = nearest(lacking, columns)
            why = f"has no `{lacking}`{hint}, which `{self.function}` asks for: add it, or give the parameter a default"
            return [Score(sample.id, None, reason=f"row `{sample.id}` {why}") for sample in samples]
        [outcome] = self._outcomes(file, [columns], "trl")
        values, reason = outcome.value, outcome.error or ""
        if not reason and (not isinstance(values, list) or len(values) != len(samples)):
            reason = f"the function returned no list of {len(samples)} numbers"
        if reason:
            return [Score(sample.id, None, reason=reason) for sample in samples]
        return [_score(sample, Outcome(value)) for sample, value in zip(samples, values, strict=True)]

    def _outcomes(self, file: Path, items: Sequence[Any], signature: str) -> list[Outcome]:
        seconds = self.seconds * (len(items[0]["prompts"]) if signature == "trl" else 1)
        limits = Limits(seconds, self.memory)
        return call_each(file, self.function, items, limits, self._level(), spread=signature != "bloomery")

    def _level(self) -> Level:
        return self.level or ("process" if self.trusted or self.path is not None else "isolated")


def _refuse_unreadable(source: str) -> None:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = f"{error.msg}, line {error.lineno} of it" if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"`source` is no Python: {told}", fix="correct it") from None


def _arguments(sample: Sample, signature: str) -> Any:
    return [output(sample), item(sample)] if signature == "openai" else sample.payload()


def _score(sample: Sample, outcome: Outcome) -> Score:
    if outcome.error:
        return Score(sample.id, None, reason=outcome.error)
    value: Any = outcome.value
    metrics: tuple[Metric, ...] = ()
    if isinstance(value, Mapping):
        if value.get("id", sample.id) != sample.id:
            return Score(sample.id, None, reason=f"the grader answered for `{value['id']!s:.40}`")
        value, metrics = value.get("aggregate_reward_score"), metrics_of(value.get("metrics_list"))
    score, reason = number_or_reason(value)
    return Score(sample.id, score, metrics, reason)


def metrics_of(listed: Any) -> tuple[Metric, ...]:
    """The components that are whole; a broken one is left out, since it does not decide the score."""
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    return tuple(
        Metric(str(row["name"]), float(row["value"]), "Reward" if row.get("type") == "Reward" else "Metric")
        for row in rows
        if "name" in row and number_or_reason(row.get("value"))[0] is not None
    )
