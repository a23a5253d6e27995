"""The report: strict figures, private rows, a page that loads nothing and shows whatever it is given as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import bits, evaluation, model, scores

from bloomery.core.events import EventLog
from bloomery.core.rows import Segment
from bloomery.evals.charts import ticks
from bloomery.evals.curve import Point, read_curve, thinned
from bloomery.evals.html import el
from bloomery.evals.report import Report, Spent, make_report
from bloomery.evals.results import EvalResult, SuiteResult
from bloomery.evals.seeds import Seeded
from bloomery.evals.write import write_report

LOADED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Holds on a machine that is busy with something else."""

HOSTILE = "<script>alert(1)</script>\"'&|*_`[x](javascript:y)\x00"


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = EventLog(tmp_path_factory.mktemp("log") / "events.jsonl")
    for step in [*range(1, 41), *range(30, 61)]:  # a resumed run repeats its last steps
        log.write("step", step=step, loss=3.0 / step + 1, learning_rate=1e-3, tokens=100 * step, seconds=0.5)
    log.write("step", step=61, loss=float("nan"), learning_rate=1e-3, tokens=6100, seconds=0.5)
    log.write("validate", step=30, held_out="domain", loss=1.5)
    log.close()
    return log.path


@pytest.fixture(scope="module")
def report(events: Path) -> Report:
    start, result = model("ember/mid", 1, 1, 1, 0.8), model("run one", 2, 0.7, 1.002, 0.79, 0.1)
    return make_report(
        "one",
        start,
        result,
        keep={"general": 0.01, "skills": 0.05},
        arms={
            "domain-only": model("alone", 3, 0.66, 1.3, 0.4, 0.4),
            "curated-only": model("control", 4, 1, 1.0, 0.8, 0.1),
        },
        plasticity="warm",
        seeds=[
            Seeded(
                model(name, seed, domain, general, 0.8, 0.1),
                {
                    "domain-only": model("alone", seed + 10, 0.66, 1.3 + 0.01 * seed, 0.4, 0.4),
                    "curated-only": model("control", seed + 20, 1, 1.0, 0.8, 0.1),
                },
            )
            for name, seed, domain, general in (("s2", 5, 0.71, 1.003), ("s3", 6, 0.7, 1.001))
        ],
        spent={"": Spent(6000, 30.0), "domain-only": Spent(2000, 9.0)},
        events=events,
        segments=[Segment(0, {"handbook": 0.3, "documentation": 0.7})],
        draws=1000,
    )


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(report, folder)
    return folder


