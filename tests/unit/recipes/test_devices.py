"""What is measured or asked lies where it would be trained: on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from bloomery.core.errors import InputError
from bloomery.recipes import measuring, verbs
from bloomery.recipes.judging import judge_run
from bloomery.recipes.load import recipe_from
from bloomery.recipes.prepare import prepare
from bloomery.recipes.resolve import resolve
from bloomery.train.parallel import pick_device


class OpenedError(Exception):
    """Raised in place of opening a model, with the device it was wanted on."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model that says where it would be opened."""
    shop = tiny.workshop(tmp_path / "shop", tiny.model_folder(tmp_path / "model"))
    monkeypatch.chdir(shop)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))

    def load_model(folder: Path, *, device: str = "cpu") -> Any:
        raise OpenedError(device)

    monkeypatch.setattr("bloomery.models.load.load_model", load_model)
    return shop


@pytest.mark.parametrize(
    "verb",
    [lambda: verbs.ask("tiny", "hi"), lambda: measuring.evaluate("tiny", measuring.Asked([Path("heldout.jsonl")]))],
)
@pytest.mark.parametrize(("gpu", "device"), [(True, "cuda:0"), (False, "cpu")])
def test_a_verb_opens_its_model_on_a_gpu_where_there_is_one(
    shop: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[[], object], gpu: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    with pytest.raises(OpenedError, match=rf"^{device}$"):
        verb()


def test_a_gpu_that_is_asked_for_and_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"`memory\.device: cuda` needs a GPU"):
        pick_device("cuda")


def test_a_run_is_measured_on_the_device_it_trained_on(shop: Path) -> None:
    plan = resolve(recipe_from({"model": "tiny", "data": {"domain": "domain.jsonl"}, "eval": "heldout.jsonl"}))
    prepared = prepare(plan, shop / "run", lambda text: None)
    folder: Any = SimpleNamespace(path=shop / "run", name="run")
    with pytest.raises(OpenedError, match=r"^cuda:1$"):
        judge_run(folder, prepared, "cuda:1", lambda text: None)
