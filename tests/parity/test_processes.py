"""Two processes train the same curve as one, on the same rows, and take over each other's checkpoints.

Starting costs more than training, so the two processes do all their parts in one go, and are forked from one that has
imported everything; `tests/e2e/test_hold.py` has two that torchrun starts.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gradients import AGREE, furthest, gradients_of
from killed import begin, wait
from safetensors.numpy import load_file
from safetensors.torch import load_file as torch_load
from safetensors.torch import save_file
from together import places
from toys import ToyPreferences, ToySource, toy_config, toy_job, toy_model, toy_preferences, toy_rows

from bloomery.core.events import read_events
from bloomery.launch.local import leave
from bloomery.models.load import Loaded, load_model
from bloomery.models.meta import load_meta
from bloomery.train.config import Optim, Preference
from bloomery.train.loop import train
from bloomery.train.parallel import World, join_world, leave_world
from bloomery.train.reference import FILE, make_reference
from bloomery.train.trainer import Trainer

pytestmark = [pytest.mark.multi, pytest.mark.timeout(300)]
STEPS = 20
PREFERENCES = ("dpo", "kto")
WHOLE, CUT = 100_000, 41
"""Tokens of a micro-batch: the whole step in one, and in about four."""


def train_here(
    folder: Path,
    world: World,
    micro_tokens: int,
    stop_at: int = STEPS,
    start: Path | None = None,
    objective: str | None = None,
) -> None:
    """One rank's part of a run, which stops early where asked to; by preferences where there is an `objective`."""
    optim = Optim(preference=Preference(objective)) if objective else Optim()  # type: ignore[arg-type]
    config = toy_config(STEPS, micro_tokens=micro_tokens, checkpoint_every=5, optim=optim)
    source = ToyPreferences(objective) if objective else ToySource(count=8)

    class Stopping(ToySource):
        def steps(self, first, last):  # type: ignore[no-untyped-def]
            return source.steps(first, min(last, stop_at))

    before = partial(_ask_the_start, folder) if objective else lambda trainer: None
    train(toy_job(folder, config, source=Stopping(), world=world, loaded=_opened(start, world), before=before))
    if world.first:
        (folder / f"rows-{stop_at}.txt").write_text("\n".join(" ".join(step) for step in source.given))


def _ask_the_start(folder: Path, trainer: Trainer) -> None:
    """Work out a reference of some rows, as a run by preferences does; each rank has its part of it."""
    rows = [replace(row, logp_ref=None) for step in range(3) for row in toy_preferences(step, "kto")]
    make_reference(folder / "reference", "start", rows, trainer.module, CUT, trainer.world)


def _opened(start: Path | None, world: World) -> Loaded:
    if start is None:
        return toy_model()
    return load_meta(start) if world.size > 1 else load_model(start)


def curve(folder: Path, steps: int = STEPS) -> list[float]:
    by_step = {event["step"]: event["loss"] for event in read_events(folder / "events.jsonl", "step")}
    return [by_step[step] for step in range(1, steps + 1)]