def test_the_json_holds_every_default_metric_and_no_row(written: Path) -> None:
    text = (written / "report.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(found["groups"]) == {"domain", "general", "skills", "instruction", "refusal", "over_refusal"}
    assert found["status"] == "within" and found["exit_status"] == 0
    assert found["result"]["latency"]["p95"] >= found["result"]["latency"]["p50"] > 0
    assert found["spent"] == {"tokens": 6000, "seconds": 30.0}
    assert found["proof"]["stands"] is True and 0.8 < found["proof"]["gain_kept"]["estimate"] < 1
    assert len(found["changes"]) == 14 and all("ledger" in c for c in found["changes"] if c["kind"] != "bpb")
    assert found["seeds"]["domain"]["interval"]["low"] < found["groups"]["domain"]["change"]["estimate"]
    assert "ask 1" not in text and "say " not in text


def test_rows_stand_only_on_the_private_page(written: Path) -> None:
    assert "ask " not in (written / "report.md").read_text()
    assert "ask " in (written / "report.html").read_text()
    assert stat.S_IMODE((written / "report.html").stat().st_mode) == 0o600


def test_the_page_loads_and_runs_nothing(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert not re.search(
        r"<(script|link|iframe|img|object|embed|base|form)\b|\bon\w+=|\b(src|href|style)=|url\(|@import", page
    )
    assert "http://" not in page and "https://" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;" in page


def test_the_page_is_well_formed_and_every_drawing_has_words(written: Path) -> None:
    page = (written / "report.html").read_text().replace("<!doctype html>", "")
    tree = ElementTree.fromstring(page)
    drawings = list(tree.iter("svg"))
    assert len(drawings) > 20 and all(d.get("aria-label") and d.get("role") == "img" for d in drawings)
    assert [h.text for h in tree.iter("h2")][:3] == ["What changed", "Proof", "Skill by skill"]
    assert all(th.get("scope") for th in tree.iter("th")) and all(
        t.find("caption") is not None for t in tree.iter("table")
    )
    assert "nan" not in re.sub(r">[^<]*<", "><", page).lower().replace("finance", "")


def test_hostile_text_is_shown_as_text_everywhere(tmp_path: Path) -> None:
    def hostile(name: str, value: float) -> EvalResult:
        suite = scores("s", "skills", [value], part=HOSTILE)
        record = replace(suite.records[0], prompt=HOSTILE, answer=HOSTILE, reference=HOSTILE)
        return evaluation(name + HOSTILE, SuiteResult("s" + HOSTILE, "generate", "skills", (record,), 1.0))

    write_report(make_report(HOSTILE, hostile("a", 1.0), hostile("b", 0.0), plasticity="hot", draws=100), tmp_path)
    page, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script>" not in page and "\x00" not in page
    ElementTree.fromstring(page.replace("<!doctype html>", ""))
    assert "<script>" not in markdown.replace("\\<", "") and "[x](" not in markdown


def test_the_headline_says_gain_loss_and_verdict(report: Report) -> None:
    assert re.match(r"Domain text takes \d+\.\d\s% fewer bits", report.headline)
    assert "general text" in report.headline and "Within budget on general text" in report.headline


@pytest.mark.parametrize(
    ("general", "status", "words"),
    [(1.0, "within", "Within budget"), (1.05, "broken", "Budget broken"), (1.0101, "unproven", "would settle it")],
)
def test_the_exit_status_is_the_gates(general: float, status: str, words: str) -> None:
    start, result = model("a", 1, 1, 1, 0.8), model("b", 2, 0.7, general, 0.8)
    found = make_report("r", start, result, keep={"general": 0.01}, draws=1000)
    assert found.gate.status == status and found.exit_status == {"within": 0, "broken": 3, "unproven": 4}[status]
    assert words in found.headline


def test_two_models_can_be_compared_without_any_training(tmp_path: Path) -> None:
    found = make_report("a against b", model("a", 1, 1, 1, 0.8), model("b", 2, 1, 1, 0.8), draws=1000)
    write_report(found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert found.proof is None and found.exit_status == 0 and "No forgetting budget was set" in found.headline
    assert (
        "<h2>Proof</h2>" not in page
        and "<h2>Training</h2>" not in page
        and "proof" not in (tmp_path / "report.md").read_text().lower()
    )


def test_a_report_of_bits_alone_needs_no_answers(tmp_path: Path) -> None:
    only = evaluation("a", bits("g", "general", [1.0, 2.0]))
    write_report(make_report("r", only, only, plasticity="cold"), tmp_path)
    assert "Skill by skill" not in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["result"]["latency"] is None


def test_the_curve_takes_the_last_word_on_a_step_and_skips_what_is_not_finite(events: Path) -> None:
    curve = read_curve(events)
    assert curve is not None and [p.step for p in curve.points] == list(range(1, 61))
    assert curve.tokens == 6000 and curve.held_out[0].points == ((30, 1.5),)


def test_thinning_keeps_the_mean_and_the_last_step() -> None:
    points = [Point(i, float(i), 0.1) for i in range(1, 1001)]
    few = thinned(points, 100)
    assert len(few) == 100 and few[-1].step == 1000
    assert sum(p.loss for p in few) / 100 == pytest.approx(500.5)


@LOADED
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_round_few_and_inside(low: float, width: float, about: int) -> None:
    found = ticks(low, low + width, about)
    assert len(found) <= 3 * about
    assert all(low - 1e-6 * width - 1e-9 <= t <= low + width * (1 + 1e-6) + 1e-9 for t in found)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: dict[str, Any] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@LOADED
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufdd0\ufdd1\ufffe\uffff")))
def test_any_text_comes_back_from_an_element_as_it_went_in(text: str) -> None:
    reader = _Reader()
    reader.feed(el("p", text, title=text))
    reader.close()
    assert reader.tags == ["p"] and "".join(reader.text) == text and reader.attributes["title"] == text


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(theme: str) -> None:
    import bloomery.evals

    style = (Path(bloomery.evals.__file__).parent / "report.css").read_text()
    block = style.split("@media (prefers-color-scheme: dark)")[1 if theme == "dark" else 0].split("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    pairs = [(ink, paper) for ink in ("ink", "soft", "ember", "good", "bad", "flat") for paper in ("card", "paper")]
    pairs += [("good", "good-soft"), ("bad", "bad-soft"), ("warn", "warn-soft"), ("flat", "flat-soft")]
    for ink, paper in pairs:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[paper])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {paper} in {theme}"
