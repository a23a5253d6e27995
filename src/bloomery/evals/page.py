"""`report.html`: one self-contained page that loads nothing, runs nothing and works in light and dark.

Top to bottom: the sentence, the figures, the arms and the proof, the skills, the ledger, the run, the cost.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from bloomery.evals import sections
from bloomery.evals.charts import strip
from bloomery.evals.compare import Change
from bloomery.evals.gate import Verdict
from bloomery.evals.html import Child, Markup, el
from bloomery.evals.report import Report
from bloomery.evals.rolled_section import rolled_section
from bloomery.evals.sections import TONES
from bloomery.evals.wording import (
    GROUPS,
    STATUS,
    bounds,
    budget,
    decisive,
    direction,
    explained,
    level,
    moved,
    over_seeds,
)

WORDS = {"better": "▲ better", "worse": "▼ worse", "unclear": "● no clear change", "too few": "● too few to tell"}


def to_html(report: Report) -> str:
    """The whole page of a report."""
    return document(
        f"{report.title} · Bloomery report",
        _header(report),
        _cards(report),
        sections.arms(report),
        rolled_section(report),
        sections.rewards(report),
        sections.skills(report),
        sections.pairs(report),
        sections.ledgers(report),
        sections.run(report),
        sections.held(report),
        sections.blend(report),
        sections.cost(report),
        sections.method(report),
    )


def document(title: str, *content: Child) -> str:
    """A page around its content. Its style is allowed by hash, everything else is refused by its own policy."""
    css = style()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", Markup(css)),
    )
    return f"<!doctype html>\n{el('html', head, el('body', el('main', *content)), lang='en')}\n"


def style() -> str:
    """The style sheet of reports and their drawings."""
    return resources.files("bloomery.evals").joinpath("report.css").read_text("utf-8")


def _header(report: Report) -> Markup:
    start, result = report.evaluations
    status = report.gate.status if report.gate.verdicts else "none"
    badge = STATUS[report.gate.status] if report.gate.verdicts else "no budget set"
    mark = {"within": "✓", "broken": "✕", "unproven": "?", "none": "–"}[status]
    models = [el("strong", result.model), " against its start ", el("strong", start.model)]
    badges = [el("span", f"{mark} {badge}", class_=f"badge {status}"), _proof_badge(report)]
    others = [v for v in report.gate.verdicts if v is not decisive(report.gate)]  # the headline holds that one
    return el(
        "header",
        el("p", "Bloomery report", class_="overline"),
        el("h1", report.title),
        el("p", models, f" · {report.created}", class_="sub"),
        el("p", report.headline, class_="headline"),
        el("p", badges, class_="badges"),
        [el("p", f"{explained(verdict)}.", class_="verdict") for verdict in others],
        [el("p", f"{one.said(private=True)}.", class_="verdict") for one in report.ungraded],
        [el("p", f"{one.said()}.", class_="verdict") for one in report.judged],
        _origin(report),
    )


def _origin(report: Report) -> Markup | None:
    """What the whole recipe did, where this is one of its later trainings."""
    found = report.from_origin
    if found is None:
        return None
    moves = "; ".join(f"{GROUPS[name].lower()} {moved(c)} {bounds(c.change)}" for name, c in found.groups.items())
    return el("p", f"From the start of the whole recipe, {found.before}: {moves}.", class_="verdict")


def _proof_badge(report: Report) -> Markup | None:
    if report.proof is None:
        return None
    said = "✓ proof complete" if report.proof.stands else "? proof incomplete"
    return el("span", said, class_="badge within" if report.proof.stands else "badge unproven")


def _cards(report: Report) -> Markup:
    groups = report.comparison.groups
    limits = {verdict.name: verdict for verdict in reversed(report.gate.verdicts)}
    cards = [_card(report, name, groups[name], limits.get(name)) for name in GROUPS if name in groups]
    return el("section", el("h2", "What changed"), el("div", cards, class_="cards"))


def _card(report: Report, name: str, change: Change, verdict: Verdict | None) -> Markup:
    way = direction(change)
    unit = " bits per byte" if change.kind == "bpb" else ""
    limit = None if verdict is None else (verdict.budget if change.kind == "bpb" else -verdict.budget)
    allowed = el("span", f"allowed {budget(verdict)}", class_="allowed") if verdict else None
    seeds = report.seeds.get(name)
    over = f"over seeds {over_seeds(seeds)}" if seeds is not None else None
    return el(
        "article",
        el("h3", GROUPS[name]),
        el("p", moved(change), class_=f"figure tone-{TONES[way]}"),
        el("p", f"{level(change, change.before)} → {level(change, change.after)}{unit}", class_="from-to"),
        strip(change.change, TONES[way], limit, f"{GROUPS[name]}: {moved(change)} {bounds(change.change)}"),
        el("p", el("span", WORDS[way], class_=f"tone-{TONES[way]} way"), " ", bounds(change.change), class_="note"),
        el("p", f"{change.examples:,} examples ", allowed, class_="note"),
        None if over is None else el("p", over, class_="note"),
        class_="card",
    )