def bytes_read(folder: Path) -> int:
    (start,) = read_events(folder / "events.jsonl", "start")
    return int(start["bytes_read"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `alone`, `whole`, `cut`, `passed`, and `folder-alone`, `folder-two` that start from saved weights."""
    root, alone = tmp_path_factory.mktemp("processes"), join_world("cpu")
    toy_model(seed=3).model.save_pretrained(root / "start")  # type: ignore[operator]
    train_here(root / "alone", alone, WHOLE)
    train_here(root / "passed", alone, WHOLE, stop_at=5)
    train_here(root / "folder-alone", alone, WHOLE, start=root / "start")
    for objective in PREFERENCES:
        train_here(root / f"{objective}-alone", alone, WHOLE, objective=objective)
    both = [begin(Path(__file__), str(root), within=root, **place) for place in places()]
    told = [said.read() for _, said in both]
    assert [wait(process) for process, _ in both] == [0, 0], told
    train_here(root / "passed", alone, WHOLE)
    return root


def two_processes(root: Path) -> None:
    """Each rank's part of everything that two processes do."""
    world = join_world("cpu")
    train_here(root / "whole", world, WHOLE)
    train_here(root / "cut", world, CUT)
    train_here(root / "passed", world, WHOLE, stop_at=10)
    train_here(root / "folder-two", world, WHOLE, start=root / "start")
    for objective in PREFERENCES:
        train_here(root / f"{objective}-two", world, CUT, objective=objective)
    for micro_tokens in (WHOLE, 1):
        one_step(root / f"step-{micro_tokens}", world, micro_tokens)
    leave_world()


def one_step(folder: Path, world: World, micro_tokens: int) -> None:
    """Loss and gradients of one step of eight rows, written by the first rank."""
    trainer = Trainer(toy_job(folder, toy_config(micro_tokens=micro_tokens), world=world))
    result, gradients = gradients_of(trainer, toy_rows(0, count=8))
    if world.first:
        save_file(gradients, folder / "gradients.safetensors")
        (folder / "loss.json").write_text(json.dumps(result.loss))


@pytest.mark.parametrize("micro_tokens", [WHOLE, 1])
def test_two_processes_give_the_loss_and_gradient_of_one_to_1e_6(runs: Path, tmp_path: Path, micro_tokens: int) -> None:
    one_step(tmp_path, join_world("cpu"), WHOLE)
    two = runs / f"step-{micro_tokens}"
    assert json.loads((two / "loss.json").read_text()) == pytest.approx(
        json.loads((tmp_path / "loss.json").read_text()), rel=AGREE
    )
    alone, both = (torch_load(folder / "gradients.safetensors") for folder in (tmp_path, two))
    assert furthest(alone, both) < AGREE


@pytest.mark.parametrize("cutting", ["whole", "cut"])
def test_two_processes_give_the_curve_of_one_on_the_same_rows(runs: Path, cutting: str) -> None:
    assert curve(runs / cutting) == pytest.approx(curve(runs / "alone"), abs=1e-5)
    assert (runs / cutting / f"rows-{STEPS}.txt").read_text() == (runs / "alone" / f"rows-{STEPS}.txt").read_text()


def test_checkpoints_pass_from_one_process_to_two_and_back(runs: Path) -> None:
    assert curve(runs / "passed") == pytest.approx(curve(runs / "alone"), abs=1e-5)
    assert [e["step"] for e in read_events(runs / "passed" / "events.jsonl", "resume")] == [5, 10]


def test_two_processes_start_from_a_folder_of_which_each_reads_its_half(runs: Path) -> None:
    assert curve(runs / "folder-two") == pytest.approx(curve(runs / "folder-alone"), abs=1e-5)
    stored = json.loads((runs / "start" / "config.json").read_text())["dtype"]
    assert stored == "float32"
    whole = 4 * sum(p.numel() for p in toy_model().model.parameters())
    assert 0.45 * whole < bytes_read(runs / "folder-two") < 0.55 * whole


@pytest.mark.parametrize("objective", PREFERENCES)
def test_two_processes_learn_preferences_as_one_does(runs: Path, objective: str) -> None:
    assert curve(runs / f"{objective}-two") == pytest.approx(curve(runs / f"{objective}-alone"), rel=1e-5)
    two, alone = (load_file(runs / f"{objective}-{how}" / "reference" / FILE) for how in ("two", "alone"))
    assert np.array_equal(two["keys"], alone["keys"]) and np.array_equal(two["counts"], alone["counts"])
    assert np.abs(two["logp"]).min() > 0 and two["logp"] == pytest.approx(alone["logp"], abs=1e-5)


if __name__ == "__main__":
    sys.stderr = sys.stdout  # which is read
    two_processes(Path(sys.argv[1]))
    leave(0)
