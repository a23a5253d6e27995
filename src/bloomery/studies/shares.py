"""One blend at several domain shares, at equal domain tokens and at equal total tokens: the 100/90/70/50 experiment.

Gains are compared at equal domain tokens: a share of 50 % then trains on twice as many tokens as 100 % does. What the
same compute buys stands beside it, as equal total tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.quantity import parse_share
from bloomery.evals.html import Markup
from bloomery.recipes.load import Loaded
from bloomery.recipes.start import RUNS
from bloomery.studies.micro import Point
from bloomery.studies.queue import Asked, Say, run_queue, tokens_of
from bloomery.studies.share_plot import Series, share_plot
from bloomery.studies.study import StudyResult, begin

HEADINGS = ["share", "compared at", "tokens", "of them domain", "domain", "change", "general", "change "]


def compare_shares(loaded: Loaded, shares: Sequence[float], tokens: float, say: Say, root: Path = RUNS) -> StudyResult:
    """Train at every share (fractions) with `tokens` of domain, and with `tokens` in all, and put them side by side.

    Written to `root/NAME.shares/`; called again it goes on. Raises `InputError` for shares of which nothing can be
    learnt, and as `study.begin` does.
    """
    told = ",".join(f"{100 * share:g}" for share in shares)
    if 0 in shares:
        raise InputError(f"`--shares {told}`: nothing of a domain is learnt from 0 % of it", fix="leave the 0 out")
    if len(set(shares)) < 2:
        raise InputError(f"`--shares {told}` compares nothing", fix="name two or more, such as 100,90,70,50")
    folder = root / f"{loaded.name}.shares"
    study = begin(loaded, tokens, folder, say)
    if 1 in shares and study.full.get("eval.general") != "suites":
        raise InputError(
            "without any curated text nothing of it is held out, and what is forgotten cannot be measured",
            fix="write 99 in place of 100 under `--shares`",
        )
    ordered = sorted(set(shares), reverse=True)
    domain = [_asked(share, tokens / share, study.pinned) for share in ordered]
    total = [_asked(share, tokens, study.pinned) for share in ordered]
    found = run_queue(loaded, [*domain, *(one for one in total if one not in domain)], folder, say)
    by = dict(zip([*domain, *(one for one in total if one not in domain)], found, strict=True))
    equal = {"domain tokens": [by[one] for one in domain], "total tokens": [by[one] for one in total]}
    return StudyResult(
        f"{loaded.name}: domain shares",
        folder,
        HEADINGS,
        _rows(equal),
        _said(equal, found, study.full.get("budget.tokens")),
        {"points": [asdict(points[-1]) for points in found]},
        drawings=[_plot(quantity, equal) for quantity in ("domain", "general")],
    ).write()


def percents(text: str) -> list[float]:
    """`100,90,70,50` as fractions. Raises `InputError` for what is no share, or could be percents or fractions."""
    parts = [part.strip() for part in text.split(",")]
    if small := [part for part in parts if "%" not in part and part.startswith((".", "0."))]:
        fix = "write `50` or `0.5%`"
        raise InputError(f"`--shares {text}`: {small[0]} may be a part of the whole or of a per cent", fix=fix)
    return [parse_share(part if "%" in part else f"{part}%", "--shares") for part in parts]


def _asked(share: float, tokens: float, pinned: Sequence[str]) -> Asked:
    told = f"share {100 * share:g} %, {tokens / 1e3:,.4g}k tokens"
    alone = ("data.curated=none",) if share == 1 else ()  # below the floor of replay only on purpose
    return Asked(told, (f"data.share={share:.4g}", f"budget={round(tokens)} tokens", *alone, *pinned))


def _rows(equal: dict[str, list[list[Point]]]) -> list[list[str]]:
    start = next(iter(equal.values()))[0][0]
    rows = [["start", "", "0", "0", f"{start.domain:.4f}", "", f"{start.general:.4f}", ""]]
    for name, runs in equal.items():
        for begun, *_, end in runs:
            rows.append(
                [
                    f"{end.share:.0%}",
                    f"equal {name}",
                    f"{end.tokens:,}",
                    f"{end.share * end.tokens:,.0f}",
                    f"{end.domain:.4f}",
                    f"{100 * (end.domain / begun.domain - 1):+.2f} %",
                    f"{end.general:.4f}",
                    f"{100 * (end.general / begun.general - 1):+.2f} %",
                ]
            )
    return rows


def _said(equal: dict[str, list[list[Point]]], runs: Sequence[Sequence[Point]], full: float) -> list[str]:
    ends = [points[-1] for points in equal["domain tokens"]]
    best, kept = min(ends, key=lambda end: end.domain), min(ends, key=lambda end: end.general)
    start, spent = runs[0][0], tokens_of(runs)
    return [
        f"at equal domain tokens the domain's loss is lowest with {best.share:.0%} of it "
        f"({best.domain / start.domain - 1:+.1%}), general text's with {kept.share:.0%} "
        f"({kept.general / start.general - 1:+.1%})",
        "one seed each: differences of a few tenths of a per cent are within what another seed changes",
        f"{len(runs)} micro-runs trained on {spent:,} tokens, {spent / full:.0%} of the full run's {full:,.0f}",
    ]


def _plot(quantity: str, equal: dict[str, list[list[Point]]]) -> Markup:
    series = []
    for name, runs in equal.items():
        dots = [(points[-1].share, getattr(points[-1], quantity)) for points in runs]
        series.append(Series(f"equal {name}", dots, dots))
    return share_plot(f"Held-out loss, {quantity}", series)
