"""Blend search: micro-runs over the domain's share (and the curated categories), a law, and the recipe it recommends.

    controls without domain, and shares on a log grid, at two lengths -> law -> the best share within `keep`
        -> weights around the preset, at that share -> the best of them -> one more run, to check what was predicted

Forgetting is counted against as many tokens of curated text alone, as the report's control does: what a fresh start
and the anneal do by themselves is no blend's fault. Nothing is recommended where runs that were left out are not
predicted well enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.intervals import Interval
from bloomery.evals.html import Markup
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import OWN
from bloomery.recipes.start import RUNS
from bloomery.studies.categories import RUNS_EACH, WEIGHED, Weights, best_weights, drawn, fit_weights, weighed
from bloomery.studies.law import GATE, LARGEST_SHARE, JointLaw, fit
from bloomery.studies.micro import Point, blend_of
from bloomery.studies.queue import Asked, Say, run_queue, tokens_of
from bloomery.studies.recommend import changed_recipe, curated_of, write_recipe
from bloomery.studies.share_plot import Series, share_plot
from bloomery.studies.study import Study, StudyResult, begin

LEAST_RUNS = 6
SMALLEST_SHARE = 0.05
HEADINGS = ["run", "tokens", "share", "curated", "domain", "general", "over its control"]


@dataclass(slots=True)
class Search:
    """What a search knows so far."""

    study: Study
    length: float
    keep: float
    say: Say
    runs: list[list[Point]]
    said: list[str]
    share: float | None = None
    weights: Weights | None = None

    @property
    def start(self) -> str:
        """The start's name, as points call it."""
        return self.runs[0][0].start

    def train(self, asked: Sequence[Asked]) -> list[list[Point]]:
        """Queue some micro-runs and remember them."""
        found = run_queue(self.study.loaded, asked, self.study.folder, self.say)
        self.runs += found
        return found


def tune(
    loaded: Loaded, runs: int, tokens: float, say: Say, root: Path = RUNS, categories: bool = False
) -> StudyResult:
    """Search the blend of a recipe with `runs` micro-runs of at most `tokens`, and write a recipe with what is found.

    `categories` adds three runs a curated category; one more run checks the result. Written to `root/NAME.tune/`;
    called again it goes on. Its exit status is 4 where nothing can be recommended. Raises `InputError` without
    `keep.general`, for fewer than `LEAST_RUNS` runs, and as `study.begin` does.
    """
    keep = loaded.recipe.keep.general
    if keep is None:
        raise InputError(
            "a blend is searched for what may be forgotten, and the recipe does not say it",
            where=loaded.place("keep"),
            fix="add `keep: {general: 1%}`, or compare shares without a budget by `--shares 100,90,70,50`",
        )
    if runs < LEAST_RUNS:
        raise InputError(
            f"`--runs {runs}` is too few for a law over share and tokens", fix=f"give {LEAST_RUNS} or more"
        )
    study = begin(loaded, tokens / 2, root / f"{loaded.name}.tune", say)
    search = Search(study, tokens, keep, say, [], [])
    if categories:
        _refuse_without_categories(study)
    search.train(_design(runs, tokens, study))
    law = fit([point for points in search.runs for point in points])
    search.said.append(_quality(law))
    search.share = _best_share(search, law) if law.holds else None
    if search.share is not None and categories:
        _search_weights(search, law)
    if search.share is not None:
        _check(search, law)
    return _result(search, law).write()


def _design(runs: int, tokens: float, study: Study) -> list[Asked]:
    """Two thirds of the runs at full length, one at half of it; each third has a control without domain."""
    short = runs // 3
    asked = []
    for count, length in ((runs - short, tokens), (short, tokens / 2)):
        shares = [0.0, *np.geomspace(SMALLEST_SHARE if count > 3 else 0.3, LARGEST_SHARE, count - 1).tolist()]
        asked += [_asked(round(share, 3), length, study) for share in shares]
    return asked


def _asked(share: float, tokens: float, study: Study, weights: Weights | None = None) -> Asked:
    overrides = [f"data.share={share:g}", f"budget={round(tokens)} tokens", *study.pinned]
    told = f"share {100 * share:.3g} %, {tokens / 1e3:,.4g}k tokens"
    if weights is not None:
        told += ", " + " ".join(f"{name} {100 * weight:.1f}" for name, weight in weights.items())
        overrides.append(f"data.curated={curated_of(study.loaded, weights, text=True)}")
    return Asked(told, tuple(overrides))


def _best_share(search: Search, law: JointLaw) -> float | None:
    """The share with the lowest predicted domain loss over the full run, within `keep` and the repetition caps."""
    study, start = search.study, search.start

    def fits(share: float) -> bool:
        return law.rise(start, share, study.full_tokens(share)).high <= search.keep

    shares = [k / 100 for k in range(1, round(100 * LARGEST_SHARE) + 1)]
    within = [share for share in shares if fits(share)]
    within.sort(key=lambda share: law.predict(start, share, study.full_tokens(share)).domain.estimate)
    chosen = next((share for share in within if explain(changed_recipe(study.loaded, share, None)).can_run), None)
    if chosen is None:
        reason = "no share is shown to stay" if not within else "the shares that stay need too many epochs; none is"
        search.said.append(f"{reason} within {search.keep:.2%} of general loss: nothing is recommended")
        return None
    tokens = study.full_tokens(chosen)
    found = law.predict(start, chosen, tokens)
    beyond = f" ({'; '.join(found.beyond)})" if found.beyond else ""
    search.said.append(
        f"recommended share {chosen:.0%}: over {tokens:,.0f} tokens domain {_interval(found.domain)} from "
        f"{search.runs[0][0].domain:.4g}, general {_percent(law.rise(start, chosen, tokens))} over curated text "
        f"alone, allowed {search.keep:.2%}{beyond}"
    )
    return chosen


