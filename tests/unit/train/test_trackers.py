from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from toys import ToyPreferences, toy_config, toy_job, toy_preferences, toy_rows

from bloomery.core.errors import InputError
from bloomery.core.events import read_events
from bloomery.core.rows import TokenRow
from bloomery.train.loop import train
from bloomery.train.trackers import TRACKERS, Trackers, flat
from bloomery.train.validate import HeldOut

CONFIG = {"schedule": {"kind": "wsd", "lr": 1e-3}, "seed": 0, "betas": (0.9, 0.95)}
STEP = {"loss": 2.5, "learning_rate": 1e-3, "grad_norm": 0.7, "tokens": 4096.0, "step_tokens": 128.0}
SHOWN = {"train/loss": 2.5, "train/learning_rate": 1e-3, "train/grad_norm": 0.7, "train/num_input_tokens_seen": 4096.0}


class Journal:
    """Stands in for a tracker's package: remembers every call as (name, positional, named)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Journal:
            self.calls.append((name, args, kwargs))
            return self

        return call

    def logged(self) -> list[tuple[dict[str, float], int]]:
        """(figures, step) of each log call, scalars of one step put together."""
        found: dict[int, dict[str, float]] = {}
        for name, args, kwargs in self.calls:
            if name in ("log", "log_metrics"):
                found.setdefault(kwargs["step"], {}).update(args[0])
            elif name == "add_scalar":
                found.setdefault(args[2], {})[args[0]] = args[1]
        return [(figures, step) for step, figures in found.items()]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Every tracker's package is the same journal."""
    journal = Journal()
    for name in ("mlflow", "wandb", "trackio", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, journal)  # type: ignore[arg-type]
    board = SimpleNamespace(SummaryWriter=lambda **kwargs: journal.SummaryWriter(**kwargs))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)  # type: ignore[arg-type]
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "TRACKIO_DIR", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.delenv(name, raising=False)
    return journal


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_every_tracker_gets_the_figures_under_hugging_faces_names(name: str, journal: Journal, tmp_path: Path) -> None:
    trackers = Trackers([name], "run-1", tmp_path, CONFIG)
    trackers("step", 7, STEP)
    trackers("validate", 8, {"loss": 1.5, "bits_per_byte": 1.1})
    trackers("checkpoint", 8, {})
    trackers.close()
    assert journal.logged() == [(SHOWN, 7), ({"eval/loss": 1.5, "eval/bits_per_byte": 1.1}, 8)]
    assert journal.calls[-1][0] in ("end_run", "finish", "close")


def held_out(*names: str, rows: Callable[[int], list[TokenRow]] = toy_rows) -> list[HeldOut]:
    return [HeldOut(name, rows(900 + number), 100) for number, name in enumerate(names)]


def test_held_out_losses_of_the_loop_are_eval_loss_and_further_ones_by_name(journal: Journal, tmp_path: Path) -> None:
    trackers = Trackers(["wandb"], "run-1", tmp_path, CONFIG)
    train(toy_job(tmp_path, toy_config(4), listeners=[trackers], held_out=held_out("handbook", "wiki")))
    trackers.close()
    events = list(read_events(tmp_path / "events.jsonl", "validate"))
    wanted = {name: [e["loss"] for e in events if e["held_out"] == name] for name in ("handbook", "wiki")}
    logged = [figures for figures, _ in journal.logged()]
    assert [f["eval/loss"] for f in logged if "eval/loss" in f] == wanted["handbook"] != wanted["wiki"]
    assert [f["eval/wiki_loss"] for f in logged if "eval/wiki_loss" in f] == wanted["wiki"]
    shown = {name for figures in logged for name in figures if name.startswith("eval/")}
    assert shown == {"eval/loss", "eval/bits_per_byte", "eval/wiki_loss", "eval/wiki_bits_per_byte"}
    assert [f["train/loss"] for f in logged if "train/loss" in f] == [
        e["loss"] for e in read_events(tmp_path / "events.jsonl", "step")
    ]


def test_rewards_of_the_loop_go_by_trls_names(journal: Journal, tmp_path: Path) -> None:
    trackers = Trackers(["wandb"], "run-1", tmp_path, CONFIG)
    told = held_out("pairs", "more", rows=toy_preferences)
    train(toy_job(tmp_path, toy_config(2), source=ToyPreferences(), listeners=[trackers], held_out=told))
    trackers.close()
    shown = {name for figures, _ in journal.logged() for name in figures if "rewards" in name}
    kinds = ("accuracies", "margins", "chosen", "rejected")
    assert shown == {f"{of}rewards/{kind}" for of in ("train/", "eval/", "eval/more_") for kind in kinds}


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_every_tracker_writes_to_this_disk_unless_told_otherwise(name: str, journal: Journal, tmp_path: Path) -> None:
    import os

    Trackers([name], "run-1", tmp_path, CONFIG).close()
    said = str(journal.calls) + str(os.environ.get("TRACKIO_DIR")) * (name == "trackio")
    assert str(tmp_path) in said
    assert name != "wandb" or "'mode': 'offline'" in said


def test_a_tracker_the_user_pointed_elsewhere_stays_there(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("WANDB_MODE", "online")
    Trackers(["mlflow", "wandb"], "run-1", tmp_path, CONFIG).close()
    assert "set_tracking_uri" not in [call[0] for call in journal.calls]
    assert next(call[2]["mode"] for call in journal.calls if call[0] == "init") == "online"


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_missing_package_is_one_line_with_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mlflow", "wandb", "trackio", "tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    with pytest.raises(InputError) as refusal:
        Trackers([name], "run-1", tmp_path, CONFIG)
    assert refusal.value.fix == f"pip install 'bloomery[{name}]'"
    assert "\n" not in refusal.value.message


def test_an_unknown_tracker_is_refused_before_any_is_opened(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean `wandb`"):
        Trackers(["mlflow", "wanbd"], "run-1", tmp_path, CONFIG)
    assert journal.calls == []


def test_a_tracker_that_fails_is_dropped_and_the_run_goes_on(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary-5f1c0a77")
    broken = ModuleType("trackio")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route with canary-5f1c0a77")

    broken.init, broken.log, broken.finish = lambda **kwargs: None, fail, fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", broken)
    trackers = Trackers(["trackio", "mlflow"], "run-1", tmp_path, CONFIG)
    trackers("step", 1, STEP)
    trackers("step", 2, STEP)
    trackers.close()
    assert [step for _, step in journal.logged()] == [1, 2]
    assert capsys.readouterr().err == "warning: Trackio failed and gets no more figures: no route with [hidden]\n"


def test_configuration_becomes_dotted_plain_values() -> None:
    assert flat(CONFIG) == {"schedule.kind": "wsd", "schedule.lr": 1e-3, "seed": 0, "betas": "(0.9, 0.95)"}
