"""Scores the start and every arm of a run on the same rows, and writes the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.events import read_events
from bloomery.core.files import read_json, verify_ours
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.attempts import ATTEMPTS, drawn
from bloomery.recipes.bench import Bench
from bloomery.recipes.configure import segments
from bloomery.recipes.held import Held
from bloomery.recipes.judges import Judges
from bloomery.recipes.pipeline import Earlier
from bloomery.recipes.plan import Plan
from bloomery.recipes.playing import played_suite
from bloomery.recipes.preference import COMPARING
from bloomery.recipes.prepare import Prepared
from bloomery.recipes.responsible import of_run
from bloomery.recipes.rewarding import checked_reward
from bloomery.recipes.rollouts import RL, TASK
from bloomery.recipes.training import ArmRun, arm_runs, load_start

if TYPE_CHECKING:
    from bloomery.evals.report import Origin, Spent
    from bloomery.evals.results import EvalResult
    from bloomery.evals.seeds import Seeded
    from bloomery.evals.suites import Suite
    from bloomery.models.load import Loaded

Say = Callable[[str], None]


def judge_run(
    folder: RunFolder, prepared: Prepared, device: str, say: Say, earlier: Earlier | None = None
) -> dict[str, Any]:
    """Evaluate start and arms on `device`, write the report in its three forms; returns how the run ended.

    A training with `earlier` ones is judged against the start of the first of them too.
    """
    from bloomery.evals.figures import headline_figures
    from bloomery.evals.report import make_report
    from bloomery.evals.write import write_report

    plan, runs = prepared.plan, arm_runs(prepared.plan, folder.path)
    suites = run_suites(plan, prepared.held)
    if not suites:
        return {"status": "done", "exit_status": 0, "said": "nothing to evaluate on: no suites and no held-out rows"}
    load, bench = partial(load_start, plan, runs[0].seed, device=device), Bench(folder, suites, say, Judges())
    found = {"start": bench.result("start", plan.get("start.ref"), load)}
    found |= {run.name: bench.result(run.name, _shown(folder, run, runs), _weights(run, device)) for run in runs}
    found, tables = bench.beside(found)
    results = {run: found[run.name] for run in runs}
    every = [_seeded(results, seed) for seed in plan.get("seeds")]
    report = make_report(
        f"{folder.name}: {plan.get('start.ref')} continued",
        found["start"],
        results[runs[0]],
        keep=_budget(plan.get("keep.general")),
        arms=every[0].arms,
        plasticity=plan.get("start.plasticity"),
        seeds=every[1:],
        origin=_origin(bench, plan, earlier, device) if earlier else None,
        pairs=tables,
        spent={"" if run is runs[0] else run.arm: _spent(run) for run in runs if run.seed == runs[0].seed},
        events=folder.events,
        segments=segments(plan),
        beta=plan.get("preference.beta") if plan.get("objective") in COMPARING else None,
        receipt=read_json(folder.receipt) if folder.receipt.is_file() else None,
    )
    write_report(report, folder.path)
    ended = {"status": report.status, "exit_status": report.exit_status, "said": report.headline}
    return ended | {"figures": headline_figures(report)}


def refuse_ungradable(prepared: Prepared) -> None:
    """Raise `InputError` where `eval.grader` can grade none of the held-out rows, before anything is trained."""
    from bloomery.evals.runner import refuse_ungradable

    for suite in domain_suites(prepared.plan, prepared.held):
        refuse_ungradable(suite, given=Judges().given())


def _budget(general: float | None) -> dict[str, float]:
    return {} if general is None else {"general": general}


def _seeded(results: Mapping[ArmRun, EvalResult], seed: int) -> Seeded:
    """The evaluations of one seed: the recipe's own model, which comes first, and its arms."""
    from bloomery.evals.seeds import Seeded

    own, *beside = [(run, result) for run, result in results.items() if run.seed == seed]
    return Seeded(own[1], {run.arm: result for run, result in beside})