def _search_weights(search: Search, law: JointLaw) -> None:
    """Weights around the preset at the share that was found, and the best of them where a law predicts them."""
    assert search.share is not None
    study, preset = search.study, search.runs[0][0].weights
    asked = [_asked(search.share, search.length, study, one) for one in drawn(preset, RUNS_EACH * len(weighed(preset)))]
    ends = [points[-1] for points in search.train(asked)]
    domain, general = (fit_weights(ends, quantity, preset) for quantity in ("domain", "general"))
    slack = search.keep - law.rise(search.start, search.share, study.full_tokens(search.share)).high
    for weights in best_weights(domain, general, preset, slack):
        if explain(changed_recipe(study.loaded, search.share, weights)).can_run:
            search.weights = weights
            break
    told = f"categories: left-out runs are predicted to {domain.explained:.0%} (domain) and {general.explained:.0%} "
    if search.weights is None:
        search.said.append(f"{told}(general) of their variance: the preset stays")
        return
    moved = ", ".join(f"{name} {preset[name]:.0%} to {weight:.1%}" for name, weight in search.weights.items())
    effects = (law.effect(search.weights, preset) for law in (domain, general))
    search.said.append(
        f"{told}(general) of their variance; {moved}: domain {{}}, general {{}}".format(*map(_percent, effects))
    )


def _check(search: Search, law: JointLaw) -> None:
    """One more run at what is recommended, beside what was predicted for it."""
    assert search.share is not None
    (points,) = search.train([_asked(search.share, search.length, search.study, search.weights)])
    end, expected = points[-1], law.predict(search.start, search.share, points[-1].tokens)
    pairs = (("domain", expected.domain, end.domain), ("general", expected.general, end.general))
    told = [
        f"{name} predicted {_interval(interval)}, measured {measured:.4g}"
        + ("" if interval.low <= measured <= interval.high else " (outside)")
        for name, interval, measured in pairs
    ]
    weights = ", with the preset's weights" if search.weights is not None else ""
    search.said.append(f"checked by one more run of {end.tokens:,} tokens: {'; '.join(told)}{weights}")


def _result(search: Search, law: JointLaw) -> StudyResult:
    study, recipe = search.study, None
    if search.share is not None:
        recipe = write_recipe(study.loaded, study.folder / "tuned.yaml", search.share, search.weights)
        search.said.append(f"wrote {recipe}")
    full, spent = float(study.full.get("budget.tokens")), tokens_of(search.runs)
    count = len({points[-1].run for points in search.runs})
    search.said.append(
        f"{count} micro-runs trained on {spent:,} tokens, {spent / full:.0%} of the full run's {full:,.0f}"
    )
    figures: dict[str, Any] = {
        "share": search.share,
        "weights": search.weights,
        "leave_one_out": law.leave_one_out,
        "tokens": spent,
        "cost": spent / full,
        "said": search.said,
        "points": [asdict(points[-1]) for points in search.runs],
    }
    drawings = [_plot(search, law, quantity) for quantity in ("domain", "general")]
    name, status = f"{study.loaded.name}: blend search", 0 if recipe else 4
    return StudyResult(name, study.folder, HEADINGS, _rows(search), search.said, figures, recipe, status, drawings)


def _rows(search: Search) -> list[list[str]]:
    ends = [points[-1] for points in search.runs]
    controls = {end.tokens // 1000: end.general for end in ends if end.share == 0}
    rows = []
    for number, end in enumerate(ends, 1):
        nearest = min(controls, key=lambda thousands: abs(thousands - end.tokens / 1000))
        rows.append(
            [
                str(number),
                f"{end.tokens:,}",
                f"{end.share:.1%}",
                " ".join(f"{name} {weight:.0%}" for name, weight in end.weights.items()),
                f"{end.domain:.4f}",
                f"{end.general:.4f}",
                f"{100 * (end.general / controls[nearest] - 1):+.2f} %",
            ]
        )
    return rows


def _plot(search: Search, law: JointLaw, quantity: str) -> Markup:
    """Measured ends by length, and the law at each; category runs are left out."""
    preset, series = search.runs[0][0].weights, []
    for name, length in (("full length", search.length), ("half length", search.length / 2)):
        ends = [points[-1] for points in search.runs if points[-1].weights in (preset, {})]
        ends = [end for end in ends if abs(end.tokens / length - 1) < 0.2]
        lawful = [getattr(law.predict(search.start, k / 100, length), quantity).estimate for k in range(100)]
        dots = [(end.share, getattr(end, quantity)) for end in ends]
        series.append(Series(name, dots, [(k / 100, loss) for k, loss in enumerate(lawful)]))
    return share_plot(f"Held-out loss, {quantity}: micro-runs and their law", series, search.share)


def _refuse_without_categories(study: Study) -> None:
    mix, (_, weights) = study.full.get("curated.mix"), blend_of(study.short)
    if mix in (None, OWN) or len(weighed(weights)) < 2:
        raise InputError(
            "`--categories` weighs the categories of a family's mix, and there are none to weigh",
            where=study.loaded.place("data.curated"),
            fix=f"leave it out, or use a family's mix with two categories of {WEIGHED:.0%} or more",
        )


def _quality(law: JointLaw) -> str:
    missed = " and ".join(f"{error:.2%} of {name} loss" for name, error in law.leave_one_out.items())
    verdict = "" if law.holds else f", more than {GATE:.0%}: nothing is recommended; give more `--runs` or `--tokens`"
    return f"law: a run that is left out is missed by {missed}{verdict}"


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.estimate:+.2f} % [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"
