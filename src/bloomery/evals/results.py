"""What an evaluation found: one record an example, and the figures that follow from them.

Records hold users' rows, so their file is readable by the owner only; figures do not.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.errors import DamagedError, Where
from bloomery.core.files import read_json, write_json, write_text

RECORDS, FIGURES = "records.jsonl", "evaluation.json"
BITS_PER_NAT = 1 / math.log(2)


@dataclass(frozen=True, slots=True)
class Record:
    """One example. `score` is None where there is none: bits per byte, or an answer that could not be graded."""

    id: str
    part: str = ""
    """The skill or other slice it belongs to."""
    score: float | None = None
    reason: str = ""
    nats: float = 0.0
    """Negative log-likelihood of the text, for bits per byte; of a judged answer, or of the better answer of a pair
    less the worse one's."""
    bytes: int = 0
    tokens: int = 0
    """Tokens scored, or sampled."""
    seconds: float = 0.0
    """Wall time of an answer in its batch; 0 where nothing was generated."""
    chance: float = 0.0
    """Score a blind guess has on average."""
    prompt: str = ""
    answer: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """Records of one suite, in the order of its rows."""

    name: str
    kind: str
    group: str
    records: tuple[Record, ...]
    seconds: float

    @property
    def value(self) -> float:
        """Bits per byte, as a ratio of sums, or the mean score of what could be graded; NaN when nothing could."""
        if self.kind == "bpb":
            return sum(r.nats for r in self.records) * BITS_PER_NAT / max(sum(r.bytes for r in self.records), 1)
        scores = [r.score for r in self.records if r.score is not None]
        return sum(scores) / len(scores) if scores else math.nan

    @property
    def unscorable(self) -> int:
        """Answers that could not be graded."""
        return 0 if self.kind == "bpb" else sum(r.score is None for r in self.records)

    def figures(self) -> dict[str, Any]:
        """JSON without any row: counts, value, tokens, seconds, latency."""
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "group": self.group,
            "examples": len(self.records),
            "value": None if math.isnan(self.value) else self.value,
            "unscorable": self.unscorable,
            "tokens": sum(r.tokens for r in self.records),
            "seconds": self.seconds,
        }
        return found | {"latency": latency(self.records)}


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One model on several suites. `model` is a name for people, such as `ember/midtrained` or `run nurse-3`."""

    model: str
    suites: Mapping[str, SuiteResult]
    seconds: float

    @property
    def tokens(self) -> int:
        """Tokens scored or sampled in all suites."""
        return sum(r.tokens for suite in self.suites.values() for r in suite.records)

    def latency(self) -> dict[str, float] | None:
        """Seconds an answer took, p50 and p95, over all generated answers."""
        return latency([r for suite in self.suites.values() for r in suite.records])

    def figures(self) -> dict[str, Any]:
        """JSON without any row."""
        return {
            "model": self.model,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "latency": self.latency(),
            "suites": [suite.figures() for suite in self.suites.values()],
        }

    def save(self, folder: Path) -> None:
        """Write `records.jsonl` (mode 0600: it holds rows) and `evaluation.json`; figures last, as the seal."""
        lines = [
            json.dumps({"suite": name} | dataclasses.asdict(record), ensure_ascii=False, allow_nan=False)
            for name, suite in self.suites.items()
            for record in suite.records
        ]
        write_text(folder / RECORDS, "".join(line + "\n" for line in lines), mode=0o600)
        write_json(folder / FIGURES, self.figures())


def load_result(folder: Path) -> EvalResult:
    """Read what `save` wrote. Raises `DamagedError` when a file is missing, broken or the two do not agree."""
    for name in (RECORDS, FIGURES):
        if not (folder / name).is_file():
            raise DamagedError("is missing: the evaluation did not finish", where=Where(folder / name))
    figures = read_json(folder / FIGURES)
    try:
        by_suite: dict[str, list[Record]] = {suite["name"]: [] for suite in figures["suites"]}
        for line in (folder / RECORDS).read_text().splitlines():
            fields = json.loads(line)
            by_suite[fields.pop("suite")].append(Record(**fields))
        suites = {
            s["name"]: SuiteResult(s["name"], s["kind"], s["group"], tuple(by_suite[s["name"]]), s["seconds"])
            for s in figures["suites"]
        }
        short = [s["name"] for s in figures["suites"] if len(by_suite[s["name"]]) != s["examples"]]
        result = EvalResult(figures["model"], suites, figures["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"is not an evaluation of ours: {error!r}", where=Where(folder)) from None
    if short:
        raise DamagedError(f"holds another number of records of `{short[0]}` than its figures", where=Where(folder))
    return result


def latency(records: Sequence[Record]) -> dict[str, float] | None:
    """{"p50", "p95"} of the answers' seconds; None when nothing was generated."""
    seconds = [r.seconds for r in records if r.seconds > 0]
    if not seconds:
        return None
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}
