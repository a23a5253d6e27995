"""One arm of a plan, trained: the model it starts from, the loop, and the folder of weights that comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.events import EventLog
from bloomery.core.files import read_json
from bloomery.data.same import refuse_other_rows
from bloomery.lineage.index import who_starts_from
from bloomery.recipes.comparing import comparing
from bloomery.recipes.configure import train_config
from bloomery.recipes.holding import holding
from bloomery.recipes.long_context import lengthened
from bloomery.recipes.plan import Plan
from bloomery.recipes.prepare import Prepared
from bloomery.recipes.start import start_of

if TYPE_CHECKING:
    from bloomery.models.load import Loaded
    from bloomery.train.loop import TrainResult
    from bloomery.train.parallel import World
    from bloomery.train.validate import HeldOut


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One arm at one seed; `folder` holds its `checkpoints/` and, once trained, its `weights/`."""

    arm: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"{self.arm}-seed{self.seed}"

    @property
    def weights(self) -> Path:
        """The trained model as a Hugging Face folder."""
        return self.folder / "weights"


def arm_runs(plan: Plan, folder: Path) -> list[ArmRun]:
    """The run's own training first, in the run folder itself; other arms and seeds under `arms/`."""
    asked = [(arm.name, seed) for arm in plan.arms for seed in plan.get("seeds")]
    first, *others = asked
    beside = [ArmRun(arm, seed, folder / "arms" / f"{arm}-seed{seed}") for arm, seed in others]
    return [ArmRun(*first, folder), *beside]


def load_start(plan: Plan, seed: int, world: World | None = None, device: str = "cpu") -> Loaded:
    """The model that the plan starts from, in fp32 on the world's device; without a world whole, on `device`.

    With `method: qlora` its linear layers are in 4 bits; for full training by many processes it has no weights yet,
    and each reads its own rows later (`train/place.py`).
    """
    from bloomery.models.load import load_model, load_tokenizer, new_model
    from bloomery.models.meta import load_meta

    folder, device = plan.get("start.folder"), str(world.device) if world else device
    if plan.get("start.kind") == "scaffold":
        loaded = new_model(start_of(plan).config(), seed, device=device)
    elif world and plan.get("method") == "qlora":
        loaded = _quantised(folder, world)
    elif world and world.size > 1 and plan.get("method") == "full":
        loaded = load_meta(folder)
    else:
        loaded = load_model(folder, device=device)
    if loaded.tokenizer is None:
        loaded.tokenizer = load_tokenizer(plan.get("start.tokenizer"))
    return loaded


def _quantised(folder: str, world: World) -> Loaded:
    from bloomery.models.qlora import load_quantised

    if world.size > 1:
        raise InputError("`method: qlora` trains in one process", fix="use `method: lora`, or one GPU")
    return load_quantised(folder, str(world.device))


def adapted_start(plan: Plan, seed: int, world: World | None = None, device: str = "cpu") -> Loaded:
    """`load_start`, with fresh adapters where the method trains those."""
    from bloomery.models.lora import LoraSettings, add_lora

    loaded = load_start(plan, seed, world, device)
    if plan.get("method") != "full":
        settings = plan.section("lora")
        told = settings["rank"], settings["alpha"], settings["dropout"], _targets(settings)
        chosen = LoraSettings(*told, rslora=settings.get("rslora", False))
        add_lora(loaded.model, chosen, seed)
    return loaded


def _targets(settings: dict[str, Any]) -> str | tuple[str, ...]:
    named = {"attention": ("q_proj", "k_proj", "v_proj", "o_proj")}
    return named.get(settings["target"], "all-linear")


def train_arm(
    prepared: Prepared,
    run: ArmRun,
    world: World,
    events: EventLog | None,
    held_out: Sequence[HeldOut] = (),
    quiet: bool = False,
) -> TrainResult:
    """Train one arm from its newest checkpoint or its start, and publish its weights when it is done."""
    plan = prepared.plan
    result, loaded = train_steps(prepared, run, world, events, held_out, quiet)
    if result.finished and world.first and not run.weights.exists():
        whole = loaded if world.size == 1 and plan.get("method") != "qlora" else adapted_start(plan, run.seed)
        export_weights(plan, run, whole, result.checkpoint)
    return result


