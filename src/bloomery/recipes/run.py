"""A recipe, run: plan, prepare, train every arm, evaluate, export. Read this, then `train/loop.py`.

    load_recipe -> explain (every training is planned and checked) -> run folder
        -> for each training: prepare (tokens, held-out rows, settled plan) -> its steps

Each step writes what it made into the run folder and is skipped when it is already there, so that a
resumed run goes on at the step that failed.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bloomery.core.errors import BloomeryError
from bloomery.core.events import EventLog
from bloomery.core.files import verify_ours, write_json
from bloomery.lineage import provenance
from bloomery.lineage.record import FAILED, FINISHED
from bloomery.lineage.rundir import RunFolder, free_name
from bloomery.recipes.course import draw
from bloomery.recipes.ignored import ignored
from bloomery.recipes.judging import judge_run, refuse_ungradable
from bloomery.recipes.load import Loaded, load_recipe
from bloomery.recipes.own_words import with_own_words
from bloomery.recipes.pipeline import Earlier, after, judged, starting_from, trainings
from bloomery.recipes.plan import Plan
from bloomery.recipes.prepare import Prepared, prepare
from bloomery.recipes.publish import publish_model
from bloomery.recipes.ready import ready, restored
from bloomery.recipes.result import RunResult
from bloomery.recipes.scaffold import with_folder
from bloomery.recipes.start import RUNS
from bloomery.recipes.training import ArmRun, arm_runs, train_arm
from bloomery.train.parallel import World, join_world, leave_world

if TYPE_CHECKING:
    from bloomery.train.loop import TrainResult


@dataclass(slots=True)
class Session:
    """What the steps of one run share."""

    folder: RunFolder
    plan: Plan
    events: EventLog | None
    world: World
    prepared: Prepared
    quiet: bool
    earlier: Earlier | None = None
    outcome: dict[str, Any] = field(default_factory=lambda: {"status": "done", "exit_status": 0})

    def say(self, text: str) -> None:
        """One line for a person, on standard error."""
        if not self.quiet:
            _say(text)


def run(
    recipe: str | Path | Loaded, overrides: Sequence[str] = (), *, folder: Path | None = None, quiet: bool = False
) -> RunResult:
    """Run a recipe in a new run folder (default `runs/NAME`).

    Raises `InputError` for everything that `bloomery explain` refuses, before anything is written. A start that the
    recipe names on the Hub is fetched first.
    """
    loaded = recipe if isinstance(recipe, Loaded) else load_recipe(recipe, overrides)
    ready(loaded, folder or RUNS, _say_nothing if quiet else _say)
    with _joined(loaded) as world:
        made = _new_folder(loaded, folder) if world.first else None
        place = Path(world.share_text(str(made.path) if made else ""))
        return _pipeline(RunFolder.open(place), loaded, world, quiet)


def resume(name: str, *, quiet: bool = False) -> RunResult:
    """Continue a run by name or folder. The result is that of an uninterrupted run, bit for bit."""
    folder = RunFolder.open(next((p for p in (RUNS / name, Path(name)) if p.is_dir()), RUNS / name))
    loaded = load_recipe(folder.recipe)
    with _joined(loaded) as world:
        return _pipeline(folder, loaded, world, quiet)


def _pipeline(folder: RunFolder, loaded: Loaded, world: World, quiet: bool) -> RunResult:
    """Every training of the recipe with the steps after it; the last one in the run folder itself.

    Ends early where one is interrupted or leaves its budget. The run folder is held throughout, so that a refusal of
    the first training leaves nothing of the whole.
    """
    *earlier, last = judged(trainings(loaded))
    start: Path | None = None
    before: Earlier | None = None
    with _resumable(folder, world), _writing(folder, world) as events:
        for number, part in enumerate(earlier, 1):
            current = part if start is None else starting_from(part, start)
            place = _part_folder(folder, number, current, world)
            with _writing(place, world) as own:
                result = _execute(place, current, own, world, quiet, before)
            if result.exit_status:
                return _told(_held(result), folder)
            start, before = place.path, after(before, Plan.read(place.plan))
        current = last if start is None else starting_from(last, start)
        return _told(_execute(folder, current, events, world, quiet, before), folder)


@contextlib.contextmanager
def _writing(folder: RunFolder, world: World) -> Iterator[EventLog | None]:
    """The folder held as its only writer by the first process; why it stopped is noted in its log."""
    if not world.first:
        yield None
        return
    with folder.writing() as events:
        try:
            yield events
        except BloomeryError as error:
            events.write(FAILED, error=str(error))
            raise


@contextlib.contextmanager
def _resumable(folder: RunFolder, world: World) -> Iterator[None]:
    """Ctrl-C outside a training, which saves itself: how to go on is said before the interrupt ends the process."""
    try:
        yield
    except KeyboardInterrupt:
        if world.first and folder.path.is_dir():
            _say(f"interrupted; {_onward(folder)}")
        raise


def _told(result: RunResult, folder: RunFolder) -> RunResult:
    """The result of a training with how to go on, where it was interrupted: the whole run, by what finds it."""
    return replace(result, said=f"{result.said}; {_onward(folder)}") if result.status == "interrupted" else result


def _onward(folder: RunFolder) -> str:
    return f"continue with: bloomery resume {folder.name if folder.path.parent == RUNS else folder.path}"


def _held(result: RunResult) -> RunResult:
    """The result of a training that ends its pipeline early; where its budget was the reason, with what to do."""
    if result.status not in ("broken", "unproven"):
        return result
    advice = f"run it with another `share`, rate or `keep`, or go on from here by `start: {result.folder}`"
    return replace(result, said=f"{result.said} The steps after it were not run: {advice}.")


@contextlib.contextmanager
def _joined(loaded: Loaded) -> Iterator[World]:
    world = join_world(trainings(loaded)[0].recipe.memory.device)
    try:
        yield world
    finally:
        leave_world()


def _new_folder(loaded: Loaded, folder: Path | None) -> RunFolder:
    text = loaded.text()
    if folder is not None and folder.parent.resolve() != RUNS.resolve():
        return RunFolder.at(folder, recipe=text)
    given = folder.name if folder else loaded.recipe.name
    return RunFolder.create(RUNS, given or free_name(RUNS, loaded.name), recipe=text)


def _part_folder(folder: RunFolder, number: int, loaded: Loaded, world: World) -> RunFolder:
    place = folder.path / "steps" / f"{number}-{loaded.name}"
    if world.first and not place.is_dir():
        RunFolder.at(place, recipe=loaded.text())
    world.barrier()
    return RunFolder.open(place)


def _execute(
    folder: RunFolder, loaded: Loaded, events: EventLog | None, world: World, quiet: bool, earlier: Earlier | None
) -> RunResult:
    """One training with the steps after it, by the plan it was begun with."""
    say = _say if world.first and not quiet else _say_nothing
    again = folder.plan.is_file()
    plan = restored(Plan.read(folder.plan), say) if again else ready(loaded, folder.path, say)
    if plan.get("threads"):
        torch.set_num_threads(plan.get("threads"))
    session = _begin(folder, plan, events, world, quiet)
    session.earlier = earlier
    for step in plan.get("steps"):
        STEPS[step["do"]](session, step)
    _publish(session, folder.model)  # whatever the steps are: another run can start from every finished one
    outcome = session.outcome
    if events and outcome["status"] != "interrupted":
        events.write(FINISHED, **{key: value for key, value in outcome.items() if key != "said"})
    return RunResult(folder.name, folder.path, **outcome)


def _begin(folder: RunFolder, plan: Plan, events: EventLog | None, world: World, quiet: bool) -> Session:
    loud = world.first and not quiet
    say = _say if loud else _say_nothing
    if plan.get("start.folder"):
        start = Path(plan.get("start.folder"))
        if world.first:
            verify_ours(start)
        for line in ignored(start):
            say(line)
    plan = with_own_words(with_folder(plan, folder.path, world), world, say)
    prepared = prepare(plan, folder.path, say)
    if world.first:
        refuse_ungradable(prepared)
    if events:
        prepared.plan.write(folder.plan)
        draw([prepared.plan], folder.path / "plan.svg")
        if not folder.receipt.exists():
            write_json(folder.receipt, prepared.receipt(), 0o600)
        _record(folder, prepared, events)
    return Session(folder, prepared.plan, events, world, prepared, not loud)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_nothing(text: str) -> None:
    pass


def _record(folder: RunFolder, prepared: Prepared, events: EventLog) -> None:
    plan = prepared.plan
    place = plan.get("start.folder")
    scaffold = plan.get("start.kind") == "scaffold"
    ref = plan.get("start.ref")
    start = provenance.Start(ref) if scaffold or not place else provenance.Start.of_folder(ref, Path(place))
    start = replace(start, **{key: plan.get(f"start.{key}") for key in ("repo", "revision", "commit")})
    data = {name: store.path.name.rpartition("-")[2] for name, store in prepared.stores.items()}
    seeds = {"seed": plan.get("seeds")[0]}
    text = folder.recipe.read_text(encoding="utf-8")
    fields = provenance.gather(start, text, data, seeds, Path(plan.get("base")), sys.argv)
    events.write(provenance.EVENT, **fields)


def _train(session: Session, step: dict[str, Any]) -> None:
    """Train the recipe's blend, then its controls and further seeds."""
    for arm in arm_runs(session.plan, session.folder.path):
        if arm.weights.exists():
            continue
        if session.outcome["status"] == "interrupted":
            return
        session.say(f"training {arm.name}")
        result = _train_one(session, arm)
        if not result.finished:
            session.outcome = {
                "status": "interrupted",
                "exit_status": 128 + (result.signal or signal.SIGTERM),  # as shells say it
                "said": "stopped after a checkpoint",
            }


