"""Everything that would make a run refuse, found before it starts and told together."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.sources import source_files
from bloomery.models.guard import CODE, FORBIDDEN, PICKLES, unopened
from bloomery.recipes.access import check_access
from bloomery.recipes.blend_checks import check_floor, check_licences, check_parts
from bloomery.recipes.bounds import check as check_bounds
from bloomery.recipes.curriculum import check as check_curriculum
from bloomery.recipes.fit import memory_limit, need, planned, trainable_parameters
from bloomery.recipes.going import check_references
from bloomery.recipes.grading import check_graders
from bloomery.recipes.holdable import check_hold
from bloomery.recipes.load import Loaded
from bloomery.recipes.long_context import check_long
from bloomery.recipes.machine import Machine
from bloomery.recipes.memory import ModelShape, shape_of
from bloomery.recipes.mixing import source_names
from bloomery.recipes.plan import Plan
from bloomery.recipes.preference import check as check_preference
from bloomery.recipes.problem import Problem
from bloomery.recipes.rollouts import check as check_rollouts
from bloomery.recipes.start import start_of, whole_config
from bloomery.recipes.suites import check_suites, check_versions

TRACKER_MODULES = {"mlflow": "mlflow", "wandb": "wandb", "tensorboard": "tensorboard", "trackio": "trackio"}
ESTIMATE_MARGIN = 1.25
"""An estimated supply is only refused when it is short by more than the estimate can be wrong."""


STORED_BYTES = 2.2
"""Bytes a token takes in a token store: its id, its trained bit, its part of the index."""

Check = Callable[[Loaded, Plan, Machine], Iterator[Problem]]


def check_plan(loaded: Loaded, plan: Plan, machine: Machine) -> list[Problem]:
    """Every refusal of a resolved plan but for the disk, in the order in which a run would meet them."""
    return [problem for check in CHECKS for problem in check(loaded, plan, machine)]


def check_disk(plans: Sequence[Plan], place: Path) -> list[Problem]:
    """A refusal where the disk that `place` is on, or will be, has no room for all that these plans write."""
    there = next(path for path in (place.absolute(), *place.absolute().parents) if path.is_dir())
    free, wanted = shutil.disk_usage(there).free, sum(disk_bytes(plan) or 0 for plan in plans)
    if wanted <= free:
        return []
    message = f"the run needs about {wanted / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free"
    return [Problem(message, Where(there), "free some, or lower `checkpoints.keep`")]


def refuse(problems: Sequence[Problem]) -> None:
    """Raise one `InputError` that tells all problems; return when there are none."""
    if not problems:
        return
    first = problems[0].error()
    others = "".join(f"\nalso: {problem}" for problem in problems[1:])
    raise InputError(first.message, where=first.where, fix=f"{first.fix}{others}" if others else first.fix)


def _weights(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    folder, ref = plan.get("start.folder"), plan.get("start.ref")
    key = "model" if loaded.recipe.model and loaded.recipe.start == "auto" else "start"
    if plan.get("start.kind") == "step" or folder is None:
        return  # weights that are not made yet, or that the run fetches
    path = Path(folder)
    if not (path / "config.json").is_file():
        yield Problem(f"`{ref}` has no config.json in {path}", loaded.place(key), f"choose another `{key}`")
        return
    yield from _hostile(path)
    if plan.get("start.kind") != "scaffold" and not any(path.glob("*.safetensors")):
        yield Problem(f"`{ref}` has no safetensors weights in {path}", loaded.place(key), f"choose another `{key}`")


def _hostile(folder: Path) -> Iterator[Problem]:
    """What the guard refuses at load and can be seen without the libraries: code, pickles, keys that ask for code."""
    for path in sorted(set(folder.iterdir()) - set(unopened(folder))):
        if path.suffix.lower() in PICKLES | CODE:
            what = f"`{path.name}` is code, or can run code when opened"
            yield Problem(what, Where(folder), "delete it; weights must be safetensors")
    for key in _keys(whole_config(folder)):
        if FORBIDDEN.fullmatch(key):
            yield Problem(f"the key `{key}` asks for code", Where(folder / "config.json"), f"remove `{key}`")


def _keys(value: Any) -> Iterator[str]:
    """Every key in a JSON value that has something under it."""
    if isinstance(value, dict):
        yield from (key for key, inner in value.items() if inner)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)


def _method(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    method = plan.get("method")
    if method == "qlora" and machine.kind == "cpu":
        yield Problem("`method: qlora` needs a GPU, and there is none", loaded.place("method"), "use `method: lora`")
    if method != "full" and plan.get("start.kind") == "scaffold":
        yield Problem(
            f"`method: {method}` adapts weights, and a scaffold has none", loaded.place("method"), "use `full`"
        )
    if method != "full" and plan.get("schedule.anneal_by") == "merge":
        message = f"`anneal_by: merge` with `method: {method}`: the mean of adapters is not the adapter of a mean"
        yield Problem(message, loaded.place("schedule.anneal_by"), "use `method: full`, or let the rate decay")
    if "lora" in loaded.data and method == "full":
        yield Problem("`lora` is set, but `method` is full", loaded.place("lora"), "add `method: lora`")


def _objective(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    if plan.get("objective") != "sft" or loaded.recipe.objective == "auto":
        return
    texts = [source.name for source in plan.sources if source.role == "domain" and source.shape == "text"]
    if texts:
        names = ", ".join(f"`{name}`" for name in texts)
        message = f"`objective: sft` trains answers, and {names} holds plain text"
        yield Problem(message, loaded.place("objective"), "use `objective: text` or `auto`")


def _supply(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A share that needs more epochs of a source than the repetition cap allows."""
    cap, known = plan.get("data.repetition_cap"), plan.get("source_tokens")
    margin = ESTIMATE_MARGIN if plan.estimated else 1.0
    for name, epochs in epochs_by_source(plan).items():
        if epochs > cap * margin + 1 / known[name]:  # a budget is a whole number of tokens
            about = "about " if plan.estimated else ""
            yield Problem(
                f"`{name}` has {about}{known[name]:,} tokens, and its share needs {epochs:.1f} epochs of them, "
                f"more than `data.repetition_cap: {cap:g}`",
                loaded.place("data.share") or loaded.place("budget"),
                "lower `budget` or the source's share, add data, or raise `data.repetition_cap`",
            )


