"""Short trainings of a recipe's blend for their held-out losses: what laws, advice and searches are fitted on.

A micro-run is planned, prepared and trained as `recipes/run.py` does it, without arms, report or model. It is annealed
like the full run: the schedule has the same shape over the shorter length. So only its last point (`ended`) compares
with the end of another run; the points before it still have rate left to lose and lie on no law over tokens.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.events import EventLog, read_events
from bloomery.core.files import read_json, verify_ours, write_json
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.load import Loaded, with_changes, with_overrides
from bloomery.recipes.plan import Plan
from bloomery.recipes.ready import ready, restored

if TYPE_CHECKING:
    from bloomery.recipes.held import Held
    from bloomery.recipes.prepare import Prepared
    from bloomery.train.validate import HeldOut

WATCHED = 16_000
"""Tokens of each held-out set that a micro-run scores: the same rows in all of them, spread over its documents."""

POINTS = "points.json"
HALFWAY = "0.5 epochs"

SHORT: Mapping[str, Any] = {
    "arms": None,
    "seeds": None,
    "report_to": None,
    "steps": ["train"],
    "eval.every": HALFWAY,
    "checkpoints": {"every": "1 epochs", "keep": 1},
}
"""What a micro-run leaves out of a recipe. It is scored at its start, half-way and at its end; an epoch of `every` is
the whole run."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of one micro-run. Losses are bits per byte where the held-out rows are text, else nats a token.

    `share` is the domain's of all tokens, `tokens` how many were trained on so far (0: the start itself), `general` NaN
    where the family has no general text, `weights` the parts of the curated tokens by category (none without them),
    `ended` whether the schedule was at its end, `run` the name of the micro-run.
    """

    start: str
    share: float
    tokens: int
    domain: float
    general: float
    weights: Mapping[str, float] = field(default_factory=dict)
    ended: bool = True
    run: str = ""


def micro_run(
    loaded: Loaded,
    overrides: Sequence[str],
    folder: Path,
    say: Say = lambda text: None,
    watched: int = WATCHED,
    every: str = HALFWAY,
) -> list[Point]:
    """Train a recipe, with `key=value` overrides, in `folder`, and return its points, the start first.

    `watched` tokens of each kind of held-out rows, domain and general, are scored at the start and at `every` part of
    it; how many that were in all stands in `POINTS` as `scored`.

    A finished one is read back; an interrupted one goes on. Afterwards the folder holds its recipe, log and points,
    but no weights. Raises `InputError` for what `bloomery explain` refuses, and where the folder holds a micro-run of
    another recipe; `KeyboardInterrupt` where it was stopped, after a checkpoint.
    """
    short = with_changes(shortened(loaded, overrides), {"eval.every": every})
    place = _placed(short, folder)
    if not (folder / POINTS).is_file():
        with place.writing() as events:
            _trained(short, place, events, say, watched)
    return [Point(**point) for point in read_json(folder / POINTS)["points"]]


def short_plan(loaded: Loaded, overrides: Sequence[str], place: Path, say: Say = lambda text: None) -> Plan:
    """The plan that a micro-run in a folder at or below `place` would begin with. Raises what it would refuse."""
    return ready(shortened(loaded, overrides), place, say)


def shortened(loaded: Loaded, overrides: Sequence[str]) -> Loaded:
    """The recipe of a micro-run. What watches general loss and steers by it would change what is measured."""
    asked = with_overrides(loaded, overrides)
    steered = {"keep.hold": None} if isinstance(asked.data.get("keep"), Mapping) else {}
    return with_changes(asked, {**SHORT, **steered})


def _placed(short: Loaded, folder: Path) -> RunFolder:
    text = short.text()
    if not (folder / "recipe.yaml").is_file():
        return RunFolder.at(folder, recipe=text)
    place = RunFolder.open(folder)
    if place.recipe.read_text(encoding="utf-8") != text:
        message = "holds a micro-run of another recipe"
        raise InputError(message, where=Where(folder), fix="remove the folder, or take the change of the recipe back")
    return place


def _trained(short: Loaded, place: RunFolder, events: EventLog, say: Say, tokens: int) -> None:
    """Train to the end, write the points, and drop what only the training needed."""
    from bloomery.recipes.prepare import prepare
    from bloomery.recipes.training import ArmRun, train_steps

    begun = place.plan.is_file()
    plan = restored(Plan.read(place.plan), say) if begun else ready(short, place.path, say)
    if plan.get("start.folder"):
        verify_ours(Path(plan.get("start.folder")))
    prepared = prepare(plan, place.path, say)
    prepared.plan.write(place.plan)
    sets = Counter(held.role for held in prepared.held)
    watched = [_spread(held, tokens / sets[held.role]) for held in prepared.held]
    with _world(plan) as world:
        arm = ArmRun("blend", plan.get("seed"), place.path)
        result, _ = train_steps(prepared, arm, world, events, watched, quiet=True)
    if not result.finished:
        raise KeyboardInterrupt
    points = _points(prepared, watched, place)
    scored = len(points) * sum(len(row) for one in watched for row in one.rows)
    told = {"points": [asdict(point) for point in points], "seconds": result.seconds, "scored": scored}
    write_json(place.path / POINTS, told)
    for made in ("checkpoints", "eval", "reference"):
        shutil.rmtree(place.path / made, ignore_errors=True)


@contextlib.contextmanager
def _world(plan: Plan) -> Iterator[Any]:
    import torch

    from bloomery.train.parallel import join_world, leave_world

    if plan.get("threads"):
        torch.set_num_threads(plan.get("threads"))
    try:
        yield join_world(plan.get("memory.device"))
    finally:
        leave_world()


def _spread(held: Held, tokens: float) -> HeldOut:
    """Rows at equal distances through a held-out set, about `tokens`; their bytes by how many a token of it has."""
    import numpy as np

    from bloomery.train.validate import HeldOut

    table = held.table
    step = max(1.0, table.n_tokens / tokens)
    chosen = [int(number * step) for number in range(math.ceil(table.n_rows / step))]
    part = float(table.lengths[chosen].sum()) / table.n_tokens
    size = part * float(table.store.text_bytes[np.unique(table.documents())].sum())
    rows = [row for number in chosen for row in table.rows(number)]
    return HeldOut(held.name, rows, round(size) if table.store.shape == "text" else 0)


def _points(prepared: Prepared, watched: Sequence[HeldOut], place: RunFolder) -> list[Point]:
    """Every step at which all held-out sets were scored, from the event log; after a resume the last word counts."""
    plan, tokens = prepared.plan, {0: 0}
    scored: dict[int, dict[str, dict[str, Any]]] = {}
    for event in read_events(place.events):
        if event["event"] == "step":
            tokens[event["step"]] = event["tokens"]
        elif event["event"] == "validate":
            scored.setdefault(event["step"], {})[event["held_out"]] = event
    domain, general = (
        [seen for held, seen in zip(prepared.held, watched, strict=True) if held.role == role]
        for role in ("domain", "general")
    )
    share, weights = blend_of(plan)
    start, last, name = plan.get("start.ref"), plan.arm().steps, place.name
    return [
        Point(start, share, tokens[k], _pooled(at, domain), _pooled(at, general), weights, k == last, name)
        for k, at in sorted(scored.items())
    ]


def blend_of(plan: Plan) -> tuple[float, dict[str, float]]:
    """The domain's share over the whole run, and the parts of the curated tokens."""
    from bloomery.recipes.checks import tokens_by_source

    used = tokens_by_source(plan)
    curated = {source.name: used[source.name] for source in plan.sources if source.role == "curated"}
    total, rest = sum(used.values()), sum(curated.values())
    weights = {name: round(count / rest, 6) for name, count in curated.items()} if rest else {}
    return round(1 - rest / total, 6), weights


def _pooled(scored: Mapping[str, Mapping[str, Any]], sets: Sequence[HeldOut]) -> float:
    """One loss of several held-out sets: by their bytes where all are text, else by their tokens. NaN of none."""
    if not sets:
        return math.nan
    unit = "bits_per_byte" if all(one.text_bytes for one in sets) else "loss"
    sizes = [one.text_bytes if unit == "bits_per_byte" else _tokens(one) for one in sets]
    losses = [float(scored[one.name][unit]) for one in sets]
    return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)


def _tokens(one: HeldOut) -> float:
    """Trained tokens of a held-out set; of preferences, its rows."""
    return float(sum(row.weight["ce"].sum() for row in one.rows if "ce" in row.weight)) or len(one.rows)