def _origin(bench: Bench, plan: Plan, earlier: Earlier, device: str) -> Origin:
    """The first start of the recipe on the texts of this training's report, and the smallest budget that covers it."""
    from bloomery.evals.report import Origin

    load = partial(load_start, earlier.first, earlier.first.get("seeds")[0], device=device)
    texts = [one for one in bench.suites if one.kind != "pairwise" and (one.kind == "bpb" or one.group == "general")]
    found = replace(bench, suites=texts).result("origin", f"the first start, {earlier.first.get('start.ref')}", load)
    budgets = [one for one in (plan.get("keep.general"), earlier.keep) if one is not None]
    return Origin(found, _budget(min(budgets, default=None)))


def run_suites(plan: Plan, held: Iterable[Held]) -> list[Suite]:
    """The held-out domain rows and the plan's suites; where those ask for privacy, the domain's rows are looked for."""
    rows = list(held)
    described = list(plan.get("eval.suites"))
    if any(suite["role"] == "privacy" for suite in described):
        own = of_run(plan, [one.path for one in rows if one.role == "domain"])
        described += [own] if own else []
    return [*domain_suites(plan, rows), *family_suites(described)]


def domain_suites(plan: Plan, held: Iterable[Held]) -> list[Suite]:
    """Bits per byte of every held-out domain source; graded answers too where its rows can be graded."""
    from bloomery.data.builtin import GRADERS
    from bloomery.data.shapes import PREFERENCES
    from bloomery.evals.suites import Suite

    found = []
    builtin = {source.name: source.spec.get("builtin") for source in plan.sources}
    for one in held:
        if one.role != "domain":
            found += [Suite(one.name, "bpb", one.path, "general")] if plan.get("eval.general") == "replayed" else []
            continue
        if one.table.store.shape in PREFERENCES:
            found.append(Suite(one.name, one.table.store.shape, one.path, "domain"))
            continue
        if one.table.store.shape != TASK:  # which has no answer whose bits could be counted
            found.append(Suite(one.name, "bpb", one.path, "domain"))
        told = plan.section("rollouts")
        if told.get("environment"):  # what takes several turns is no matter of one answer
            found += played_suite(plan, one.name, one.path)
            continue
        grader = (
            plan.get("eval.grader") or checked_reward(told.get("reward")) or GRADERS.get(str(builtin.get(one.name)))
        )
        if grader and one.table.store.shape != "text":
            rows, how = drawn(plan, one.path) if plan.get("objective") == RL else (one.path, {})
            how |= {"metrics": ("pass@1", f"pass@{ATTEMPTS}")} if how else {}
            found.append(Suite(f"{one.name} answers", "generate", rows, "domain", grader, **how))
    return found


def family_suites(described: Iterable[dict[str, Any]]) -> list[Suite]:
    """Suites as a family file describes them."""
    from bloomery.evals.suites import Suite

    return [
        Suite(
            suite["name"],
            suite["kind"],
            Path(suite["path"]) if suite["path"] else suite["rows"] or [],
            suite["role"],
            suite["grader"],
            suite["max_new_tokens"],
            suite["render"],
            tuple(suite["stop"]),
            suite["temperature"],
            suite["limit"],
            suite["samples"],
            None if suite["metrics"] is None else tuple(suite["metrics"]),
            suite["prompt"],
            suite["columns"],
            tuple(suite["tasks"]),
            Path(suite["include"]) if suite["include"] else None,
            suite["trusted"],
            suite.get("environment"),
        )
        for suite in described
    ]


def _shown(folder: RunFolder, run: ArmRun, runs: list[ArmRun]) -> str:
    """What the report calls an arm: the run's own model by its name, others by arm, and by seed where it varies."""
    if run is runs[0]:
        return folder.name
    return run.arm if sum(other.arm == run.arm for other in runs) == 1 else run.name


def _weights(run: ArmRun, device: str) -> Callable[[], Loaded]:
    from bloomery.models.load import load_model

    def load() -> Loaded:
        verify_ours(run.weights)
        return load_model(run.weights, device=device)

    return load


def _spent(run: ArmRun) -> Spent:
    from bloomery.evals.report import Spent

    log = run.folder / "events.jsonl"
    if not log.is_file():
        return Spent()
    steps = {event["step"]: event for event in read_events(log, "step")}  # a resumed run repeats some
    return Spent(sum(e["step_tokens"] for e in steps.values()), sum(e["seconds"] for e in steps.values()))