def epochs_by_source(plan: Plan, arm: str = "blend") -> dict[str, float]:
    """How often an arm reads each source whose tokens are known."""
    known = plan.get("source_tokens")
    return {name: used / known[name] for name, used in tokens_by_source(plan, arm).items() if known.get(name)}


def tokens_by_source(plan: Plan, arm: str = "blend") -> dict[str, float]:
    """Tokens an arm takes from each source over the whole run."""
    chosen = plan.arm(arm)
    ends = [*(part["start"] for part in chosen.segments[1:]), chosen.steps]
    taken = {source.name: 0.0 for source in plan.sources}
    for part, end in zip(chosen.segments, ends, strict=True):
        tokens = chosen.tokens * (end - part["start"]) / chosen.steps
        for name, share in part["share"].items():
            taken[name] += share * tokens
    return taken


def _proof(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    roles = {source.role for source in plan.sources}
    if plan.get("keep.general") is not None and plan.get("eval.general") is None:
        message = "`keep.general` is set, but there is no general data to measure it on"
        fix = "set `data.curated` to `proxy`, `embedded`, `self` or sources of your own, or remove `keep`"
        yield Problem(message, loaded.place("keep.general"), fix)
    for name in plan.get("asked.arms"):
        wanted = "curated" if name == "curated-only" else "domain"
        if wanted not in roles:
            yield Problem(
                f"`arms: {name}` needs {wanted} data, and there is none", loaded.place("arms"), "remove the arm"
            )
    if "domain" not in roles and "curated" not in roles:
        yield Problem("there is nothing to train on", loaded.place("data"), "add `data.domain`")
    yield from _phases(loaded, plan)


def _held_out(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Held-out rows that are not there, or that a suite of the family shares its name with: figures go by name."""
    own = [SourceSpec.model_validate(spec) for spec in plan.get("eval.domain") or []]
    for spec in (one for one in own if one.path and not any("://" in path for path in one.paths)):
        try:
            source_files(spec, loaded.base)
        except InputError as error:
            yield Problem(error.message, loaded.place("eval.domain"), error.fix)
    suites = {suite["name"] for suite in plan.get("eval.suites")}
    names = source_names(own) if own else [source.name for source in plan.sources if source.role == "domain"]
    for name in names:
        if name in suites:
            message = f"held-out rows and a suite of the family are both called `{name}`"
            yield Problem(message, loaded.place("eval"), "give that source another `name`")


def _phases(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    curated = {source.kind for source in plan.sources if source.role == "curated"}
    for place, phase in enumerate(plan.get("asked.phases")):
        for category in phase["curated"] or {}:
            if category not in curated:
                yield Problem(
                    f"the phase `{phase['name']}` names `{category}`, which is not in the curated mix",
                    loaded.place(f"phases.{place}.curated"),
                    f"use {', '.join(sorted(curated)) or 'no category'}",
                )


def _trackers(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    for name in plan.get("report_to"):
        if importlib.util.find_spec(TRACKER_MODULES[name]) is None:
            message = f"`report_to: {name}` is not installed"
            yield Problem(message, loaded.place("report_to"), f"pip install 'bloomery[{name}]'")


def _memory(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    shape, limit = shape_of(start_of(plan).config()), memory_limit(plan, machine)
    if shape is None or limit is None:
        return
    wanted = need(plan, shape, planned(plan), machine).total
    if wanted > limit:
        message = f"the smallest step needs {wanted / 1e9:.1f} GB, and {limit / 1e9:.1f} GB may be taken"
        place = loaded.place("memory.limit") or loaded.place("model") or loaded.place("family")
        yield Problem(message, place, _nearest_fit(plan, shape, machine, limit))


def _nearest_fit(plan: Plan, shape: ModelShape, machine: Machine, limit: int) -> str:
    lora = plan.updated({"method": plan.values["method"].__class__("lora", "derived")})
    if plan.get("method") == "full" and need(lora, shape, planned(plan), machine).total <= limit:
        return "use `method: lora`, which fits"
    if plan.get("method") != "full" and plan.origin("lora.rank") == "user":
        return "lower `lora.rank`, use a smaller model, or a machine with more memory"
    return "use a smaller model, or a machine with more memory"


def disk_bytes(plan: Plan) -> int | None:
    """Checkpoints (fp32 masters, two moments and a merge's mean of what is trained), exported models, token stores."""
    count, shape = plan.get("start.parameters"), shape_of(start_of(plan).config())
    if count is None:
        return None
    trained: int = trainable_parameters(plan, shape) if shape else count
    kept = plan.get("checkpoints.keep") + 2  # the best one, and the one being written
    trainings = len(plan.arms) * len(plan.get("seeds"))
    stored = sum(plan.get("source_tokens").values()) * STORED_BYTES
    held = 16 if plan.get("schedule.anneal_by") == "merge" else 12
    return int(trained * held * kept * trainings + count * 4 * trainings + stored)


CHECKS: tuple[Check, ...] = (
    check_access,
    _weights,
    _method,
    check_bounds,
    _objective,
    check_preference,
    check_rollouts,
    check_references,
    check_long,
    check_curriculum,
    _supply,
    check_parts,
    check_floor,
    check_licences,
    _proof,
    _held_out,
    check_hold,
    _trackers,
    check_graders,
    check_suites,
    check_versions,
    _memory,
)