def train_steps(
    prepared: Prepared,
    run: ArmRun,
    world: World,
    events: EventLog | None,
    held_out: Sequence[HeldOut] = (),
    quiet: bool = False,
) -> tuple[TrainResult, Loaded]:
    """Train one arm from its newest checkpoint or its start; its weights stay in the model and its last checkpoint."""
    from bloomery.recipes.rolling import rolling
    from bloomery.train.job import TrainJob
    from bloomery.train.loop import train
    from bloomery.train.trackers import Trackers

    plan, first = lengthened(prepared.plan, _root(run), world), world.first
    _refuse_edited(prepared, run)
    loaded = adapted_start(plan, run.seed, world)
    config = train_config(plan, run.arm, run.seed)
    drawn = prepared.source(run.arm, run.seed)
    rolled = rolling(prepared, run, drawn, loaded, world)
    log = _log(run, events) if first else None
    trackers = Trackers(plan.get("report_to") if first else [], run.name, run.folder, config.to_json())
    with contextlib.closing(trackers):
        source = rolled[0] if rolled else drawn
        job = TrainJob(loaded, config, source, run.folder, world, log, held_out, _in_use(run), [trackers], quiet)
        job.before = rolled[1] if rolled else comparing(prepared, run, drawn)
        job.steering = holding(prepared, run, drawn)
        job.stopping = rolled[0].stop if rolled else job.stopping
        try:
            return train(job), loaded
        finally:
            if rolled:
                rolled[0].close()


def _refuse_edited(prepared: Prepared, run: ArmRun) -> None:
    """Every arm trains on the rows that the run began with, those that start after an interruption too."""
    receipt = _root(run) / "data-receipt.json"
    saved: dict[str, Any] = read_json(receipt)["sources"] if receipt.is_file() else {}
    begun = {name: source["identity"] for name, source in saved.items() if "identity" in source}
    refuse_other_rows(begun, {name: table.identity() for name, table in prepared.tables.items()})


def export_weights(plan: Plan, run: ArmRun, loaded: Loaded, checkpoint: Path) -> None:
    """Publish the weights of a checkpoint as `weights/`, and adapters as `adapter/` before they are merged into it."""
    from bloomery.models.export import export_model
    from bloomery.models.lora import merge_lora, save_lora
    from bloomery.models.turns import stop_ids
    from bloomery.train.average import PREFIX
    from bloomery.train.checkpoint import Checkpoint

    saved = Checkpoint(checkpoint)
    kind = PREFIX if plan.get("schedule.anneal_by") == "merge" else "weight/"
    state = {n.removeprefix(kind): saved.read(n) for n in saved.names() if n.startswith(kind)}
    if plan.get("method") != "full":
        adapted = dict(loaded.model.named_parameters())
        for name, tensor in state.items():
            adapted[name].data = tensor
        if not (run.folder / "adapter").exists():
            save_lora(loaded.model, run.folder / "adapter", plan.get("start.ref"))
        merge_lora(loaded.model)
        state = {}
    stop = {"eos_token_id": stop_ids(loaded.tokenizer)} if loaded.tokenizer else {}
    export_model(loaded, run.weights, state=state, generation=stop, about={"run": run.name})


def _log(run: ArmRun, events: EventLog | None) -> EventLog:
    """The run's own log for its own training; other arms keep one of their own beside their checkpoints."""
    own = run.folder / "events.jsonl"
    return events if events is not None and events.path == own else EventLog(own)


def _in_use(run: ArmRun) -> Callable[[Path], bool]:
    return lambda checkpoint: bool(who_starts_from(_root(run).parent, checkpoint))


def _root(run: ArmRun) -> Path:
    """The folder of the run that the arm belongs to."""
    return run.folder.parents[1] if run.folder.parent.name == "arms" else run.folder
