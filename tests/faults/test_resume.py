"""Interrupted and resumed is bit for bit the same as never interrupted; broken restores are noticed."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killed import begin
from toys import ToyPreferences, ToySource, toy_config, toy_job, toy_model

from bloomery.core.errors import DamagedError
from bloomery.core.events import read_events
from bloomery.train import loop, trainer
from bloomery.train.checkpoint import Checkpoint
from bloomery.train.config import Optim, Preference
from bloomery.train.job import StepRows
from bloomery.train.loop import train
from bloomery.train.validate import HeldOut

DROPOUT = 0.2  # makes the random state matter


def run(
    folder: Path, steps: int = 12, stop_at: int | None = None, source: ToySource | None = None
) -> dict[str, torch.Tensor]:
    """Train in `folder`, asking for a stop after `stop_at` steps; the final weights."""
    source = source or ToySource()
    loaded = toy_model(attention_dropout=DROPOUT)

    def stopping(event: str, step: int, _: object) -> None:
        if event == "step" and step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    optim = Optim(preference=Preference(getattr(source, "objective", "dpo")))
    config = toy_config(steps, optim=optim)
    result = train(toy_job(folder, config, loaded=loaded, source=source, listeners=[stopping]))
    saved = Checkpoint(result.checkpoint)
    return {name: saved.read(name) for name in saved.names()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop_at", [1, 4, 7, 11])
def test_stopped_and_resumed_is_bit_identical(tmp_path: Path, stop_at: int) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=stop_at)
    source = ToySource()
    assert same(whole, run(tmp_path / "parts", source=source))
    assert source.restored == {"next": stop_at}
    assert source.given[0][0] == f"{stop_at}.0"


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_preferences_stopped_and_resumed_are_bit_identical(tmp_path: Path, objective: str) -> None:
    whole = run(tmp_path / "whole", source=ToyPreferences(objective))
    run(tmp_path / "parts", stop_at=5, source=ToyPreferences(objective))
    assert same(whole, run(tmp_path / "parts", source=ToyPreferences(objective)))


def _forget_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "set_random_states", lambda states: None)


def _forget_data_position(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ToySource.steps
    monkeypatch.setattr(ToySource, "steps", lambda self, first, last: (
        StepRows(first + i, r.rows, 0.0, r.state) for i, r in enumerate(real(self, 0, last - first))
    ))  # fmt: skip


def _forget_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "restore_optimiser", lambda *_: None)


@pytest.mark.parametrize("broken", [_forget_random_state, _forget_data_position, _forget_moments])
def test_a_broken_restore_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., None]
) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=6)
    broken(monkeypatch)
    assert not same(whole, run(tmp_path / "parts"))


def test_killed_at_random_moments_ends_bit_identical(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", steps=40)
    delays = random.Random(7)
    for _ in range(4):
        child, said = begin(Path(__file__), str(tmp_path / "killed"), "40", within=tmp_path)
        said.close()
        began = time.monotonic()
        while child.is_alive() and not list((tmp_path / "killed").glob("checkpoints/step-*")):
            time.sleep(0.01)
            assert time.monotonic() - began < 60
        time.sleep(delays.uniform(0, 0.4))
        child.kill()
        child.join()
    assert same(whole, run(tmp_path / "killed", steps=40))


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
    elif how == "truncate":
        del data[-7:]
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["flip", "truncate"])
@pytest.mark.parametrize("file", ["shard-00001-of-00001.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    tmp_path: Path, how: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    newest = sorted(folder.glob("step-*"))[-1]
    _damage(newest / file, how)
    source = ToySource()
    assert same(whole, run(tmp_path / "run", source=source))
    assert source.restored == {"next": 8}
    named = [e["error"] for e in read_events(tmp_path / "run" / "events.jsonl", "checkpoint damaged")]
    assert len(named) == 1 and newest.name in named[0]
    assert f"{newest.name} is damaged, set aside as" in capsys.readouterr().err
    assert len(list(folder.glob(f"damaged-{newest.name}-*"))) == 1 and newest.is_dir()


def test_no_whole_checkpoint_refuses_to_start_over(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=4)
    for path in (tmp_path / "run" / "checkpoints").glob("step-*/state.json"):
        path.write_bytes(b"{}")
    with pytest.raises(DamagedError, match="none of the"):
        train(toy_job(tmp_path / "run", toy_config(4)))


def test_retention_keeps_the_last_and_what_is_in_use(tmp_path: Path) -> None:
    train(toy_job(tmp_path, toy_config(20), in_use=lambda path: path.name == "step-00000004"))
    assert [p.name for p in sorted((tmp_path / "checkpoints").glob("*"))] == [
        "step-00000004",
        "step-00000016",
        "step-00000020",
    ]


def test_the_best_of_those_saved_is_kept_though_measured_at_other_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {0: 5.0, 3: 4.0, 5: 3.5, 6: 3.0, 9: 1.0, 10: 2.0, 12: 2.5, 15: 3.0, 18: 4.0, 20: 4.5}
    given = iter(told.values())
    monkeypatch.setattr(loop, "held_out_loss", lambda *_: {"loss": next(given)})
    config = toy_config(20, checkpoint_every=5, keep_last=1, validate_every=3)
    train(toy_job(tmp_path, config, held_out=[HeldOut("rows", [])]))
    assert [e["step"] for e in read_events(tmp_path / "events.jsonl", "validate")] == list(told)
    left = [Checkpoint(path) for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert [saved.step for saved in left] == [10, 20]
    assert left[-1].state["best"] == {"loss": 2.0, "checkpoint": "step-00000010"}


def test_what_a_kill_left_too_many_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    train(toy_job(tmp_path, toy_config(16), in_use=lambda path: True))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4
    train(toy_job(tmp_path, toy_config(16), in_use=lambda path: path.name == "step-00000008"))
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-00000008",
        "step-00000012",
        "step-00000016",
    ]


def test_resuming_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    train(toy_job(tmp_path))
    source = ToySource()
    result = train(toy_job(tmp_path, source=source))
    assert result.finished and source.given == []


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
