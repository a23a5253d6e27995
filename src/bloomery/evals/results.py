"""What an evaluation found: one record an example, and the figures that follow from them.

Records hold users' rows, so their file is readable by the owner only; figures do not.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.errors import DamagedError, Where
from bloomery.core.files import read_json, write_json, write_text

RECORDS, FIGURES = "records.jsonl", "evaluation.json"
BITS_PER_NAT = 1 / math.log(2)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One of several answers drawn to a row."""

    answer: str
    score: float | None = None
    reason: str = ""


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
    references: tuple[str, ...] = ()
    """Every text that an answer may be compared with."""
    samples: tuple[Drawn, ...] = ()
    """All answers, where several were drawn; `answer` is then the first, `score` their mean."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Further figures, which metrics are made of."""

    @staticmethod
    def read(fields: Mapping[str, Any]) -> Record:
        """A record from its JSON. Raises TypeError for a key that it does not have."""
        samples = tuple(Drawn(**one) for one in fields.get("samples", ()))
        return Record(**{**fields, "references": tuple(fields.get("references", ())), "samples": samples})


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """Records of one suite, in the order of its rows."""

    name: str
    kind: str
    group: str
    records: tuple[Record, ...]
    seconds: float
    metrics: tuple[str, ...] = ()
    """Names of its further figures."""
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Figures of the user's own, each with what it is when blocks of records are left out."""
    judge: str = ""
    """The model that judged the answers, where one did."""
    itself: bool = False
    """Whether that was the model that gave them."""

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
            "metrics": list(self.metrics),
            "own": {name: [None if math.isnan(v) else v for v in values] for name, values in self.own.items()},
        }
        judged = {"judge": self.judge, "judged_by_itself": self.itself} if self.judge else {}
        return found | judged | {"latency": latency(self.records)}

    @staticmethod
    def read(figures: Mapping[str, Any], records: Sequence[Record]) -> SuiteResult:
        """A suite from its figures and records."""
        own = {
            name: tuple(math.nan if v is None else float(v) for v in values)
            for name, values in figures.get("own", {}).items()
        }
        told = (figures["name"], figures["kind"], figures["group"], tuple(records), figures["seconds"])
        judged = (figures.get("judge", ""), figures.get("judged_by_itself", False))
        return SuiteResult(*told, tuple(figures.get("metrics", ())), own, *judged)


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
            json.dumps({"suite": name, "model": self.model} | _told(record), ensure_ascii=False, allow_nan=False)
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
        for line in (folder / RECORDS).read_text(encoding="utf-8").split("\n")[:-1]:  # U+2028 ends no line
            fields = json.loads(line)
            fields.pop("model", None)
            by_suite[fields.pop("suite")].append(Record.read(fields))
        suites = {s["name"]: SuiteResult.read(s, by_suite[s["name"]]) for s in figures["suites"]}
        short = [s["name"] for s in figures["suites"] if len(by_suite[s["name"]]) != s["examples"]]
        result = EvalResult(figures["model"], suites, figures["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"is not an evaluation of ours: {error!r}", where=Where(folder)) from None
    if short:
        raise DamagedError(f"holds another number of records of `{short[0]}` than its figures", where=Where(folder))
    return result


def _told(record: Record) -> dict[str, Any]:
    """A record's fields, without those that few suites have where they are empty."""
    fields = dataclasses.asdict(record)
    return {k: v for k, v in fields.items() if v or k not in ("references", "samples", "values")}


def latency(records: Sequence[Record]) -> dict[str, float] | None:
    """{"p50", "p95"} of the answers' seconds; None when nothing was generated."""
    seconds = [r.seconds for r in records if r.seconds > 0]
    if not seconds:
        return None
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}
