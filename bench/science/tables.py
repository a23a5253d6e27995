"""The answers to the studies' questions, from the figures in `results/`, as Markdown.

python bench/science/tables.py > bench/science/RESULTS.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import log
from pathlib import Path
from statistics import mean
from typing import Any

from domains import NAMES
from experiments import BUDGETS, SEARCHED, STAGES, TWICE, VOLUMES

RESULTS = Path(__file__).parent / "results"
Result = Mapping[str, Any]
TOLD_APART = 0.04
"""Stages whose domain losses differ by less are as good as each other."""


ALONE = (("budget", "domain-only", "pretrained"), ("alone", "blend", "midtrained-warm"))
"""Runs of the domain alone: their names, the arm, the start."""
TABLES = {
    "Forgetting budget": "budgets",
    "Continuity": "continuity",
    "Where to start": "stages",
    "Advice": "advice",
    "Replay pays": "replay",
    "The law of share and tokens": "laws",
    "The controller": "controllers",
    "Easy to hard": "orders",
}


def main() -> None:
    """Print every table that there are results for."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    print(
        "# Results\n\nMade by `python bench/science/tables.py` from `results/`; see docs/BENCH.md for the verdicts.\n"
    )
    for title, table in TABLES.items():
        lines = list(globals()[table](found))
        if len(lines) > 2:
            print(f"## {title}\n", *lines, "", sep="\n")
    runs = [one for one in found.values() if "losses" in one]
    trainings, tokens = sum(len(one["losses"]) - 1 for one in runs), sum(one["tokens"] for one in runs)
    print(f"{trainings} trainings, {tokens / 1e6:.2f}M tokens, beside forks and micro-runs.")


def budgets(found: Mapping[str, Result]) -> Iterable[str]:
    """What each blend lost and kept, beside the controls at the same seed."""
    yield "| domain, seed | start, share | general: to curated-only | to the start | domain-only | gain kept |"
    yield "|---|---|---|---|---|---|"
    for called, (name, *_) in BUDGETS.items():
        one = found.get(called)
        for seed in range(9):
            if one is None or f"blend-seed{seed}" not in one["losses"]:
                break
            start, blend, alone, control = (
                one["losses"][key]
                for key in ("start", f"blend-seed{seed}", f"domain-only-seed{seed}", f"curated-only-seed{seed}")
            )
            kept = gain(start, blend) / gain(start, alone)
            figures = (rise(control, blend), rise(start, blend), rise(start, alone))
            told = " | ".join(f"{value:+.2%}" for value in figures)
            yield f"| {name}, {seed} | {one['start']}, {one['share']:.0%} | {told} | {kept:.1%} |"


def continuity(found: Mapping[str, Result]) -> Iterable[str]:
    """The first fifty steps' general loss, and where the domain ends, beside the usual cosine at 1e-5."""
    yield "| start | rise in 50 steps, nats: own data | half domain | domain bits | general | naive: domain | general |"
    yield "|---|---|---|---|---|---|---|"
    for start in ("pretrained", "midtrained-warm", "midtrained"):
        ours, naive, own = (found.get(f"{kind}-{start}") for kind in ("continue", "naive", "own"))
        if ours and naive:
            ends = [
                f"{bits(one['losses']['blend-seed0'], g):.3f}" for one in (ours, naive) for g in ("domain", "general")
            ]
            alone = f"{early_rise(own['curve']):+.3f}" if own else ""
            yield f"| {start} | {alone} | {early_rise(ours['curve']):+.3f} | {' | '.join(ends)} |"


def stages(found: Mapping[str, Result]) -> Iterable[str]:
    """Domain loss of every start in every cell, the spread between them, and what always taking the last one costs."""
    yield f"| domain, domain tokens | {' | '.join(STAGES)} | spread | best |"
    yield "|---" * (len(STAGES) + 3) + "|"
    for name in NAMES:
        for volume in VOLUMES:
            cell = cell_of(found, name, volume)
            if len(cell) == len(STAGES):
                low, high = min(cell.values()), max(cell.values())
                values = " | ".join(f"{cell[stage]:.3f}" for stage in STAGES)
                yield f"| {name}, {volume} | {values} | {high / low - 1:.1%} | {min(cell, key=cell.__getitem__)} |"


def advice(found: Mapping[str, Result]) -> Iterable[str]:
    """What rule and forks choose in every cell, and what that costs, in parts of the spread between stages."""
    yield "| domain, domain tokens | spread | best | by forks | regret | by rule | regret | always last | cost |"
    yield "|---|---|---|---|---|---|---|---|---|"
    regrets: dict[str, list[float]] = {"forks": [], "rule": [], "last": []}
    for name in NAMES:
        for volume in VOLUMES:
            cell, one = cell_of(found, name, volume), found.get(f"advice-{name}-{volume}")
            if one is None or len(cell) < len(STAGES):
                continue
            chosen, low, high = one["chosen"]["stage"], min(cell.values()), max(cell.values())
            ruled = one["rule"] if one["rule"] in cell else "midtrained-warm"
            lost = {
                k: (cell[s] - low) / (high - low) for k, s in zip(regrets, (chosen, ruled, "posttrained"), strict=True)
            }
            if high / low - 1 > TOLD_APART:
                for kind, value in lost.items():
                    regrets[kind].append(value)
            best = min(cell, key=cell.__getitem__)
            told = f"{chosen} | {lost['forks']:.0%} | {ruled} | {lost['rule']:.0%} | {lost['last']:.0%}"
            yield f"| {name}, {volume} | {high / low - 1:.1%} | {best} | {told} | {one['cost']:.1%} |"
    if regrets["forks"]:
        told = ", ".join(f"{kind} {mean(values):.0%}" for kind, values in regrets.items())
        yield ""
        count = len(regrets["forks"])
        yield f"Mean regret over the {count} cells whose stages differ by more than {TOLD_APART:.0%}: {told}."