def _train_one(session: Session, arm: ArmRun) -> TrainResult:
    watched = session.prepared.watched()
    result = train_arm(session.prepared, arm, session.world, session.events, watched, quiet=session.quiet)
    if session.world.first and arm.folder == session.folder.path and result.finished:
        blend = session.prepared.source(arm.arm, arm.seed).blend
        blend.restore(result.state.source)  # at the end, so that the receipt counts what was taken
        write_json(session.folder.receipt, session.prepared.receipt(blend), 0o600)
    return result


def _evaluate(session: Session, step: dict[str, Any]) -> None:
    """Score the start and every arm on the same rows; write the report."""
    if session.outcome["status"] == "interrupted" or not session.world.first:
        return
    device = str(session.world.device)
    session.outcome = judge_run(session.folder, session.prepared, device, session.say, session.earlier)


def _export(session: Session, step: dict[str, Any]) -> None:
    """Publish the model folder with its card."""
    _publish(session, Path(step["to"]) if step["to"] else session.folder.model)


def _publish(session: Session, target: Path) -> None:
    if session.outcome["status"] == "interrupted" or not session.world.first:
        return
    if not target.exists():
        publish_model(session.folder, session.plan, target)


STEPS: dict[str, Callable[[Session, dict[str, Any]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
}
"""What a recipe's `steps` may do."""
