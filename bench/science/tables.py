"""The answers to the studies' questions, from the figures in `results/`, as Markdown.

python bench/science/tables.py > bench/science/RESULTS.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from domains import NAMES
from experiments import BUDGETS, STAGES, TWICE, VOLUMES

RESULTS = Path(__file__).parent / "results"
Result = Mapping[str, Any]


def main() -> None:
    """Print every table that there are results for."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    for title, table in (("Forgetting budget", budgets), ("Continuity", continuity), ("Where to start", stages)):
        lines = list(table(found))
        if len(lines) > 2:
            print(f"## {title}\n", *lines, "", sep="\n")
    trainings = sum(len(one["losses"]) - 1 for one in found.values() if "losses" in one)
    tokens = sum(one["tokens"] for one in found.values())
    print(f"{trainings} trainings, {tokens / 1e6:.2f}M tokens.")


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
    yield "| start | largest rise in 50 steps, nats | domain, bits per byte | general | naive: domain | general |"
    yield "|---|---|---|---|---|---|"
    for start in ("pretrained", "midtrained-warm", "midtrained"):
        ours, naive = found.get(f"continue-{start}"), found.get(f"naive-{start}")
        if ours and naive:
            ends = [
                f"{bits(one['losses']['blend-seed0'], g):.3f}" for one in (ours, naive) for g in ("domain", "general")
            ]
            yield f"| {start} | {early_rise(ours['curve']):+.3f} | {' | '.join(ends)} |"


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