def replay(found: Mapping[str, Result]) -> Iterable[str]:
    """Domain tokens to the loss that the domain alone reaches, with half replay, from the same start."""
    yield "| domain, start | alone: domain tokens | bits | with half replay: tokens to the same | ratio |"
    yield "|---|---|---|---|---|"
    for name, (kind, arm, start) in product(NAMES, ALONE):
        one = found.get(f"{kind}-{name}")
        curve = [(VOLUMES[volume], cell_of(found, name, volume).get(start)) for volume in VOLUMES]
        if one is not None and all(loss is not None for _, loss in curve):
            tokens = next(other["tokens"] for other in one["arms"] if other["name"] == arm)
            loss = bits(one["losses"][f"{arm}-seed0"], "domain")
            needed = tokens_to(loss, [(n, value) for n, value in curve if value is not None])
            told = "outside what was measured |" if needed is None else f"{needed:,.0f} | {tokens / needed:.2f}"
            yield f"| {name}, {start} | {tokens:,} | {loss:.3f} | {told} |"


def tokens_to(loss: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """Tokens at which a falling curve has a loss, between its points log by log; None outside them."""
    for (n, high), (m, low) in zip(curve, curve[1:], strict=False):
        if low <= loss <= high:
            part = log(high / loss) / log(high / low)
            return n * (m / n) ** part
    return None


def laws(found: Mapping[str, Result]) -> Iterable[str]:
    """How well runs that were left out are predicted."""
    yield "| domain | micro-runs | tokens | left out: domain | general | share found |"
    yield "|---|---|---|---|---|---|"
    for name in SEARCHED:
        if one := found.get(f"law-{name}"):
            missed = " | ".join(f"{one['leave_one_out'][kind]:.2%}" for kind in ("domain", "general"))
            share = "none" if one["share"] is None else f"{one['share']:.0%}"
            yield f"| {name}, {SEARCHED[name]} | {len(one['points'])} | {one['tokens']:,} | {missed} | {share} |"


def controllers(found: Mapping[str, Result]) -> Iterable[str]:
    """A held budget beside fixed shares from the same start."""
    yield "| run | domain share: asked | realised | domain bits | domain gain | general to the start |"
    yield "|---|---|---|---|---|---|"
    for called, one in found.items():
        if one["group"] == "controller":
            start, end = one["losses"]["start"], one["losses"]["blend-seed0"]
            fell = 1 - bits(end, "domain") / bits(start, "domain")
            told = f"{one['share']:.0%} | {one['realised']:.1%} | {bits(end, 'domain'):.3f} | {fell:.1%}"
            yield f"| {called} | {told} | {rise(start, end):+.2%} |"


def orders(found: Mapping[str, Result]) -> Iterable[str]:
    """Comments judged right after shuffled rows and after easy ones first, by seed."""
    yield "| order | right: seed 0 | 1 | 2 | mean | general to the start |"
    yield "|---|---|---|---|---|---|"
    for called in ("shuffle", "curriculum"):
        if one := found.get(f"order-{called}"):
            ends = [one["losses"][f"blend-seed{seed}"] for seed in range(3)]
            scores = [mean(s["score"] for s in end["domain"] if "score" in s) for end in ends]
            general = mean(rise(one["losses"]["start"], end) for end in ends)
            yield f"| {called} | {' | '.join(f'{s:.1%}' for s in scores)} | {mean(scores):.1%} | {general:+.2%} |"


def cell_of(found: Mapping[str, Result], name: str, volume: str) -> dict[str, float]:
    """Domain bits per byte by start."""
    called = {stage: TWICE.get((name, volume, stage), f"stage-{name}-{volume}-{stage}") for stage in STAGES}
    results = {stage: found.get(run) for stage, run in called.items()}
    return {stage: bits(one["losses"]["blend-seed0"], "domain") for stage, one in results.items() if one}


def bits(losses: Result, group: str) -> float:
    """Bits per byte, the mean over the group's suites."""
    return mean(suite["bits"] for suite in losses[group] if "bits" in suite)


def gain(before: Result, after: Result) -> float:
    """How many bits per byte of the domain were gained."""
    return bits(before, "domain") - bits(after, "domain")


def rise(before: Result, after: Result) -> float:
    """Relative rise of general bits per byte."""
    return bits(after, "general") / bits(before, "general") - 1


def early_rise(curve: Iterable[Mapping[str, Any]], steps: int = 50) -> float:
    """Largest rise of the general loss over the start's in the first steps, in nats a token."""
    early = [point["loss"] for point in curve if point["held_out"] == "documentation" and point["step"] <= steps]
    return max(early) - early[0]


if __name__ == "__main__":
    main()
