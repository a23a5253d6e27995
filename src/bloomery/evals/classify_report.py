"""How far a classifier can be trusted: every figure of every question with its interval, and what stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.files import write_json, write_text
from bloomery.core.intervals import Interval
from bloomery.evals.classify_charts import reliability, risk_coverage
from bloomery.evals.html import Markup, el
from bloomery.evals.page import document
from bloomery.review.calibration import Calibration
from bloomery.review.conformal import coverage
from bloomery.review.measures import BINS, DRAWS, ece, figures
from bloomery.review.scores import Array, Labels
from bloomery.review.spec import ClassifierSpec

SHOWN = ("accuracy", "f1", "auroc", "ece", "brier", "aurc", "risk_at_80")
BINNING = f"ECE is of the likeliest label's probability, in {BINS} bins of equal width"


@dataclass(frozen=True, slots=True)
class Assessed:
    """One question on held-out texts. `ece_before` is without scaling; `coverage` and `covered` are the conformal sets'
    over all texts and by label, `set_size` the labels in a set on average, `empty` the part of sets without any."""

    figures: Mapping[str, Interval]
    ece_before: float
    coverage: float
    covered: Mapping[str, float]
    set_size: float
    empty: float
    texts: int
    p: Array
    truth: Labels

    def to_json(self) -> dict[str, Any]:
        """Plain JSON without any text."""
        told = {
            name: {"value": _plain(one.estimate), "low": _plain(one.low), "high": _plain(one.high)}
            for name, one in self.figures.items()
        }
        rest = ("ece_before", "coverage", "set_size", "empty", "texts")
        covered = {name: _plain(value) for name, value in self.covered.items()}
        return told | {name: getattr(self, name) for name in rest} | {"covered": covered}


@dataclass(frozen=True, slots=True)
class ClassifierReport:
    """All questions of a classifier, printable, as JSON and as a page."""

    model: str
    nominal: float
    questions: Mapping[str, Assessed]

    def mean(self, figure: str) -> float:
        """A figure's mean over the questions, where it is defined: the macro average."""
        return float(np.nanmean([one.figures[figure].estimate for one in self.questions.values()]))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON without any text."""
        means = {name: _plain(self.mean(name)) for name in SHOWN}
        each = {name: one.to_json() for name, one in self.questions.items()}
        return {"model": self.model, "nominal": self.nominal, "binning": BINNING, "mean": means, "questions": each}

    def __str__(self) -> str:
        heads = ["question", "texts", *SHOWN, "coverage", "set"]
        rows = [[name, f"{one.texts:,}", *_cells(one)] for name, one in self.questions.items()]
        rows.append(["mean", "", *(f"{self.mean(name):.3f}" for name in SHOWN), "", ""])
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (heads, *rows)]
        return "\n".join([self.model, *lines, f"{BINNING}; coverage is promised at {self.nominal:.0%} of each label"])

    def write(self, folder: Path) -> None:
        """`classifier.json` and `classifier.html` in a folder."""
        write_json(folder / "classifier.json", self.to_json())
        write_text(folder / "classifier.html", self._page())

    def _page(self) -> str:
        head = el("header", el("p", "Bloomery", class_="overline"), el("h1", f"Confidence of {self.model}"))
        parts = [_section(name, one) for name, one in self.questions.items()]
        return document(f"Confidence of {self.model}", head, _table(self), *parts)


def assess(
    spec: ClassifierSpec,
    calibration: Calibration,
    scores: Mapping[str, Array],
    truth: Mapping[str, Labels],
    model: str,
    draws: int = DRAWS,
) -> ClassifierReport:
    """Measure a calibrated classifier on texts that nothing was fitted on; -1 in `truth` marks one without answer."""
    found = {}
    for question in spec.questions:
        known = truth[question] >= 0
        if not known.any():
            raise InputError(f"no row answers `{question}`", fix="add its answers, or remove the question")
        found[question] = _assessed(spec, question, calibration, scores[question][known], truth[question][known], draws)
    return ClassifierReport(model, 1 - spec.alpha, found)


def _assessed(
    spec: ClassifierSpec, question: str, calibration: Calibration, scores: Array, truth: Labels, draws: int
) -> Assessed:
    fitted, raw = calibration.questions[question], np.exp(scores)
    p = fitted(scores)
    sets = fitted.sets(p)
    over_all, each = coverage(sets, truth)
    return Assessed(
        figures(p, truth, spec.positive(question), fitted.cut, draws),
        ece(raw.max(axis=1), (raw.argmax(axis=1) == truth).astype(np.float64)),
        over_all,
        dict(zip(spec.names(question), each, strict=True)),
        float(sets.sum(axis=1).mean()),
        float((~sets.any(axis=1)).mean()),
        len(truth),
        p,
        truth,
    )


def _cells(one: Assessed) -> list[str]:
    told = [f"{one.figures[name].estimate:.3f}" for name in SHOWN]
    return [*told, f"{one.coverage:.3f}", f"{one.set_size:.2f}"]


def _table(report: ClassifierReport) -> Markup:
    heads = ["question", *SHOWN, "coverage", "set"]
    rows = [
        el("tr", el("th", name, scope="row"), [el("td", cell) for cell in _cells(one)])
        for name, one in report.questions.items()
    ]
    head = el("thead", el("tr", [el("th", text, scope="col") for text in heads]))
    note = f"{BINNING}. Sets promise {report.nominal:.0%} of each label."
    return el("section", el("div", el("table", head, el("tbody", rows)), class_="scroll"), el("p", note, class_="note"))


def _section(name: str, one: Assessed) -> Markup:
    sure, right = one.p.max(axis=1), (one.p.argmax(axis=1) == one.truth).astype(np.float64)
    said = "; ".join(f"{key} {b.estimate:.3f} [{b.low:.3f}, {b.high:.3f}]" for key, b in one.figures.items())
    drawings = [el("figure", reliability(sure, right, name)), el("figure", risk_coverage(sure, right, name))]
    return el("section", el("h2", name), drawings, el("p", said, class_="note"))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
