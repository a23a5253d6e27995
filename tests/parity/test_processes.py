"""Two processes train the same curve as one, on the same rows, and take over each other's checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import ToySource, toy_config, toy_job

from bloomery.core.events import read_events
from bloomery.train.loop import train
from bloomery.train.parallel import join_world, leave_world

STEPS = 20


def train_here(folder: Path, micro_tokens: int, stop_at: int) -> None:
    """One rank's part of a run, which stops early where asked to."""
    world = join_world("cpu")
    config = toy_config(STEPS, micro_tokens=micro_tokens, checkpoint_every=5)
    source = ToySource(count=8)

    class Stopping(ToySource):
        def steps(self, first, last):  # type: ignore[no-untyped-def]
            return source.steps(first, min(last, stop_at))

    job = toy_job(folder, config, source=Stopping(), world=world)
    train(job)
    if world.first:
        (folder / f"rows-{stop_at}.txt").write_text("\n".join(" ".join(step) for step in source.given))
    leave_world()


def launch(folder: Path, processes: int, micro_tokens: int, stop_at: int = STEPS) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    arguments = [__file__, str(folder), str(micro_tokens), str(stop_at)]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]


def curve(folder: Path) -> list[float]:
    by_step = {event["step"]: event["loss"] for event in read_events(folder / "events.jsonl", "step")}
    return [by_step[step] for step in range(1, STEPS + 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train_here(folder, 100_000, STEPS)
    return folder


@pytest.mark.multi
@pytest.mark.parametrize("micro_tokens", [100_000, 41])
def test_two_processes_give_the_curve_of_one(alone: Path, tmp_path: Path, micro_tokens: int) -> None:
    launch(tmp_path, 2, micro_tokens)
    assert curve(tmp_path) == pytest.approx(curve(alone), abs=1e-5)
    assert (tmp_path / f"rows-{STEPS}.txt").read_text() == (alone / f"rows-{STEPS}.txt").read_text()


@pytest.mark.multi
def test_checkpoints_pass_from_one_process_to_two_and_back(alone: Path, tmp_path: Path) -> None:
    train_here(tmp_path, 100_000, 5)
    launch(tmp_path, 2, 100_000, stop_at=10)
    train_here(tmp_path, 100_000, STEPS)
    assert curve(tmp_path) == pytest.approx(curve(alone), abs=1e-5)
    assert [e["step"] for e in read_events(tmp_path / "events.jsonl", "resume")] == [5, 10]


if __name__ == "__main__":
    train_here(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
